"""The rules of `gcra`: a level that rises with every take and sinks steadily, by `units` in each window.

A take is admitted while the level stays within the burst; this is the leaky bucket as a meter, and the token bucket
seen from the other side. The level is kept as whole units and parts of 1/window_ms, so that nothing is ever rounded.

Over-admission: none against its own promise, that any interval T admits at most burst + units * T / window_ms. With
the burst left at units a trailing window may so hold twice the units; for at most L in every window_ms, let burst and
units together be L. Under-admission: none. A clock that steps back finds the level as it was, and no lower.
"""

from __future__ import annotations

from tollhouse.limits.algorithms.counters import Counter
from tollhouse.limits.policy.policy import Limit


def slots_per_window(limit: Limit) -> int:
    """Into how many parts a window is cut, each of which has an index: here the index is the time in ms."""
    return limit.window_ms


def advance(limit: Limit, entry: Counter, index: int) -> Counter:
    """Bring an entry to a later time: the level sinks to what it is by then, at last to nothing."""
    return _at(limit, index, _level(limit, entry) - (index - entry.index) * limit.units)


def usage(_limit: Limit, entry: Counter, _now_ms: int) -> int:
    """Give the units that count now, of an entry that is brought to now; a begun one counts whole."""
    return entry.current + (entry.fraction > 0)


def admits_at_ms(limit: Limit, entry: Counter, cost: int) -> int:
    """Give the moment from which `cost` more units fit, absent other takes; 0 where they fit from the start."""
    excess = _level(limit, entry) + (cost - limit.capacity) * limit.window_ms
    return entry.index - -excess // limit.units if excess > 0 else 0


def refund(limit: Limit, entry: Counter, units: int) -> Counter:
    """Let the level sink by up to `units`."""
    return _at(limit, entry.index, _level(limit, entry) - units * limit.window_ms)


def _level(limit: Limit, entry: Counter) -> int:
    return entry.current * limit.window_ms + entry.fraction


def _at(limit: Limit, index: int, level: int) -> Counter:
    current, part = divmod(max(level, 0), limit.window_ms)
    return Counter(index=index, current=current, fraction=part)
