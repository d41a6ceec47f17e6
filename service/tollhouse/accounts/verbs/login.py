"""The login by password: always a new session, with another token than any before."""

from __future__ import annotations

from functools import partial

from tollhouse.accounts.credentials.credentials import Credentials
from tollhouse.accounts.factors.available import takes_second_step
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.names import canonical
from tollhouse.accounts.outcomes import AttemptThrottled, LoginSucceeded, SecondFactorDue, WrongCredentials
from tollhouse.accounts.rules import password_bytes
from tollhouse.accounts.verbs.login_sessions import LoginSessions
from tollhouse.accounts.verbs.password_check import METHODS, PasswordVerification
from tollhouse.accounts.verbs.second_step import SecondStep
from tollhouse.sessions.outcomes import CapReached, SessionRefused
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token


class PasswordLogin:
    """Begins the sessions of users whose password is right, and enough; they have the level `acr`."""

    def __init__(
        self,
        sessions: Sessions,
        check: PasswordVerification,
        logins: LoginSessions,
        second_step: SecondStep,
        *,
        acr: str,
    ) -> None:
        self._sessions = sessions
        self._logins = logins
        self._second_step = second_step
        self._check = check
        self._acr = acr

    async def log_in(
        self,
        user: str,
        password: str,
        client: LoginClient,
        *,
        device: str | None,
        policy: str,
        replaces: Token | str | None,
        carry: bool,
    ) -> LoginSucceeded | SecondFactorDue | WrongCredentials | AttemptThrottled | SessionRefused | CapReached:
        """Begin a session if the password is right; if the account takes a second step, keep the login for it."""
        name, encoded = canonical(user), password_bytes(password)
        self._sessions.check(name, policy=policy, device=device)
        chosen = partial(self._sessions.create, name, policy=policy, device=device, replaces=replaces, carry=carry)
        create = partial(chosen, acr=self._acr, amr=METHODS)

        async def proceed(
            verified: Credentials,
        ) -> LoginSucceeded | SecondFactorDue | SessionRefused | CapReached | WrongCredentials:
            if takes_second_step(verified):
                return await self._second_step.hold(verified, policy=policy, device=device, carry=carry)
            return await self._logins.begin(verified, client, create)

        return await self._check.with_password(name, encoded, client, proceed)
