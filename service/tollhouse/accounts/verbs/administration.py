"""What operators do with accounts of others: add one, give it another password, remove lost factors, look at it."""

from __future__ import annotations

from tollhouse.accounts.credentials.changes import change
from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore, new_credentials
from tollhouse.accounts.factors.available import takes_second_step
from tollhouse.accounts.factors.outcomes import FactorsRemoved
from tollhouse.accounts.hashing.passwords import Passwords
from tollhouse.accounts.names import canonical, canonical_new
from tollhouse.accounts.outcomes import AccountCreated, AccountStatus, NameTaken, NoAccount, PasswordChanged
from tollhouse.accounts.rules import PasswordRules
from tollhouse.accounts.throttling.throttle import Throttle
from tollhouse.accounts.verbs.login_sessions import LoginSessions
from tollhouse.accounts.verbs.new_password import NewPassword
from tollhouse.clock import UnixClock
from tollhouse.sessions.events.notes import AccountEvents


class AccountAdministration:
    """Adds accounts, sets passwords, removes factors, without limits: its callers have the secret of the deployment."""

    def __init__(
        self,
        store: CredentialStore,
        passwords: Passwords,
        rules: PasswordRules,
        new_password: NewPassword,
        logins: LoginSessions,
        throttle: Throttle,
        events: AccountEvents,
        wall_ms: UnixClock,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._rules = rules
        self._new_password = new_password
        self._logins = logins
        self._throttle = throttle
        self._events = events
        self._wall_ms = wall_ms

    async def add_account(self, user: str, password: str) -> AccountCreated | NameTaken:
        """Create an account."""
        name = canonical_new(user)
        hashed = await self._passwords.hash(self._rules.check(password, name), trusted=True)
        written = await self._store.create(new_credentials(name, hashed, self._wall_ms()))
        return NameTaken(user=name) if written is None else AccountCreated(user=name, durable=written.durable)

    async def set_password(self, user: str, password: str) -> PasswordChanged | NoAccount:
        """Set another password for an account, and end its sessions."""
        name = canonical(user)
        found = await self._store.load(name)
        changed = (
            None
            if found is None
            else await self._new_password.replace_password(found, self._rules.check(password, name))
        )
        return NoAccount() if changed is None else changed

    async def remove_factors(self, user: str) -> FactorsRemoved | NoAccount:
        """Remove all second factors of an account, and end its sessions; no device of it is trusted any more.

        The user handle stays: an authenticator replaces by it the passkeys that it has still.
        """
        had = await self._store.load(canonical(user))

        def removed(found: Credentials) -> Credentials:
            nonlocal had
            had = found
            return found.changed_over(totp=None, recovery=(), passkeys=())

        stored = await change(self._store, had, removed)
        if had is None or stored is None:
            return NoAccount()
        await self._throttle.end_trust(had.user)
        ended = await self._logins.finish(stored.credentials)
        noted = [await self._events.write("totp-removed", had.user)] if had.totp is not None else []
        noted += [await self._events.write("passkey-removed", had.user) for _ in had.passkeys]
        return FactorsRemoved(
            user=had.user,
            totp=takes_second_step(had),
            recovery_codes=len(had.recovery),
            passkeys=len(had.passkeys),
            removed=ended.removed,
            durable=stored.durable and ended.durable and all(noted),
        )

    async def status(self, user: str) -> AccountStatus | None:
        """Return what is known of an account, without anything that opens it; None if there is none."""
        found = await self._store.load(canonical(user))
        if found is None:
            return None
        return AccountStatus(
            user=found.user,
            created_at=found.created_ms,
            password_changed_at=found.password_changed_ms,
            has_password=found.password is not None,
            disabled=found.disabled,
        )
