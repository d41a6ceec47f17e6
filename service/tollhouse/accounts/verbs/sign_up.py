"""The sign-up: it is hashed before its caller can learn whether the name is taken."""

from __future__ import annotations

from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore, new_credentials
from tollhouse.accounts.hashing.passwords import Passwords
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.names import canonical_new
from tollhouse.accounts.outcomes import AccountCreated, NameTaken, TooManyAttempts
from tollhouse.accounts.rules import PasswordRules
from tollhouse.accounts.throttling.attempts import Attempt, Attempts, sign_up_takes
from tollhouse.clock import UnixClock
from tollhouse.limits.decision import Decision


class SignUp:
    """Creates accounts."""

    def __init__(
        self,
        store: CredentialStore,
        attempts: Attempts,
        passwords: Passwords,
        rules: PasswordRules,
        wall_ms: UnixClock,
    ) -> None:
        self._store = store
        self._attempts = attempts
        self._passwords = passwords
        self._rules = rules
        self._wall_ms = wall_ms

    async def sign_up(
        self, user: str, password: str, client: LoginClient
    ) -> AccountCreated | NameTaken | TooManyAttempts:
        """Create an account, if the limits of the client's address admit it."""
        name = canonical_new(user)
        encoded = self._rules.check(password, name)
        admitted = await self._admit(name, client.address)
        if isinstance(admitted, Decision):
            return TooManyAttempts(decision=admitted)
        attempt, found = admitted
        try:
            stored = await self._passwords.hash(encoded, attempt.on_begin)
            new = new_credentials(name, stored, self._wall_ms())
            written = await self._store.create(new) if found is None else None
            return NameTaken(user=name) if written is None else AccountCreated(user=name, durable=written.durable)
        finally:
            await self._attempts.settle(attempt)

    async def _admit(self, name: str, address: str) -> tuple[Attempt, Credentials | None] | Decision:
        """Charge an attempt, and return it with the credentials of the name; or return a refusal of the limits."""
        takes = sign_up_takes(address)
        refusal = self._attempts.cached_refusal(takes)
        if refusal is not None:
            return refusal
        self._passwords.require_place()
        found = await self._store.load(name)
        attempt = await self._attempts.charge(takes)
        return attempt if isinstance(attempt, Decision) else (attempt, found)
