"""How long entries live: the named lifetimes, their bounds, and the spread that keeps them from ending together."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from tollhouse.errors import ConfigurationError, InvalidInput

TTL_S_MAX: Final = 30 * 86_400
"""No entry is kept longer; marks of invalidated tags are kept a little longer than this."""


class CacheTTL(IntEnum):
    """Lifetimes in seconds by how fast the thing changes."""

    VERY_SHORT = 300
    SHORT = 900
    MEDIUM = 1_800
    LONG = 3_600
    VERY_LONG = 7_200
    DAY = 86_400
    WEEK = 604_800


def lifetime_ms(ttl_s: int) -> int:
    """Check a lifetime that a caller asks for, and give it in milliseconds."""
    if not 1 <= ttl_s <= TTL_S_MAX:
        raise InvalidInput("ttl_s", ttl_s, f"give whole seconds from 1 to {TTL_S_MAX}")
    return ttl_s * 1000


def default_lifetime_ms(ttl_ms: int) -> int:
    """Check the lifetime that the operator sets for entries without one of their own."""
    if not 1000 <= ttl_ms <= TTL_S_MAX * 1000:
        raise ConfigurationError("cache ttl_ms", ttl_ms, f"give milliseconds from 1000 to {TTL_S_MAX * 1000}")
    return ttl_ms


def spread(ttl_ms: int, share: float) -> int:
    """Give a lifetime from a tenth below to a tenth above `ttl_ms`; `share` is uniform in [0, 1)."""
    tenth_ms = ttl_ms // 10
    return ttl_ms - tenth_ms + int(share * (2 * tenth_ms + 1))
