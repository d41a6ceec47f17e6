"""The cache: values kept for a while, loaded once per key, and never served again once invalidated.

How often the cache helped is counted by the scripts, in the hash of its clock: one more command on a hash
that the script reads anyway, and every process and worker adds to the same numbers without a thread, a
timer or a last batch that gets lost. The price is that a hit writes, a few bytes on their way to replicas.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tollhouse import keys
from tollhouse.cache.codec import CodecName
from tollhouse.cache.commands import Counts, Shard, Store
from tollhouse.cache.key_names import EVERYTHING, UNDER_WAY, Names
from tollhouse.cache.loader import DEFAULT_BOUNDS, Bounds, Load, Loads, Query, Sleep
from tollhouse.cache.read_through import Found, Reader
from tollhouse.cache.stats import NOTHING_KNOWN, CacheStats, describe
from tollhouse.cache.ttl import TTL_S_MAX, default_lifetime_ms, lifetime_ms
from tollhouse.clock import MonotonicClock, monotonic_ms
from tollhouse.errors import StoreError
from tollhouse.keyring import Keyring
from tollhouse.metrics import Metrics

_SCAN_STEP: Final = 500
_log = logging.getLogger("tollhouse.cache")


class Cache:
    """Values by family and key, shared by every process that opens the same store with the same secret.

    A value can be whatever msgspec writes. Every caller gets a copy of their own, read back from the
    stored form even right after loading, so that first and later answers are alike.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        metrics: Metrics,
        *,
        enabled: bool = True,
        prefix: str = keys.PREFIX,
        ttl_ms: int = 3_600_000,
        codec: CodecName = "msgpack",
        bounds: Bounds = DEFAULT_BOUNDS,
        monotonic: MonotonicClock = monotonic_ms,
        uniform: Callable[[], float] = random.random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._enabled = enabled
        self._ttl_ms = default_lifetime_ms(ttl_ms)
        self._bounds = bounds
        self._names = Names(keyring, prefix)
        marks_ms = TTL_S_MAX * 1100 + bounds.load_ms + 2 * bounds.lease_ms
        self._shard = Shard(store, self._names.clock, lease_ms=bounds.lease_ms, marks_ms=marks_ms)
        loads = Loads(self._shard, codec, bounds, monotonic=monotonic, uniform=uniform, sleep=sleep)
        self._reader = Reader(self._shard, loads, metrics, bounds, monotonic=monotonic, sleep=sleep)

    async def get_or_load(
        self, key: str, load: Load, *, ttl_s: int | None = None, tags: Iterable[str] = (), family: str = "cache"
    ) -> Any:
        """Give the stored value of a key, or load it; what `load` raises passes through, and nothing is stored."""
        return (await self.fetch(key, load, ttl_s=ttl_s, tags=tags, family=family)).value

    async def fetch(
        self,
        key: str,
        load: Load,
        *,
        ttl_s: int | None = None,
        tags: Iterable[str] = (),
        family: str = "cache",
        use_cache: bool = True,
    ) -> Found:
        """Do as `get_or_load`, and tell where the value came from; without `use_cache`, load past the store."""
        query = Query(
            entry=self._names.entry(family, key),
            tags=self._names.tags(tags),
            ttl_ms=self._ttl_ms if ttl_s is None else lifetime_ms(ttl_s),
            load=load,
        )
        result = "error"
        try:
            found = await self._answer(query, use_cache=use_cache)
            result = found.result.lower()
        finally:
            self._metrics.cache(family, result)
            _log.debug("cache read", extra={"family": family, "key": query.entry.digest, "result": result})
        if result in ("hit", "coalesced"):
            self._metrics.cache_saved(family, found.load_ms / 1000)
        return found

    async def invalidate(self, key: str, *, family: str = "cache") -> bool:
        """Remove one value, and refuse what is being loaded for it; tell whether it was there.

        Raises StoreUnavailable if the store could not be told: then the old value may still be served.
        """
        return await self._shard.invalidate(self._names.entries(family, key)) > 0

    async def invalidate_tags(self, *tags: str) -> None:
        """Remove every value that carries one of the tags, as `invalidate` does; takes the same time for any number."""
        marks = [mark for tag in tags for mark in self._names.marks(tag)]
        if marks:
            await self._shard.mark(marks)

    async def clear(self) -> None:
        """Remove every value, as `invalidate` does; takes the same time for any number."""
        await self._shard.mark((EVERYTHING,))

    async def delete_pattern(self, pattern: str) -> int:
        """Remove the values whose name matches, such as `ai:langid:*`, and give how many there were.

        For administrators: it walks over every key in small steps. Only families can be matched, for keys are
        stored as digests; code uses tags. Whatever is being loaded when it begins is not stored.
        """
        match = self._names.match(pattern)
        await self._shard.mark((UNDER_WAY,))
        deleted, cursor = 0, 0
        while True:
            cursor, names = await self._store.scan(cursor, match, _SCAN_STEP)
            entries = self._names.found(names)
            if entries:
                deleted += await self._shard.invalidate(entries)
            if cursor == 0:
                return deleted

    async def stats(self) -> CacheStats:
        """Tell how the cache is doing; never raises for a store that is down."""
        if not self._enabled:
            return self._described("Cache is disabled")
        try:
            return self._described("Cache is healthy", await self._shard.counts(), await self._store.info("memory"))
        except StoreError:
            return self._described("Cache is unavailable")

    async def aclose(self) -> None:
        """End the loads that are under way; their callers are cancelled."""
        await self._reader.aclose()

    async def _answer(self, query: Query, *, use_cache: bool) -> Found:
        if not self._enabled:
            return await self._reader.alone(query, "DISABLED")
        if not use_cache:
            return await self._reader.alone(query, "BYPASS")
        return await self._reader.read(query)

    def _described(
        self, message: str, counts: Counts | None = None, memory: Mapping[str, str] = NOTHING_KNOWN
    ) -> CacheStats:
        return describe(
            message, counts, memory, default_ttl_s=self._ttl_ms // 1000, entry_bytes_max=self._bounds.entry_bytes
        )
