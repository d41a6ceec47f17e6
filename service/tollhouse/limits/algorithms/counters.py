"""The counters and holds of one key under one policy; `lua/limits/take.lua` stores the same in one string."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from tollhouse.limits.policy.policy import CounterId

AHEAD_MS_MAX: Final = 60_000
"""How far ahead of the clock a stored time may be; what is further ahead was written by a wrong clock.

The Lua scripts have the number as a literal, and a test compares them.
"""


class Counter(Struct, frozen=True, kw_only=True):
    """What one window has counted: `current` units at `index`.

    If the algorithm counts in sub-buckets, `index` is the newest of them, and `previous` has the index and the units of
    those before it, oldest first. For gcra `index` is a time in ms, and `fraction` is the part of one more unit, in
    1/window_ms.
    """

    index: int
    current: int = 0
    previous: tuple[tuple[int, int], ...] = ()
    fraction: int = 0

    @property
    def units(self) -> int:
        """All units that are counted; a fraction counts as a whole unit."""
        return self.current + sum(units for _, units in self.previous) + (self.fraction > 0)


class Hold(Struct, frozen=True, kw_only=True):
    """Units that are set aside from `made_ms` on, until they are settled or `held_ms` have passed."""

    name: str
    units: int
    made_ms: int
    held_ms: int

    @property
    def ends_ms(self) -> int:
        """The moment from which the units are free again."""
        return self.made_ms + self.held_ms


class SubjectState(Struct, frozen=True, kw_only=True):
    """The counters and holds of one key under one policy; `SubjectState()` if nothing is counted."""

    counters: Mapping[CounterId, Counter] = MappingProxyType({})
    holds: tuple[Hold, ...] = ()
