"""Write-through: the source is written first, then the value is stored for readers.

A value is stored under a lease that was granted before the write began. So it is stored only if no other caller wrote,
loaded or invalidated the key since, and no load that may have read the source before the write is stored after it. If
the lease was lost, the entry is removed instead: of two writes at the same time it is not known which the source has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from tollhouse.cache.commands import Commands, LoadLease
from tollhouse.cache.doubt import Doubt
from tollhouse.cache.key_names import EntryKeys, KeyNames, Names
from tollhouse.cache.reading.loader import Loader, call_load
from tollhouse.cache.reading.query import Query
from tollhouse.cache.reading.reads import Reads, Tags
from tollhouse.cache.ttl import JITTER_DEFAULT
from tollhouse.errors import StoreError, StoreRefused

T = TypeVar("T")


class WriteThrough:
    """Writes values to their source and to the cache; if the cache is off it `stores_values` no more."""

    def __init__(
        self, commands: Commands, key_names: KeyNames, reads: Reads, loader: Loader, doubt: Doubt, *, is_on: bool
    ) -> None:
        self._commands = commands
        self._key_names = key_names
        self._reads = reads
        self._loader = loader
        self._doubt = doubt
        self.stores_values = is_on

    async def write(
        self,
        key: str,
        write: Callable[[], Awaitable[T]],
        *,
        ttl_s: int | None = None,
        none_ttl_s: int | None = None,
        jitter: float = JITTER_DEFAULT,
        tags: Tags[T] = (),
    ) -> T:
        """Write a value to its source, then store it for readers; return it.

        `write` writes the source and returns the value as the source has it now, such as the row that a database
        returns. The other arguments are those of `get_or_load`. Readers may have the old value until this returns, and
        never afterwards. If something else happened to the key meanwhile, such as another write, the value is removed
        instead, and the next read loads it. That is so too if `write` fails or is cancelled, because the source may
        have been written, and if it takes longer than a lease, which is 5 s.

        While the store is down the source is written all the same. This process then clears the cache before it reads
        it again; others may serve the old value until then.
        """
        query = self._reads.query(
            key, write, ttl_s=ttl_s, none_ttl_s=none_ttl_s, jitter=jitter, tags=tags, family=None, type=None
        )
        names = [entry.names for entry in self._key_names.entries(key)]
        lease = await self._lease(query)
        try:
            value = await call_load(query)
            digests, body = query.tags_of(value), await self._loader.encode(query, value)
        except BaseException:
            await self._doubt.make_up_for(self._finish(names, query.entry, lease, b"", 0))
            raise
        envelope, keep_ms = b"", 0
        if lease is not None:
            envelope, keep_ms = self._loader.envelope(lease, query, value, digests, body)
        await self._doubt.make_up_for(self._finish(names, query.entry, lease, envelope, keep_ms))
        return value

    async def _lease(self, query: Query) -> LoadLease | None:
        """Return the lease of a write; None if the cache is off, or its store did not answer."""
        if not self.stores_values:
            return None
        try:
            return await self._commands.take_lease(query.entry, query.longest_ms)
        except StoreRefused:
            raise
        except StoreError:
            return None

    async def _finish(
        self, names: Sequence[Names], entry: EntryKeys, lease: LoadLease | None, envelope: bytes, keep_ms: int
    ) -> None:
        """Store an envelope, or remove the entry."""
        try:
            outdated = names[1:] if await self._is_written(entry, lease, envelope, keep_ms) else names
            if outdated:
                await self._commands.invalidate(outdated)
        finally:
            if lease is not None:
                self._commands.leases.end(lease.token)

    async def _is_written(self, entry: EntryKeys, lease: LoadLease | None, envelope: bytes, keep_ms: int) -> bool:
        """Return True if the entry was stored or removed; False if it still has to be removed."""
        if lease is None or not keep_ms:
            return False
        try:
            await self._commands.write(entry, lease, envelope, keep_ms)
        except StoreError:
            return False
        return True
