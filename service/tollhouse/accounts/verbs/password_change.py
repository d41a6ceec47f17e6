"""The change of a password by its user, who has a session and the former one (ASVS 6.2.3).

If a login takes a second factor, so does this, by the session: else a thief of a session who has guessed the password
would keep its user out (ASVS 7.5.1).
"""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from tollhouse.accounts.credentials.credentials import Credentials
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import AttemptThrottled, LevelDue, PasswordChanged, WrongCredentials
from tollhouse.accounts.own_session import OwnLevel, own_session
from tollhouse.accounts.rules import PasswordRules, password_bytes
from tollhouse.accounts.verbs.new_password import NewPassword
from tollhouse.accounts.verbs.password_check import PasswordVerification
from tollhouse.sessions.records import Session
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.step_up import StepUpRefused


class PasswordChange:
    """Changes passwords of users who know theirs."""

    def __init__(
        self,
        sessions: Sessions,
        check: PasswordVerification,
        rules: PasswordRules,
        new_password: NewPassword,
        level: OwnLevel,
    ) -> None:
        self._sessions = sessions
        self._check = check
        self._rules = rules
        self._new_password = new_password
        self._level = level

    async def change_password(
        self, token: Token | str, password: str, new_password: str, client: LoginClient, *, end_others: bool
    ) -> PasswordChanged | LevelDue | WrongCredentials | AttemptThrottled | StepUpRefused:
        """Change the password of a session's user, if the former one is right."""
        encoded = password_bytes(password)
        session = await own_session(self._sessions, token)
        if isinstance(session, StepUpRefused):
            return session
        new = self._rules.check(new_password, session.user)
        proceed = partial(self._give, session=session, new=new, token=token, end_others=end_others)
        return await self._check.with_password(session.user, encoded, replace(client, session=session), proceed)

    async def _give(
        self, verified: Credentials, *, session: Session, new: bytes, token: Token | str, end_others: bool
    ) -> PasswordChanged | LevelDue | WrongCredentials:
        if (due := self._level.due(session, verified)) is not None:
            return due
        changed = await self._new_password.replace_password(verified, new, token=token, end_others=end_others)
        return WrongCredentials() if changed is None else changed
