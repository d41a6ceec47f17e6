"""One read: the entry, how to load it, and how to keep what was loaded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from msgspec import Struct

from tollhouse.cache.codec import CodecName
from tollhouse.cache.key_names import EntryKeys, Names
from tollhouse.cache.ttl import spread

Load = Callable[[], Awaitable[Any]]
"""The caller's function that computes the value of a key; called when there is no valid stored value."""

EntryTags = Callable[[Any], tuple[str, ...]]
"""Returns the digests of the tags of an entry by its value; called when the value is loaded, not for a stored one."""


class Query(Struct, frozen=True, kw_only=True):
    """One read. `none_ttl_ms` is the lifetime of None if that has one of its own; 0 stores none.

    `codec` is that of what is loaded, None for that of the cache. `others` are the names of the entry under the other
    secrets of a rotation. `asking` is entered while the store is asked whether the load of another process is over.
    """

    entry: EntryKeys
    family: str
    load: Load
    tags_of: EntryTags
    ttl_ms: int
    none_ttl_ms: int | None
    jitter: float
    type: Any = Any
    codec: CodecName | None = None
    others: tuple[Names, ...] = ()
    asking: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def digest(self) -> bytes:
        """The 16 bytes that bind a body to its key."""
        return bytes.fromhex(self.entry.digest)

    @property
    def longest_ms(self) -> int:
        """The longest lifetime that the value can have."""
        return max(self.ttl_ms, self.none_ttl_ms or 0)

    def lifetime_ms(self, value: Any, share: float) -> int:
        """Return the lifetime of a loaded value; `share` is that of `ttl.spread`."""
        own_ms = self.none_ttl_ms if value is None else None
        return spread(self.ttl_ms if own_ms is None else own_ms, self.jitter, share)
