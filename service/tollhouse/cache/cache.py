"""The cache: read-through values with a lifetime, loaded once per key, never served again after an invalidation.

The scripts count hits and misses in the hash of the logical clock, which they read anyway: one more command, and no
thread, timer or last batch that can be lost. The cost is that a hit writes a few bytes, which are replicated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from msgspec.structs import replace

from tollhouse.cache.codec import CodecName, decoder
from tollhouse.cache.commands import CacheStore, Commands, Counts
from tollhouse.cache.key_names import ALL, IN_PROGRESS, KeyNames, family_of
from tollhouse.cache.reading.loader import DEFAULT_BOUNDS, Bounds, Loader, Query
from tollhouse.cache.reading.read_through import CacheResult, Reader
from tollhouse.cache.stats import NO_INFO, CacheStats, describe
from tollhouse.cache.ttl import default_lifetime_ms, hold_lifetime_ms, lifetime_ms
from tollhouse.cache.walks import count_entries, walk
from tollhouse.clock import MonotonicClock, Sleep, monotonic_ms
from tollhouse.errors import InvalidInput, Steps, StoreError, require_type
from tollhouse.keyring import Keyring
from tollhouse.keys import PREFIX, UNNAMED, Namespace
from tollhouse.logs import Log
from tollhouse.metrics import Metrics

T = TypeVar("T")

_log = Log("tollhouse.cache")


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
        self._metrics = metrics
        self._enabled = self._is_on = enabled
        self._ttl_ms = default_lifetime_ms(ttl_ms)
        self._bounds = bounds
        self._key_names = KeyNames(keyring, prefix, namespace)
        self._commands = Commands(store, self._key_names.clock, lease_ms=bounds.lease_ms)
        loader = Loader(self._commands, codec, bounds, monotonic=monotonic, uniform=uniform, sleep=sleep)
        self._reader = Reader(self._commands, loader, metrics, bounds, monotonic=monotonic, sleep=sleep)

    def switch(self, *, on: bool | None) -> None:
        """Enable or disable the cache; None means as it was opened. A cache that is off loads every value."""
        self._is_on = self._enabled if on is None else on

    async def get_or_load(
        self,
        key: str,
        load: Callable[[], Awaitable[T]],
        *,
        ttl_s: int | None = None,
        tags: Iterable[str] = (),
        type: type[T] | None = None,  # noqa: A002 - as in msgspec
    ) -> T:
        """Return the stored value of a key, or load it; an error of `load` passes through, and nothing is stored.

        A key is text, best of words such as `model:metrics:abc-123`: a first word of a-z, 0-9, `_` and `-` can be read
        on the server if others follow, all else is a digest. The first word must not be a caller's secret.
        The value is decoded as `type`, such as a dataclass, a Struct or `list[User]`. Without it values are of the
        plain types that msgpack has: a dataclass is then returned as a dict, a tuple or a set as a list. A stored value
        that is not of the type, because the type has changed since, is loaded again.
        """
        return (await self.fetch(key, load, ttl_s=ttl_s, tags=tags, type=type)).value

    async def fetch(
        self,
        key: str,
        load: Callable[[], Awaitable[T]],
        *,
        ttl_s: int | None = None,
        tags: Iterable[str] = (),
        family: str | None = None,
        use_cache: bool = True,
        type: type[T] | None = None,  # noqa: A002 - as in msgspec
    ) -> CacheResult[T]:
        """Return the value as `get_or_load` does, with its source; without `use_cache`, load and store nothing.

        The read is counted under `family`, by default the first word of the key.
        """
        require_type("load", load, Callable, "give an async function that returns the value")
        require_type("family", family, str | None, "give text")
        query = Query(
            entry=self._key_names.entries(key)[0],
            tags=self._key_names.entry_tags(tags),
            ttl_ms=self._ttl_ms if ttl_s is None else lifetime_ms(ttl_s),
            load=load,
            type=_decodable(type),
        )
        status, family = "error", family or family_of(key)
        try:
            result = await self._read(query, use_cache=use_cache)
            status = result.status.lower()
        finally:
            self._metrics.cache(family, status)
            _log.debug("cache read", extra={"family": family, "key": query.entry.digest, "result": status})
        if status in ("hit", "coalesced"):
            self._metrics.cache_saved(family, result.load_ms / 1000)
        return result

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

    async def delete_pattern(self, pattern: str) -> int:
        """Remove the values whose keys match a pattern such as `model:metrics:*`; return how many there were.

        A pattern has whole words of keys, and `*` for one word, at the end for one or more; alone it is every key.
        Loads in progress at its start are not stored. For administrators: it scans every key in small steps; in code
        use tags. Raises InvalidInput for a part of a word, such as `model:met*`, because words are stored as digests.
        """
        patterns = self._key_names.patterns(pattern)
        if not patterns:
            return int(await self.invalidate(pattern))
        deleted = 0
        with Steps() as steps:
            await self._commands.invalidate_tags((IN_PROGRESS,))
            steps.begun = True
            for each in patterns:
                deleted += await walk(self._store, each, self._commands.invalidate)
        return deleted

    async def stats(self) -> CacheStats:
        """Return the statistics of the cache; a store that is down is reported in them, not raised."""
        message, counts, memory = "Cache is disabled", None, NO_INFO
        if self._is_on:
            try:
                counts, memory = await self._counts(), await self._store.info("memory")
                message = "Cache is healthy"
            except StoreError:
                message = "Cache is unavailable"
        return describe(
            message, counts, memory, default_ttl_s=self._ttl_ms // 1000, entry_bytes_max=self._bounds.entry_bytes
        )

    async def aclose(self) -> None:
        """Cancel the loads in progress, and their callers with them."""
        await self._reader.aclose()

    async def _counts(self) -> Counts:
        """Return the counts; the number of keys is that of this cache's entries.

        It is 0 if the server refuses to list them, as to an account without the right to.
        """
        counts = await self._commands.counts()
        try:
            entries = await count_entries(self._store, self._key_names.everything, counts.keys)
        except StoreError as error:
            if error.outcome != "rejected":
                raise
            entries = 0
        return replace(counts, keys=entries)

    async def _read(self, query: Query, *, use_cache: bool) -> CacheResult[Any]:
        if not self._is_on:
            return await self._reader.load_unleased(query, "DISABLED")
        if not use_cache:
            return await self._reader.load_unleased(query, "BYPASS")
        return await self._reader.read(query)


def _decodable(type: Any) -> Any:  # noqa: A002 - as in msgspec
    """Return the type that values are decoded as, Any for None; raise InvalidInput if no value can have it."""
    if type is None:
        return Any
    try:
        decoder(b"m", type)
    except TypeError as error:
        raise InvalidInput("type", type, f"give a type that msgspec can decode ({error})") from error
    return type
