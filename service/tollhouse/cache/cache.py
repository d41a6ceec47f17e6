"""The cache: read-through values with a lifetime, loaded once per key, never served again after an invalidation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar, cast

from tollhouse.cache.aside import CacheAside
from tollhouse.cache.codec import CodecName, require_codec
from tollhouse.cache.commands import CacheStore, Commands
from tollhouse.cache.doubt import Doubt
from tollhouse.cache.key_names import ALL, KeyNames
from tollhouse.cache.management.calls import ManagementCalls
from tollhouse.cache.management.families import FamilyCounters
from tollhouse.cache.management.inspection import Inspection
from tollhouse.cache.management.removal import Removal
from tollhouse.cache.management.stats import CacheStats, Statistics
from tollhouse.cache.pending import PendingInvalidations
from tollhouse.cache.reading.loader import DEFAULT_BOUNDS, Bounds, Loader
from tollhouse.cache.reading.read_many import require_keys
from tollhouse.cache.reading.read_through import Reader
from tollhouse.cache.reading.reads import Reads, Tags, ValueType, Without, decodable
from tollhouse.cache.reading.result import CacheResult
from tollhouse.cache.ttl import JITTER_DEFAULT, default_lifetime_ms, hold_lifetime_ms, lifetime_ms
from tollhouse.cache.warming.keep import WarmKeeper
from tollhouse.cache.warming.key_list import KeyList
from tollhouse.cache.writing.behind import WriteBehinds
from tollhouse.cache.writing.through import WriteThrough
from tollhouse.clock import MonotonicClock, Sleep, monotonic_ms
from tollhouse.errors import require_type
from tollhouse.keyring import Keyring
from tollhouse.keys import PREFIX, UNNAMED, Namespace
from tollhouse.metrics import Metrics

T = TypeVar("T")


class Cache:
    """Values by key, shared by every process that opens the same store with the same secret and namespace.

    A value can be anything that msgspec encodes. Every caller gets its own copy, decoded from the stored form even
    right after loading, so that the first result and later ones are equal.
    """

    def __init__(
        self,
        store: CacheStore,
        keyring: Keyring,
        metrics: Metrics,
        *,
        enabled: bool = True,
        prefix: str = PREFIX,
        namespace: Namespace = UNNAMED,
        ttl_ms: int = 3_600_000,
        codec: CodecName = "msgpack",
        bounds: Bounds = DEFAULT_BOUNDS,
        monotonic: MonotonicClock = monotonic_ms,
        uniform: Callable[[], float] = random.random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._store = store
        self._enabled = self._is_on = enabled
        self._ttl_ms = default_lifetime_ms(ttl_ms)
        self._key_names = KeyNames(keyring, prefix, namespace)
        self._commands = Commands(store, self._key_names.clock, lease_ms=bounds.lease_ms, alone_max=bounds.alone_max)
        calls = ManagementCalls(store, self._key_names.clock)
        self._counters = counters = FamilyCounters(calls, self._key_names.families, metrics)
        loader = Loader(self._commands, counters, codec, bounds, monotonic=monotonic, uniform=uniform, sleep=sleep)
        self._reader = Reader(self._commands, loader, counters, metrics, bounds, monotonic=monotonic, sleep=sleep)
        self._reads = Reads(self._key_names, self._reader, counters, self._ttl_ms)
        self._aside = CacheAside(self._commands, counters, metrics, bounds, monotonic=monotonic, uniform=uniform)
        self._statistics = Statistics(calls, store, self._key_names, counters, self._ttl_ms, bounds.entry_bytes)
        self.inspection = Inspection(calls, store, self._key_names, entry_bytes_max=bounds.entry_bytes)
        removal = Removal(self._commands, store, self._key_names)
        self.clear_all, self.delete_pattern = removal.clear_all, removal.delete_pattern
        self._codec: CodecName = codec
        self._doubt = Doubt(self._commands.make_up_for_invalidations)
        self._writes = WriteThrough(self._commands, self._key_names, self._reads, loader, self._doubt, is_on=enabled)
        self.warm = KeyList(self._reads, store, self._without).warm
        self._keeper = WarmKeeper(self._reads, self._reader, store, self._without, monotonic=monotonic, sleep=sleep)
        self.keep_warm = self._keeper.keep
        self.write_through = self._writes.write
        self._queues = WriteBehinds(store, self._key_names, self._commands, self._ttl_ms, sleep)
        self.write_behind = self._queues.open

    def switch(self, *, on: bool | None) -> None:
        """Enable or disable the cache; None means as it was opened. A cache that is off loads every value."""
        self._is_on = self._writes.stores_values = self._enabled if on is None else on

    async def get_or_load(
        self,
        key: str,
        load: Callable[[], Awaitable[T]],
        *,
        ttl_s: int | None = None,
        none_ttl_s: int | None = None,
        jitter: float = JITTER_DEFAULT,
        tags: Tags[T] = (),
        type: ValueType[T] | None = None,  # noqa: A002 - as in msgspec
        fresh: bool = False,
    ) -> T:
        """Return the stored value of a key, or load it, once for all who ask; nothing that was invalidated before.

        While the store is down the value is loaded, and not stored. An error of `load` passes through. Raises
        InvalidInput for a wrong argument before the load; LoadFailed for a value that has no encoding or is not of the
        `type`, and if `load` reads the key that it loads, directly or over other keys.

        A key is text of 1 to 1,024 characters, best of words such as `model:metrics:abc-123`: a first word of a-z, 0-9,
        `_`, `-` can be read on the server if others follow, all else is a digest. It must not be a caller's secret.

        It is kept for `ttl_s`, 1 s to 30 days, by default an hour, or up to the part `jitter` (0 to 0.5) less, so that
        values do not expire together; None for `none_ttl_s` if that is given, and 0 stores none. `tags`, 64 at
        most, may be a function of the value. With `fresh` it is loaded anew, whatever is stored or being loaded.

        The value is decoded as `type`, such as a dataclass, a Struct or `list[User]`. Without it values are of the
        plain types that msgpack has: a dataclass is then returned as a dict, a tuple or a set as a list. A stored value
        that is not of the type, because the type has changed since, is loaded again.
        """
        query = self._reads.query(key, load, ttl_s, none_ttl_s, jitter, tags, family=None, type=type)
        return (await self._reads.one(query, await self._without(), fresh=fresh)).value

    async def fetch(
        self,
        key: str,
        load: Callable[[], Awaitable[T]],
        *,
        ttl_s: int | None = None,
        none_ttl_s: int | None = None,
        jitter: float = JITTER_DEFAULT,
        tags: Tags[T] = (),
        family: str | None = None,
        type: ValueType[T] | None = None,  # noqa: A002 - as in msgspec
        fresh: bool = False,
        use_cache: bool = True,
        codec: CodecName | None = None,
    ) -> CacheResult[T]:
        """Return the value as `get_or_load` does, with its source; without `use_cache`, load and store nothing.

        The read is counted under `family`, by default the first word of the key. `codec` is by default the cache's own.
        """
        query = self._reads.query(key, load, ttl_s, none_ttl_s, jitter, tags, family=family, type=type, codec=codec)
        without = "BYPASS" if self._is_on and not use_cache else await self._without()
        return await self._reads.one(query, without, fresh=fresh)

    async def get_many(
        self,
        keys: Iterable[str],
        load_many: Callable[[list[str]], Awaitable[Mapping[str, T]]],
        *,
        ttl_s: int | None = None,
        none_ttl_s: int | None = None,
        jitter: float = JITTER_DEFAULT,
        tags: Tags[T] = (),
        type: ValueType[T] | None = None,  # noqa: A002 - as in msgspec
    ) -> dict[str, T]:
        """Return the values of up to 1,000 keys, by key; those that are not stored are loaded by one call.

        `load_many` gets the keys that no other caller is loading, and returns their values by key. A key that is not
        in its answer is not stored, and is not in the result. Every entry is one that `get_or_load` finds as well, and
        the other arguments are as there; the first error of any key is that of the call.
        """
        unique = require_keys(keys)
        require_type("load_many", load_many, Callable, "give an async function that returns a mapping")
        if not unique:
            return {}
        load = cast("Callable[[], Awaitable[Any]]", load_many)
        template = self._reads.query(unique[0], load, ttl_s, none_ttl_s, jitter, tags, family=None, type=type)
        return await self._reads.many(template, unique, load_many, await self._without())

    async def get(self, key: str, default: Any = None, *, type: Any = None) -> Any:  # noqa: A002 - as in msgspec
        """Return the stored value of a key, or `default`; prefer `get_or_load`, which loads once for all callers.

        A `set` after a miss, in this task, is refused if the value was invalidated since. Both raise StoreUnavailable.
        """
        entry, kind = self._key_names.entries(key)[0], decodable(type)
        if not self._is_on:
            return default
        if self._doubt.is_open:
            self._aside.refuse(entry)
            await self._doubt.settle()
        found = await self._aside.get(entry, entry.family, kind)
        return default if found is None else found.value

    async def set(
        self,
        key: str,
        value: Any,
        *,
        ttl_s: int | None = None,
        tags: Iterable[str] = (),
        codec: CodecName | None = None,
    ) -> bool:
        """Store a value for `ttl_s`, a tenth less at most; return False if it is outdated, or above 1 MiB.

        After a `get` of the key that missed, in this task, the value is outdated if the key or one of the tags was
        invalidated since. Otherwise it replaces what is stored, and values that are being loaded are not stored; if it
        fails, nothing older is served.
        """
        entries, digests = self._key_names.entries(key), self._key_names.entry_tags(tags)
        ttl_ms = self._ttl_ms if ttl_s is None else lifetime_ms(ttl_s)
        codec = require_codec(codec) or self._codec
        packed = self._aside.encode(value, codec)
        return self._is_on and await self._aside.set(entries, entries[0].family, packed, codec, digests, ttl_ms)

    async def look_up(
        self,
        key: str,
        *,
        family: str | None = None,
        type: ValueType[T] | None = None,  # noqa: A002 - as in msgspec
    ) -> CacheResult[T] | None:
        """Return the stored value of a key, with its age; None if there is none, or if it cannot be read now.

        Nothing is loaded. The look-up is counted under `family`, by default the first word of the key.
        """
        entry, kind = self._key_names.entries(key)[0], decodable(type)
        return await self._aside.look_up(entry, family or entry.family, kind, await self._without())

    async def invalidate(self, key: str, *, hold_ms: int = 0) -> bool:
        """Remove one value, and prevent a load in progress from storing one; return whether there was a value.

        Loads that begin within `hold_ms` are not stored either: give it if they read a replica, as long as that may lag
        behind. Until then every process loads for itself, once for all its concurrent callers.
        Raises StoreUnavailable if the store did not answer; then the old value may still be served.
        """
        hold_ms = hold_lifetime_ms(hold_ms)
        entries = self._key_names.entries(key)
        return await self._commands.invalidate([entry.names for entry in entries], hold_ms) > 0

    async def invalidate_tags(self, *tags: str, durable: bool = False) -> bool:
        """Remove every value that has one of the tags, as `invalidate` does; the cost is the same for any number.

        An invalidation that a failover loses is not undone: the next primary ignores what was stored before. Only a
        process that goes on with the former primary may serve the values. With `durable` the call also waits until
        every replica that can be promoted has it; return whether that is so, False without `durable`.
        """
        digests = [digest for tag in tags for digest in self._key_names.tag_digests(tag)]
        return await self._commands.invalidate_tags(digests, durable=durable)

    async def clear(self) -> None:
        """Remove every value, as `invalidate` does; the cost is the same for any number."""
        await self._commands.invalidate_tags((ALL,))

    def after_commit(self) -> PendingInvalidations:
        """Return a block, for `async with`, that invalidates what it names at its end; nothing if it raises.

        Put a transaction in it, and name things first: a block that is cancelled may have committed, and counts. If the
        store does not answer at the end, that is logged, and this process clears the cache before it reads it again: as
        the block has done its work, its end raises nothing.
        """
        return PendingInvalidations(self._store, self._commands, self._key_names, self._doubt)

    @property
    def is_available(self) -> bool:
        """Return False if the cache is off, or its store is known to be down; nothing is sent."""
        return self._is_on and self._store.is_available

    async def make_up_for(self, invalidation: Coroutine[Any, Any, T]) -> T | None:
        """Await an invalidation, which goes on without its caller; `distrust` and return None if it is not sent."""
        return await self._doubt.make_up_for(invalidation)

    @property
    def is_distrusted(self) -> bool:
        """Return True while an invalidation is outstanding that could not be sent."""
        return self._doubt.is_open

    def distrust(self) -> None:
        """Clear the cache before this process reads it again: for an invalidation that could not be sent."""
        self._doubt.add()

    async def stats(self) -> CacheStats:
        """Return the statistics of the cache; a store that is down is reported in them, not raised."""
        return await self._statistics.gather(is_on=self._is_on)

    async def aclose(self) -> None:
        """Cancel the loads in progress, and their callers with them; wait for invalidations in progress."""
        for part in (self._queues, self._keeper, self._reader, self._doubt, self._counters):
            await part.aclose()

    async def _without(self) -> Without | None:
        if not self._is_on:
            return "DISABLED"
        return "DOUBT" if self._doubt.is_open and not await self._doubt.is_settled() else None
