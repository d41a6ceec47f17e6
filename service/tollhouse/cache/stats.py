"""What a cache tells about itself, in the shape that dashboards of its predecessors read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from tollhouse.cache.commands import Counts
from tollhouse.cache.ttl import CacheTTL


class Usage(Struct, frozen=True, kw_only=True):
    """Counts of all processes together; `hit_rate` is in percent, `total_keys` are those of the database.

    A hit is a value that the store gave, a miss is a load that it asked for. Whoever only waited for
    another's load is neither, so that the rate is the share of loads that were saved.
    """

    used_memory: str
    total_keys: int
    hits: int
    misses: int
    hit_rate: float


class Lifetimes(Struct, frozen=True, kw_only=True):
    """The named lifetimes, in seconds."""

    ttl_very_short: int = CacheTTL.VERY_SHORT.value
    ttl_short: int = CacheTTL.SHORT.value
    ttl_medium: int = CacheTTL.MEDIUM.value
    ttl_long: int = CacheTTL.LONG.value
    ttl_very_long: int = CacheTTL.VERY_LONG.value
    ttl_day: int = CacheTTL.DAY.value
    ttl_week: int = CacheTTL.WEEK.value


class Causes(Struct, frozen=True, kw_only=True):
    """Why entries were not there.

    `absent`: never loaded, expired or evicted. `invalidated`: by a tag, or all at once. `epoch`: cached before
    the clock was lost or another primary took over. `unusable`: not ours, or written by a clock too far ahead.
    """

    absent: int = 0
    invalidated: int = 0
    epoch: int = 0
    unusable: int = 0


class Detail(Struct, frozen=True, kw_only=True):
    """What the short form leaves out."""

    misses_by_cause: Causes
    invalidations: int
    used_memory_bytes: int
    default_ttl_s: int
    entry_bytes_max: int


class CacheStats(Struct, frozen=True, kw_only=True):
    """The state of a cache; `available` is False while its store is down, and where it is switched off."""

    available: bool
    stats: Usage
    config: Lifetimes
    message: str
    detail: Detail


NOTHING_KNOWN: Final[Mapping[str, str]] = MappingProxyType({})
"""What INFO says where there is no server to ask."""

_NOTHING_COUNTED: Final = Counts(keys=0, sequence=0, hits=0, absent=0, invalidated=0, epoch=0, unusable=0)


def hit_rate(hits: int, misses: int) -> float:
    """Give the share of hits in percent, to two places; 0 before the first lookup."""
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
    """Put together what was counted (None: the cache cannot be asked), the server's memory, and the settings."""
    known = counts or _NOTHING_COUNTED
    misses = known.absent + known.invalidated + known.epoch + known.unusable
    return CacheStats(
        available=counts is not None,
        stats=Usage(
            used_memory=memory.get("used_memory_human", "unknown"),
            total_keys=known.keys,
            hits=known.hits,
            misses=misses,
            hit_rate=hit_rate(known.hits, misses),
        ),
        config=Lifetimes(),
        message=message,
        detail=Detail(
            misses_by_cause=Causes(
                absent=known.absent,
                invalidated=known.invalidated,
                epoch=known.epoch,
                unusable=known.unusable,
            ),
            invalidations=known.sequence,
            used_memory_bytes=int(memory.get("used_memory", 0)),
            default_ttl_s=default_ttl_s,
            entry_bytes_max=entry_bytes_max,
        ),
    )
