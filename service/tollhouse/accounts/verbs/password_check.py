"""The check of a password that the verbs of accounts share.

The order is always the same: refusals that are cached, the queue for a thread if it is full, the account, the throttle,
the hash. So a flood, an overload and an outage of the accounts charge nothing; `throttling` says what else is not
charged. A client that presents a device of the account, or a live session, has a queue that no others fill: by the
signature first, and for the hash by what the throttle found.

After a rotation of the deployment's secret an account and its hash move to the newest one at the next login of its user
(see credentials/records.py). Until then the older secret must stay configured; `tollhouse_older_secret_logins_total`
counts these.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore
from tollhouse.accounts.hashing.passwords import Passwords, StoredHash
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import AttemptThrottled, WrongCredentials
from tollhouse.accounts.throttling.throttle import Guess, Throttle
from tollhouse.errors import Overloaded, StoreUnavailable
from tollhouse.logs import Log
from tollhouse.metrics import Metrics

METHODS: Final = ("pwd",)
"""The method of an authentication by password (RFC 8176)."""

_log: Final = Log("tollhouse.accounts")

_Proven = TypeVar("_Proven")
"""What becomes of an attempt whose password was right."""


class PasswordVerification:
    """Charges attempts, verifies passwords, and renews accounts whose password was right."""

    def __init__(self, store: CredentialStore, throttle: Throttle, passwords: Passwords, metrics: Metrics) -> None:
        self._store = store
        self._throttle = throttle
        self._passwords = passwords
        self._metrics = metrics

    async def with_password(
        self, name: str, encoded: bytes, client: LoginClient, proceed: Callable[[Credentials], Awaitable[_Proven]]
    ) -> _Proven | WrongCredentials | AttemptThrottled:
        """Return what `proceed` does with the credentials if the password is right; count an attempt that is not."""
        try:
            admitted = await self._admit(name, client)
            if isinstance(admitted, AttemptThrottled):
                self._metrics.login("throttled")
                return admitted
            attempt, found = admitted
            try:
                verified = await self._verify(attempt, found, encoded)
                if verified is None:
                    self._metrics.login("wrong")
                    return WrongCredentials()
                # The right password is what ends the failures. They stay ended if no session can be created, for a
                # guesser gains nothing by it: it takes the password to get here.
                self._throttle.begin_to_settle(attempt)
                return await proceed(verified)
            finally:
                await self._throttle.settle(attempt)
        except Overloaded:
            self._metrics.login("overloaded")
            raise

    async def _admit(self, name: str, client: LoginClient) -> tuple[Guess, Credentials | None] | AttemptThrottled:
        """Charge an attempt, and return it with the credentials of the name; or return a refusal of the throttle."""
        refusal = self._throttle.cached_refusal("password", name, client)
        if refusal is not None:
            return refusal
        self._passwords.require_place(trusted=self._throttle.is_known_device(name, client))
        found = await self._store.load(name)
        attempt = await self._throttle.begin("password", name, client)
        return attempt if isinstance(attempt, AttemptThrottled) else (attempt, found)

    async def _verify(self, attempt: Guess, found: Credentials | None, password: bytes) -> Credentials | None:
        """Return the credentials if the password is right, after exactly one hash; then renew what is out of date."""
        stored = None if found is None or found.disabled else found.password
        match = await self._passwords.verify(
            password, stored, attempt.on_begin, attempt.on_match, trusted=attempt.trusted
        )
        if match is None:
            return None
        assert found is not None, "a password matched, so there is an account"
        return await self._renew(found, password, needs_rehash=match.needs_rehash, trusted=attempt.trusted)

    async def _renew(self, found: Credentials, password: bytes, *, needs_rehash: bool, trusted: bool) -> Credentials:
        """Move the account to the newest secret, and store a hash of today's parameters under it; return it.

        That neither can be done now is no reason to refuse a right password: the next login tries again.
        """
        if (older := found.older_secret) is not None:
            self._metrics.older_secret_login(older)
        rehashed = await self._rehashed(password, trusted=trusted) if needs_rehash else None
        if older is None and rehashed is None:
            return found
        renewed = found.changed(password=rehashed or found.password)
        try:
            return found if await self._store.replace(found, renewed) is None else renewed
        except StoreUnavailable as error:
            _log.warning("account not renewed", extra={"reason": str(error)})
            return found

    async def _rehashed(self, password: bytes, *, trusted: bool) -> StoredHash | None:
        try:
            return await self._passwords.hash(password, trusted=trusted)
        except Overloaded:
            return None
