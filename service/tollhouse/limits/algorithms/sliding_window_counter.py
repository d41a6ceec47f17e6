"""The algorithm `sliding-window-counter`: two fixed windows, of which the previous one counts in part.

The previous window's units count as if they had come evenly: as many as fall into the part of that window that the
trailing window still covers, rounded up. Two numbers are stored, whatever the limit.

Over-admission: less than the limit, so a trailing window admits less than twice the limit; it takes a burst at the end
of one window and a steady stream in the next. Under-admission: if the previous units came early, a refusal lasts up to
one window longer than with an exact log. After the clock stepped back, the previous units count as they did then, never
less.
"""

from __future__ import annotations

from tollhouse.limits.algorithms.counters import Counter
from tollhouse.limits.policy.policy import Limit


def slots_per_window(_: Limit) -> int:
    """Return into how many slots a window is divided."""
    return 1


def advance(_: Limit, counter: Counter, index: int) -> Counter:
    """Return the counter at a later window; the window directly before it becomes the previous one."""
    previous = ((counter.index, counter.current),) if counter.current and counter.index == index - 1 else ()
    return Counter(index=index, previous=previous)


def usage(limit: Limit, counter: Counter, now_ms: int) -> int:
    """Return the units that count now, of a counter that was advanced to now."""
    previous = _previous_units(counter)
    elapsed_ms = max(now_ms - counter.index * limit.window_ms, 0)
    return counter.current + previous - previous * elapsed_ms // limit.window_ms


def admits_at_ms(limit: Limit, counter: Counter, cost: int) -> int:
    """Return the moment from which `cost` more units fit if nothing else is taken; 0 if they fit already."""
    previous, begins_ms = _previous_units(counter), counter.index * limit.window_ms
    excess = counter.current + cost - limit.units
    if excess > 0:
        return begins_ms + 2 * limit.window_ms - (counter.current - excess) * limit.window_ms // counter.current
    if excess + previous > 0:
        return begins_ms + limit.window_ms - -excess * limit.window_ms // previous
    return 0


def lasts(_: Limit) -> int:
    """Return for how many slots after its own a unit counts, at least in part."""
    return 1


def refund(_: Limit, counter: Counter, units: int) -> Counter:
    """Return the counter with up to `units` less, the previous ones first: the rest counts as if it were newer."""
    previous = max(_previous_units(counter) - units, 0)
    current = max(counter.current - max(units - _previous_units(counter), 0), 0)
    return Counter(index=counter.index, current=current, previous=((counter.index - 1, previous),) if previous else ())


def _previous_units(counter: Counter) -> int:
    return sum(units for _, units in counter.previous)
