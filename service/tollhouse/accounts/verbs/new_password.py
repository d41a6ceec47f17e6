"""New passwords: how one is stored, and what it ends.

The account is stored first, with a note that the sessions of before are to end (see login_sessions.py); then they end,
and the note goes. So no session that began by the former password lives on, whatever stops in between.
"""

from __future__ import annotations

from tollhouse.accounts.credentials.changes import change
from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore, new_revision
from tollhouse.accounts.hashing.passwords import Passwords
from tollhouse.accounts.outcomes import PasswordChanged
from tollhouse.accounts.throttling.throttle import Throttle
from tollhouse.accounts.verbs.login_sessions import LoginSessions
from tollhouse.clock import UnixClock
from tollhouse.sessions.events.notes import AccountEvents
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token


class NewPassword:
    """Stores passwords that were checked by the rules."""

    def __init__(
        self,
        store: CredentialStore,
        passwords: Passwords,
        sessions: Sessions,
        logins: LoginSessions,
        throttle: Throttle,
        events: AccountEvents,
        wall_ms: UnixClock,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._sessions = sessions
        self._logins = logins
        self._throttle = throttle
        self._events = events
        self._wall_ms = wall_ms

    async def replace_password(
        self, before: Credentials, encoded: bytes, *, token: Token | str | None = None, end_others: bool = True
    ) -> PasswordChanged | None:
        """Set another password for an account, and end its sessions but that of `token`, which gets another token.

        No device is trusted any more until it has logged in.

        Return None if the password was changed, or the account disabled, since `before`.
        """
        hashed = await self._passwords.hash(encoded, trusted=True)
        fields = {"password": hashed, "password_changed_ms": self._wall_ms()}

        def decide(found: Credentials) -> Credentials | None:
            if (found.epoch, found.disabled) != (before.epoch, before.disabled):
                return None
            return found.changed(**fields, epoch=new_revision(), revoke_due=end_others)

        stored = await change(self._store, before, decide)
        if stored is None:
            return None
        await self._throttle.end_trust(before.user)
        rotation = None if token is None else await self._sessions.rotate(token)
        kept = None if rotation is None else rotation.session
        ended = await self._logins.finish(stored.credentials, keep=kept)
        noted = await self._events.write("password-changed", before.user)
        durable = stored.durable and noted and ended.durable and (rotation is None or rotation.durable)
        return PasswordChanged(user=before.user, rotation=rotation, removed=ended.removed, durable=durable)
