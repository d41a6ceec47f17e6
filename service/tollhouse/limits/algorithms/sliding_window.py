"""The algorithms that count in whole sub-buckets: `sliding-window`, `sliding-log` and `fixed-window`.

A window is divided into n sub-buckets; sub-bucket i begins at ceil(i * window_ms / n). The present one counts, and
those of the span before it, each as a whole. After the clock stepped back, takes count into the newest sub-bucket.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Final

from msgspec import Struct

from tollhouse.limits.algorithms.counters import Counter
from tollhouse.limits.policy.policy import Limit


class Buckets(Struct, frozen=True, kw_only=True):
    """One of these algorithms: the number of sub-buckets in a window, and how many before the present one count."""

    slots_per_window: Callable[[Limit], int]
    span: Callable[[Limit], int]

    def advance(self, limit: Limit, counter: Counter, index: int) -> Counter:
        """Return the counter at a later sub-bucket, without those that are released by then."""
        oldest = index - self.span(limit)
        kept = tuple((slot, units) for slot, units in _oldest_first(counter) if slot >= oldest and units)
        return Counter(index=index, previous=kept)

    def usage(self, _limit: Limit, counter: Counter, _now_ms: int) -> int:
        """Return the units that count now, of a counter that was advanced to now."""
        return counter.units

    def admits_at_ms(self, limit: Limit, counter: Counter, cost: int) -> int:
        """Return the moment from which `cost` more units fit if nothing else is taken; 0 if they fit already."""
        excess = counter.units + cost - limit.units
        if excess <= 0:
            return 0
        slots = _oldest_first(counter)
        released = accumulate(units for _, units in slots)
        index = next(slot for (slot, _), units in zip(slots, released, strict=True) if units >= excess)
        return -(-(index + self.span(limit) + 1) * limit.window_ms // self.slots_per_window(limit))

    def lasts(self, limit: Limit) -> int:
        """Return for how many slots after its own a unit counts."""
        return self.span(limit)

    def refund(self, _: Limit, counter: Counter, units: int) -> Counter:
        """Return the counter with up to `units` less, the oldest first: the rest counts as if it were newer."""
        previous: list[tuple[int, int]] = []
        for index, counted in counter.previous:
            back = min(units, counted)
            units -= back
            if counted > back:
                previous.append((index, counted - back))
        return Counter(index=counter.index, current=max(counter.current - units, 0), previous=tuple(previous))


SLIDING_WINDOW: Final = Buckets(slots_per_window=lambda limit: limit.resolution, span=lambda limit: limit.resolution)
"""n sub-buckets, of which n count besides the present one: from any moment they reach back at least one window.

Over-admission: none, no trailing window ever admits more than the limit. Under-admission: a refusal lasts at most
ceil(window_ms / n) longer than with an exact log.
"""

SLIDING_LOG: Final = Buckets(slots_per_window=lambda limit: limit.window_ms, span=lambda limit: limit.window_ms - 1)
"""Sub-buckets of one millisecond, of which window_ms count: an exact log that adds up takes of the same millisecond.

Over-admission: none. Under-admission: none. It stores one number for each millisecond with a take, and never more than
there are units.
"""

FIXED_WINDOW: Final = Buckets(slots_per_window=lambda _: 1, span=lambda _: 0)
"""One sub-bucket, which is the window; when it ends, everything is forgotten.

Over-admission: a trailing window may admit twice the limit, one half before a boundary and one half after it.
Under-admission: none, because all that counts was taken in the trailing window.
"""


def _oldest_first(counter: Counter) -> tuple[tuple[int, int], ...]:
    return (*counter.previous, (counter.index, counter.current))
