"""The end of accounts: disabled until they are enabled, or deleted for good; either ends all sessions (ASVS 7.4.2).

The account is written first, so that no login that begins later passes; a login that is not done yet finds the change
behind its session. A user of an application's own login, who has no account, is disabled as sessions know users.
"""

from __future__ import annotations

from msgspec.structs import replace

from tollhouse.accounts.credentials.changes import change
from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore, new_revision
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.names import canonical
from tollhouse.accounts.outcomes import AccountDeleted, AttemptThrottled, LevelDue, NoAccount, WrongCredentials
from tollhouse.accounts.own_session import OwnLevel, own_session
from tollhouse.accounts.rules import password_bytes
from tollhouse.accounts.verbs.password_check import PasswordVerification
from tollhouse.errors import InvalidInput
from tollhouse.sessions.events.notes import AccountEvents
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.disabler import DisableResult, EnableResult
from tollhouse.sessions.verbs.step_up import StepUpRefused


class AccountClosing:
    """Disables, enables and deletes accounts."""

    def __init__(
        self,
        store: CredentialStore,
        sessions: Sessions,
        check: PasswordVerification,
        events: AccountEvents,
        level: OwnLevel,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._check = check
        self._events = events
        self._level = level

    async def disable(self, user: str) -> DisableResult:
        """Disable a user, and the account of that name if there is one."""
        durable = await self._set(user, disabled=True)
        disabled = await self._sessions.disable(user)
        return DisableResult(removed=disabled.removed, durable=disabled.durable and durable)

    async def enable(self, user: str) -> EnableResult:
        """Enable a user, and the account of that name if there is one."""
        enabled = await self._sessions.enable(user)
        durable = await self._set(user, disabled=False)
        return EnableResult(durable=enabled.durable and durable)

    async def delete_account(self, user: str) -> AccountDeleted | NoAccount:
        """Delete an account and end the sessions of its user."""
        found = await self._store.load(canonical(user))
        return NoAccount() if found is None else await self._delete(found)

    async def delete_own(
        self, token: Token | str, password: str, client: LoginClient
    ) -> AccountDeleted | LevelDue | NoAccount | WrongCredentials | AttemptThrottled | StepUpRefused:
        """Delete the account of a session's user, if the password is right, and the session at the level of a login."""
        encoded = password_bytes(password)
        session = await own_session(self._sessions, token)
        if isinstance(session, StepUpRefused):
            return session

        async def proceed(verified: Credentials) -> AccountDeleted | LevelDue | NoAccount:
            due = self._level.due(session, verified)
            return await self._delete(verified) if due is None else due

        return await self._check.with_password(session.user, encoded, replace(client, session=session), proceed)

    async def _set(self, user: str, *, disabled: bool) -> bool:
        """Write the flag into the account of a user; return whether that is durable, also if there is none."""
        found = await self._store.load(user) if _is_account_name(user) else None
        if found is None:
            return True
        written = await change(
            self._store, found, lambda account: account.changed(disabled=disabled, epoch=new_revision())
        )
        return written is None or written.durable

    async def _delete(self, found: Credentials) -> AccountDeleted | NoAccount:
        """Disable the account, end its sessions, and delete it: what stops in between leaves it closed."""
        closed = await change(self._store, found, lambda account: account.changed(disabled=True, epoch=new_revision()))
        if closed is None:
            return NoAccount()
        ended = await self._sessions.revoke_all(found.user)
        deleted = await self._store.delete(closed.credentials)
        if deleted is None:
            return NoAccount()
        noted = await self._events.write("account-deleted", found.user)
        return AccountDeleted(
            user=found.user, removed=ended.removed, durable=ended.durable and deleted.durable and noted
        )


def _is_account_name(user: str) -> bool:
    """Return whether an account can have this very name: other spellings are users of an application's own login."""
    try:
        return canonical(user) == user
    except InvalidInput:
        return False
