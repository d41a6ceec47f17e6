"""Changes of credentials that depend on what they are: decided anew if another change came between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from msgspec import Struct

from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore
from tollhouse.errors import Overloaded

TRIES: Final = 5
"""So often a change is tried: each time that it fails, another one succeeded."""

_RETRY_MS: Final = 1_000

_Refusal = TypeVar("_Refusal")
"""What a decision is that changes nothing."""


class StoredChange(Struct, frozen=True, kw_only=True):
    """The credentials as they are stored now; the change survives a failover if it is `durable`."""

    credentials: Credentials
    durable: bool


async def change(
    store: CredentialStore, found: Credentials | None, decide: Callable[[Credentials], Credentials | _Refusal]
) -> StoredChange | _Refusal | None:
    """Store what `decide` makes of the credentials, and return it; what else it returns, or None without an account.

    It gets those that were found first, and after a change by another those that are stored then. Raises Overloaded
    after five of these.
    """
    for _ in range(TRIES):
        if found is None:
            return None
        after = decide(found)
        if not isinstance(after, Credentials):
            return after
        written = await store.replace(found, after)
        if written is not None:
            return StoredChange(credentials=after, durable=written.durable)
        found = await store.load(found.user)
    raise Overloaded("the number of changes of one account at a time", _RETRY_MS)
