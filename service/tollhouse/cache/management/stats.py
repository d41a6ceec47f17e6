"""Cache statistics, in the JSON shape that dashboards of its predecessors read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct, convert

from tollhouse.cache.commands import Counts
from tollhouse.cache.ttl import CacheTTL


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


class CacheDetail(Struct, frozen=True, kw_only=True):
    """What else is known: why reads missed, how often values were invalidated, memory, and the bounds of an entry."""

    misses_by_cause: MissCauses
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
            invalidations=counted.sequence,
            used_memory_bytes=int(memory.get("used_memory", 0)),
            default_ttl_s=default_ttl_s,
            entry_bytes_max=entry_bytes_max,
        ),
    )
