"""Changes of credentials: decided on what is stored, and decided again if it changed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore
from tollhouse.errors import Overloaded

_TRIES: Final = 5
_RETRY_AFTER_MS: Final = 1_000


class StoredChange(Struct, frozen=True, kw_only=True):
    """The credentials as they are stored now, and whether that survives a failover."""

    credentials: Credentials
    durable: bool


class CredentialChanges:
    """Changes the credentials of users."""

    def __init__(self, store: CredentialStore) -> None:
        self._store = store

    async def change(
        self, before: Credentials, decide: Callable[[Credentials], Credentials | None]
    ) -> StoredChange | None:
        """Store what `decide` makes of the credentials; return None if it makes None, or the account is gone.

        It is asked again, with what is stored then, after each change by another; raises Overloaded after five.
        """
        found: Credentials | None = before
        for _ in range(_TRIES):
            after = None if found is None else decide(found)
            if found is None or after is None:
                return None
            written = await self._store.replace(found, after)
            if written is not None:
                return StoredChange(credentials=after, durable=written.durable)
            found = await self._store.load(before.user)
        raise Overloaded("changes of this account", _RETRY_AFTER_MS)
