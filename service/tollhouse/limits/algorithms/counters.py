"""What is counted of one subject under one policy, as a value: `lua/limits/take.lua` keeps the same in one text."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

AHEAD_MS_MAX: Final = 60_000
"""How far ahead of the clock a stored time may lie and still be believed."""


class Counter(Struct, frozen=True, kw_only=True):
    """What one window has counted, as its algorithm counts: `current` units at `index`.

    Where units are counted in sub-buckets, `index` is the newest of them, and `older` holds the index and the units
    of those before it, oldest first. For gcra `index` is a time in ms, and `part` is what there is of one unit more,
    in parts of 1/window_ms.
    """

    index: int
    current: int = 0
    previous: tuple[tuple[int, int], ...] = ()
    fraction: int = 0


class Hold(Struct, frozen=True, kw_only=True):
    """Units that are set aside since `made_ms`, until they are settled or `held_ms` have passed."""

    name: str
    units: int
    made_ms: int
    held_ms: int

    @property
    def ends_ms(self) -> int:
        """The moment from which the units are free again."""
        return self.made_ms + self.held_ms


CounterId = tuple[str, int, int]
"""Algorithm, window and resolution: another number of units keeps what was counted."""


class SubjectState(Struct, frozen=True, kw_only=True):
    """The entries of one subject by name, and what is set aside of its units; `State()` where nothing was counted."""

    counters: Mapping[CounterId, Counter] = MappingProxyType({})
    holds: tuple[Hold, ...] = ()
