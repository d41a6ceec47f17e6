"""The authentication of the user of a session that exists, also of one that is locked."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import AttemptThrottled, PasswordConfirmed, WrongCredentials
from tollhouse.accounts.rules import password_bytes
from tollhouse.accounts.verbs.login_sessions import LoginSessions
from tollhouse.accounts.verbs.password_check import METHODS, PasswordVerification
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import Rotation
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.step_up import StepUpRefused


class Reauthentication:
    """Steps sessions up whose user's password is right, to the level `acr`."""

    def __init__(
        self, sessions: Sessions, check: PasswordVerification, logins: LoginSessions, metrics: Metrics, *, acr: str
    ) -> None:
        self._sessions = sessions
        self._logins = logins
        self._check = check
        self._metrics = metrics
        self._acr = acr

    async def reauthenticate(
        self, token: Token | str, password: str, client: LoginClient
    ) -> PasswordConfirmed | WrongCredentials | AttemptThrottled | StepUpRefused:
        """Step a session up if the password of its user is right."""
        encoded = password_bytes(password)
        session = await self._sessions.verify(token, passive=True, locked=True)
        if session is None or session.impersonation is not None:
            return StepUpRefused(reason="over" if session is None else "impersonated")
        step = partial(self._sessions.step_up, token, acr=self._acr, amr=METHODS)
        own = replace(client, session=session)
        stepped = await self._check.with_password(
            session.user, encoded, own, lambda verified: self._logins.step_up(verified, step)
        )
        match stepped:
            case Rotation():
                self._metrics.login("ok")
                return PasswordConfirmed(rotation=stepped)
            case StepUpRefused():
                self._metrics.login("refused")
                return stepped
            case _:
                return stepped
