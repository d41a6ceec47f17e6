"""Lifetimes of cache entries: named values, bounds, and jitter, so that entries do not expire together.

A lifetime is an upper bound: jitter makes it shorter, never longer.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, cast

from tollhouse.errors import ConfigurationError, InvalidInput

TTL_S_MAX: Final = 30 * 86_400
"""The longest lifetime of an entry; `lua/lib/is_ahead.lua` takes a later expiry for a clock's mistake."""
HOLD_MS_MAX: Final = 600_000
"""The longest time for which an invalidation keeps loads out of the cache."""
JITTER_DEFAULT: Final = 0.1
JITTER_MAX: Final = 0.5
"""The largest part of a lifetime that jitter may take."""


class CacheTTL(IntEnum):
    """Lifetimes in seconds, by how fast the data changes."""

    VERY_SHORT = 300
    SHORT = 900
    MEDIUM = 1_800
    LONG = 3_600
    VERY_LONG = 7_200
    DAY = 86_400
    WEEK = 604_800


def lifetime_ms(ttl_s: int, field: str = "ttl_s", also: str = "") -> int:
    """Return a caller's lifetime in milliseconds; raises InvalidInput if it is out of bounds."""
    if isinstance(ttl_s, bool) or not isinstance(cast("object", ttl_s), int) or not 1 <= ttl_s <= TTL_S_MAX:
        raise InvalidInput(field, ttl_s, f"give {also}whole seconds from 1 to {TTL_S_MAX}")
    return ttl_s * 1000


def hold_lifetime_ms(hold_ms: int) -> int:
    """Return how long no load is stored; raises InvalidInput if it is out of bounds."""
    if type(hold_ms) is not int or not 0 <= hold_ms <= HOLD_MS_MAX:
        raise InvalidInput("hold_ms", hold_ms, f"give whole milliseconds from 0 to {HOLD_MS_MAX}")
    return hold_ms


def default_lifetime_ms(ttl_ms: int) -> int:
    """Return the operator's default lifetime; raises ConfigurationError if it is out of bounds."""
    if not 1000 <= ttl_ms <= TTL_S_MAX * 1000:
        raise ConfigurationError("cache ttl_ms", ttl_ms, f"give milliseconds from 1000 to {TTL_S_MAX * 1000}")
    return ttl_ms


def jitter_share(jitter: float) -> float:
    """Return a caller's jitter; raises InvalidInput if it is out of bounds."""
    if type(jitter) in (float, int) and 0 <= jitter <= JITTER_MAX:
        return jitter
    raise InvalidInput("jitter", jitter, f"give the share of a lifetime that may be lost, from 0 to {JITTER_MAX}")


def none_lifetime_ms(none_ttl_s: int | None) -> int | None:
    """Return a caller's lifetime of None in milliseconds, 0 to store no None; raises InvalidInput as `lifetime_ms`."""
    if none_ttl_s is None:
        return None
    if type(none_ttl_s) is int and none_ttl_s == 0:
        return 0
    return lifetime_ms(none_ttl_s, "none_ttl_s", "0 to store no None, or ")


def spread(ttl_ms: int, jitter: float, share: float) -> int:
    """Return a lifetime that is shorter by at most the part `jitter`; `share` is uniform in [0, 1), 0 for all of it."""
    return ttl_ms - int(share * (int(ttl_ms * jitter) + 1)) if ttl_ms else 0
