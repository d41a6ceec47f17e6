"""Counts units in whole sub-buckets: `sliding-window`, `sliding-log` and `fixed-window`.

A window is cut into n sub-buckets; sub-bucket i begins at ceil(i * window_ms / n). The present one and those that are
within reach before it count, each of them whole. A clock that steps back counts into the newest one there is.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Final

from msgspec import Struct

from tollhouse.limits.algorithms.counters import Counter
from tollhouse.limits.policy.policy import Limit


class Buckets(Struct, frozen=True, kw_only=True):
    """The rules of one algorithm: into how many sub-buckets a window is cut, and how many before the present count."""

    slots_per_window: Callable[[Limit], int]
    span: Callable[[Limit], int]

    def advance(self, limit: Limit, entry: Counter, index: int) -> Counter:
        """Bring an entry to a later sub-bucket, without those that are released by then."""
        kept = tuple((i, units) for i, units in _oldest_first(entry) if i >= index - self.span(limit) and units)
        return Counter(index=index, previous=kept)

    def usage(self, _limit: Limit, entry: Counter, _now_ms: int) -> int:
        """Give the units that count now, of an entry that is brought to now."""
        return _total(entry)

    def admits_at_ms(self, limit: Limit, entry: Counter, cost: int) -> int:
        """Give the moment from which `cost` more units fit, absent other takes; 0 where they fit already."""
        excess = _total(entry) + cost - limit.units
        if excess <= 0:
            return 0
        held = _oldest_first(entry)
        released = accumulate(units for _, units in held)
        index = next(i for (i, _), units in zip(held, released, strict=True) if units >= excess)
        return -(-(index + self.span(limit) + 1) * limit.window_ms // self.slots_per_window(limit))

    def refund(self, _: Limit, entry: Counter, units: int) -> Counter:
        """Take back up to `units`, the oldest first: what stays then counts as long as if it were newer."""
        older: list[tuple[int, int]] = []
        for index, counted in entry.previous:
            back = min(units, counted)
            units -= back
            if counted > back:
                older.append((index, counted - back))
        return Counter(index=entry.index, current=max(entry.current - units, 0), previous=tuple(older))


SLIDING_WINDOW: Final = Buckets(slots_per_window=lambda limit: limit.resolution, span=lambda limit: limit.resolution)
"""n sub-buckets, n of which count besides the present one: they reach back at least one window from any moment.

Over-admission: none, no trailing window ever holds more than the limit. Under-admission: a refusal lasts at most
ceil(window_ms / n) longer than by an exact log.
"""

SLIDING_LOG: Final = Buckets(slots_per_window=lambda limit: limit.window_ms, span=lambda limit: limit.window_ms - 1)
"""Sub-buckets of one millisecond, window_ms of which count: an exact log, in which equal milliseconds are one.

Over-admission: none. Under-admission: none. It holds as many numbers as there are milliseconds with a take, and never
more than units.
"""

FIXED_WINDOW: Final = Buckets(slots_per_window=lambda _: 1, span=lambda _: 0)
"""One sub-bucket, which is the window; at its end everything is forgotten.

Over-admission: a trailing window may hold twice the limit, half of it from before an end and half from after.
Under-admission: none, what it counts was taken in the trailing window.
"""


def _total(entry: Counter) -> int:
    return entry.current + sum(units for _, units in entry.previous)


def _oldest_first(entry: Counter) -> tuple[tuple[int, int], ...]:
    return (*entry.previous, (entry.index, entry.current))
