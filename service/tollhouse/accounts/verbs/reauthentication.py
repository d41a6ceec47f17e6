"""The authentication of the user of a session that exists, also of one that is locked.

It takes all that a login takes. If codes are a second factor the password alone is not enough. A code alone is, in a
session that is open, soon after its user gave the password: then both were shown to this session. It takes the
password's place once: the methods of such a step-up do not have it, so the next code takes the password again (NIST SP
800-63B-4, 2.2.3 asks for both factors after a day at the latest).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore
from tollhouse.accounts.factors.available import second_factors, takes_second_step
from tollhouse.accounts.factors.rules import FactorRules
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import (
    AttemptThrottled,
    CodeDue,
    PasswordConfirmed,
    PasswordDue,
    WrongCode,
    WrongCredentials,
)
from tollhouse.accounts.own_session import own_session
from tollhouse.accounts.rules import password_bytes
from tollhouse.accounts.verbs.code_check import CodeCheck
from tollhouse.accounts.verbs.login_sessions import LoginSessions
from tollhouse.accounts.verbs.password_check import METHODS, PasswordVerification
from tollhouse.accounts.verbs.second_step import METHODS as BOTH
from tollhouse.clock import UnixClock
from tollhouse.errors import InvalidInput
from tollhouse.keyring import Keyring
from tollhouse.metrics import Metrics
from tollhouse.sessions.levels import satisfies
from tollhouse.sessions.outcomes import Rotation
from tollhouse.sessions.records import Session
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.step_up import StepUpRefused

CODE_ALONE: Final = ("otp", "mfa")
"""The methods of a step-up by a code, to which the session brought the password."""


class Reauthentication:
    """Steps sessions up: by the password to the first level, with a code, too, to the second."""

    def __init__(
        self,
        store: CredentialStore,
        sessions: Sessions,
        check: PasswordVerification,
        codes: CodeCheck,
        logins: LoginSessions,
        keyring: Keyring,
        metrics: Metrics,
        *,
        rules: FactorRules,
        clock: UnixClock,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._check = check
        self._codes = codes
        self._logins = logins
        self._keyring = keyring
        self._metrics = metrics
        self._rules = rules
        self._clock = clock

    async def reauthenticate(
        self, token: Token | str, password: str | None, code: str | None, client: LoginClient
    ) -> PasswordConfirmed | WrongCredentials | WrongCode | CodeDue | PasswordDue | AttemptThrottled | StepUpRefused:
        """Step a session up if what is given is right, and enough."""
        encoded = None if password is None else password_bytes(password)
        digits = None if code is None else self._codes.required("totp", code)
        session = await own_session(self._sessions, token, locked=True)
        if isinstance(session, StepUpRefused):
            return session
        own = replace(client, session=session)
        if encoded is not None:
            proceed = partial(self._after_password, token, digits, own)
            stepped = await self._check.with_password(session.user, encoded, own, proceed)
        elif digits is not None:
            stepped = await self._by_code_alone(token, session, digits, own)
        else:
            raise InvalidInput("password", None, "give the password, or the password and a code")
        match stepped:
            case Rotation():
                self._metrics.login("ok")
                return PasswordConfirmed(rotation=stepped)
            case StepUpRefused() | CodeDue() | PasswordDue():
                self._metrics.login("refused")
                return stepped
            case _:
                return stepped

    async def _after_password(
        self, token: Token | str, digits: str | None, client: LoginClient, verified: Credentials
    ) -> Rotation | WrongCredentials | WrongCode | CodeDue | AttemptThrottled | StepUpRefused:
        """Go on after the password was right: with the code, if the account takes one."""
        if not takes_second_step(verified):
            return await self._step_up(token, verified, self._rules.first, METHODS)
        if digits is None:
            factors = second_factors(verified, self._keyring.key_ids(), passkeys=self._rules.passkeys)
            return CodeDue(factors=tuple(factor for factor in factors if factor != "recovery"))
        return await self._by_code(token, verified, digits, client, BOTH["totp"])

    async def _by_code_alone(
        self, token: Token | str, session: Session, digits: str, client: LoginClient
    ) -> Rotation | WrongCredentials | WrongCode | PasswordDue | AttemptThrottled | StepUpRefused:
        """Step up by a code, in a session whose user has given the password to it."""
        recent = satisfies(session, max_age_ms=self._rules.recent_ms, now_ms=self._clock())
        if session.locked or not recent or METHODS[0] not in session.amr:
            return PasswordDue()
        found = await self._store.load(session.user)
        if found is None or found.disabled or not takes_second_step(found):
            return PasswordDue()
        return await self._by_code(token, found, digits, client, CODE_ALONE)

    async def _by_code(
        self, token: Token | str, found: Credentials, digits: str, client: LoginClient, amr: Sequence[str]
    ) -> Rotation | WrongCredentials | WrongCode | AttemptThrottled | StepUpRefused:
        async def load() -> Credentials | None:
            return found

        verified = await self._codes.spend("totp", found.user, digits, client, load)
        assert verified is not None, "the account was found"
        if not isinstance(verified, Credentials):
            return verified
        return await self._step_up(token, verified, self._rules.second, amr)

    async def _step_up(
        self, token: Token | str, verified: Credentials, acr: str, amr: Sequence[str]
    ) -> Rotation | WrongCredentials | StepUpRefused:
        return await self._logins.step_up(verified, partial(self._sessions.step_up, token, acr=acr, amr=amr))
