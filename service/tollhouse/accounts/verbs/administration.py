"""What operators do with accounts of others: add one, give it another password, look at it."""

from __future__ import annotations

from tollhouse.accounts.credentials.credentials import CredentialStore, new_credentials
from tollhouse.accounts.hashing.passwords import Passwords
from tollhouse.accounts.names import canonical, canonical_new
from tollhouse.accounts.outcomes import AccountCreated, AccountStatus, NameTaken, NoAccount, PasswordChanged
from tollhouse.accounts.rules import PasswordRules
from tollhouse.accounts.verbs.new_password import NewPassword
from tollhouse.clock import UnixClock


class AccountAdministration:
    """Adds accounts and sets passwords, without limits: its callers have the secret of the deployment."""

    def __init__(
        self,
        store: CredentialStore,
        passwords: Passwords,
        rules: PasswordRules,
        new_password: NewPassword,
        wall_ms: UnixClock,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._rules = rules
        self._new_password = new_password
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
