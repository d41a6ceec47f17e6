"""The authentication by a passkey of the user of a session that exists, also of one that is locked.

A passkey is all that a login takes, so the session has the second level then. The answer is for this session alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from tollhouse.accounts.credentials.credentials import CredentialStore
from tollhouse.accounts.outcomes import WrongCredentials
from tollhouse.accounts.own_session import own_session
from tollhouse.accounts.passkeys.options import PasskeyOptions
from tollhouse.accounts.passkeys.outcomes import PasskeyConfirmed, PasskeyRefused
from tollhouse.accounts.verbs.login_sessions import LoginSessions
from tollhouse.accounts.verbs.passkeys.check import PasskeyCheck
from tollhouse.accounts.verbs.passkeys.login import methods_of
from tollhouse.metrics import Metrics
from tollhouse.sessions.records import Session
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.step_up import StepUpRefused


class PasskeyStepUp:
    """Steps sessions up to the level `acr`."""

    def __init__(
        self,
        check: PasskeyCheck,
        store: CredentialStore,
        sessions: Sessions,
        logins: LoginSessions,
        metrics: Metrics,
        *,
        acr: str,
    ) -> None:
        self._check = check
        self._store = store
        self._sessions = sessions
        self._logins = logins
        self._metrics = metrics
        self._acr = acr

    async def options(self, session: Session) -> PasskeyOptions | PasskeyRefused | StepUpRefused:
        """Return options that ask for a passkey of the session's user."""
        if session.impersonation is not None:
            return StepUpRefused(reason="impersonated")
        found = await self._store.load(session.user)
        if found is None or found.disabled or not found.passkeys:
            return PasskeyRefused()
        return self._check.request("step-up", session.sid, allowed=found.passkeys)

    async def step_up(
        self, token: Token | str, answer: Mapping[str, object]
    ) -> PasskeyConfirmed | PasskeyRefused | StepUpRefused:
        """Step a session up if the answer is that of a passkey of its user."""
        session = await own_session(self._sessions, token, locked=True)
        if isinstance(session, StepUpRefused):
            return session
        shown = self._check.read(answer, "step-up", session.sid)
        found = None if shown is None else await self._store.load(session.user)
        proven = None if shown is None or found is None else await self._check.prove(found, shown)
        if proven is None:
            self._metrics.login("wrong")
            return PasskeyRefused()
        step = partial(self._sessions.step_up, token, acr=self._acr, amr=methods_of(proven.passkey))
        stepped = await self._logins.step_up(proven.credentials, step)
        if isinstance(stepped, WrongCredentials):
            return PasskeyRefused()
        if isinstance(stepped, StepUpRefused):
            self._metrics.login("refused")
            return stepped
        self._metrics.login("ok")
        return PasskeyConfirmed(rotation=stepped)
