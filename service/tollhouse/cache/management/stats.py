"""Cache statistics, in the JSON shape that dashboards of its predecessors read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct, convert
from msgspec.structs import asdict, replace

from tollhouse.cache.commands import CacheStore
from tollhouse.cache.key_names import KeyNames
from tollhouse.cache.management.calls import Counts, ManagementCalls
from tollhouse.cache.management.families import FamilyCounters, Tally, tally_of
from tollhouse.cache.management.walks import count_entries
from tollhouse.cache.ttl import CacheTTL
from tollhouse.errors import StoreError


class CacheUsage(Struct, frozen=True, kw_only=True):
    """Counts of all processes together; `hit_rate` is in percent, `total_keys` are its entries, an estimate if
    its database has more than 20,000 keys.

    In a database that other stores share they are those of the cache, or 0 if the account may not list them.

    A hit is a value from the store, a miss is a load under a lease. A caller that only waited for another's load
    is neither, so the rate is the share of loads that the cache saved.
    """

    used_memory: str
    total_keys: int
    hits: int
    misses: int
    hit_rate: float


class CacheLifetimes(Struct, frozen=True, kw_only=True):
    """The named lifetimes, in seconds."""

    ttl_very_short: int = CacheTTL.VERY_SHORT.value
    ttl_short: int = CacheTTL.SHORT.value
    ttl_medium: int = CacheTTL.MEDIUM.value
    ttl_long: int = CacheTTL.LONG.value
    ttl_very_long: int = CacheTTL.VERY_LONG.value
    ttl_day: int = CacheTTL.DAY.value
    ttl_week: int = CacheTTL.WEEK.value


class MissCauses(Struct, frozen=True, kw_only=True):
    """Misses by cause.

    `absent`: never loaded, expired or evicted. `invalidated`: by a tag, or all at once. `epoch`: cached before
    the clock was lost or another primary took over. `unusable`: not in our format, or from a clock too far ahead.
    """

    absent: int
    invalidated: int
    epoch: int
    unusable: int


class HitLayers(Struct, frozen=True, kw_only=True):
    """Hits by the layer that answered: `store`, the server."""

    store: int


class FamilyStats(Struct, frozen=True, kw_only=True):
    """The counts of one family of keys, those with the same first word, or of all families; `hit_rate` is in percent.

    `coalesced` reads waited for a load of another caller, `bypassed` ones loaded without the store. `refused_fills`
    are values that were loaded and not stored, because they may be older than an invalidation. Bytes are those of
    values as they are stored; `unpacked`, without their compression. `saved_ms` is the time that the loads of hits and
    coalesced reads would have taken.
    """

    hits_by_layer: HitLayers
    misses: int
    misses_by_cause: MissCauses
    hit_rate: float
    coalesced: int
    bypassed: int
    refused_fills: int
    stored_bytes: int
    stored_unpacked_bytes: int
    served_bytes: int
    served_unpacked_bytes: int
    saved_ms: int


class CacheDetail(Struct, frozen=True, kw_only=True):
    """What else is known: why reads missed, how often values were invalidated, memory, and the bounds of an entry.

    `families` has the counts that processes sent by now, within a second of a read, and `all_families` their sum. What
    a process had not sent when it died is not in them, so they may be smaller than the counts of the server.
    """

    misses_by_cause: MissCauses
    families: dict[str, FamilyStats]
    all_families: FamilyStats
    invalidations: int
    used_memory_bytes: int
    default_ttl_s: int
    entry_bytes_max: int


class CacheStats(Struct, frozen=True, kw_only=True):
    """The state of a cache; `available` is False while its store is down, and if the cache is disabled."""

    available: bool
    stats: CacheUsage
    config: CacheLifetimes
    message: str
    detail: CacheDetail


NO_INFO: Final[Mapping[str, str]] = MappingProxyType({})
"""INFO of a server that cannot be asked."""


def hit_rate(hits: int, misses: int) -> float:
    """Return the share of hits in percent, to two places; 0 before the first lookup."""
    lookups = hits + misses
    return round(100 * hits / lookups, 2) if lookups else 0.0


def describe(
    message: str,
    counts: Counts | None,
    memory: Mapping[str, str],
    *,
    default_ttl_s: int,
    entry_bytes_max: int,
) -> CacheStats:
    """Return the statistics from the counts (None if the cache cannot be asked), the server's INFO and the settings."""
    counted = counts or Counts()
    tallies = {family: tally_of(numbers) for family, numbers in sorted(counted.families.items())}
    misses = counted.absent + counted.invalidated + counted.epoch + counted.unusable
    return CacheStats(
        available=counts is not None,
        stats=CacheUsage(
            used_memory=memory.get("used_memory_human", "unknown"),
            total_keys=counted.keys,
            hits=counted.hits,
            misses=misses,
            hit_rate=hit_rate(counted.hits, misses),
        ),
        config=CacheLifetimes(),
        message=message,
        detail=CacheDetail(
            misses_by_cause=convert(counted, MissCauses, from_attributes=True),
            families={family: _family_stats(tally) for family, tally in tallies.items()},
            all_families=_family_stats(tally_of(*counted.families.values())),
            invalidations=counted.sequence,
            used_memory_bytes=int(memory.get("used_memory", 0)),
            default_ttl_s=default_ttl_s,
            entry_bytes_max=entry_bytes_max,
        ),
    )


class Statistics:
    """The statistics of one cache; a store that is down is reported in them, not raised."""

    def __init__(
        self,
        calls: ManagementCalls,
        store: CacheStore,
        key_names: KeyNames,
        counters: FamilyCounters,
        ttl_ms: int,
        entry_bytes_max: int,
    ) -> None:
        self._calls = calls
        self._store = store
        self._key_names = key_names
        self._counters = counters
        self._default_ttl_s = ttl_ms // 1000
        self._entry_bytes_max = entry_bytes_max

    async def gather(self, *, is_on: bool) -> CacheStats:
        """Return the statistics; those of this process are sent before."""
        message, counts, memory = "Cache is disabled", None, NO_INFO
        if is_on:
            try:
                await self._counters.flush()
                counts, memory = await self._counts(), await self._store.info("memory")
                message = "Cache is healthy"
            except StoreError:
                message = "Cache is unavailable"
        return describe(
            message, counts, memory, default_ttl_s=self._default_ttl_s, entry_bytes_max=self._entry_bytes_max
        )

    async def _counts(self) -> Counts:
        """Return the counts of the clock, with the number of entries as that of the keys.

        It is 0 if the server refuses to list them, as to an account without the right to.
        """
        counts = await self._calls.counts(self._key_names.families)
        try:
            entries = await count_entries(self._store, self._key_names.everything, counts.keys)
        except StoreError as error:
            if error.outcome != "rejected":
                raise
            entries = 0
        return replace(counts, keys=entries)


def _family_stats(tally: Tally) -> FamilyStats:
    causes = convert(tally, MissCauses, from_attributes=True)
    misses = sum(asdict(causes).values())
    return FamilyStats(
        hits_by_layer=HitLayers(store=tally.hits),
        misses=misses,
        misses_by_cause=causes,
        hit_rate=hit_rate(tally.hits, misses),
        coalesced=tally.coalesced,
        bypassed=tally.bypassed,
        refused_fills=tally.refused_fills,
        stored_bytes=tally.stored_bytes,
        stored_unpacked_bytes=tally.stored_unpacked_bytes,
        served_bytes=tally.served_bytes,
        served_unpacked_bytes=tally.served_unpacked_bytes,
        saved_ms=tally.saved_ms,
    )
