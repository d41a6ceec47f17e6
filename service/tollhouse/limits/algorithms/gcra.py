"""The algorithm `gcra`: a level that rises with every take, and drains steadily by `units` in each window.

A take is admitted while the level stays within the burst. This is the leaky bucket as a meter, and the token bucket
seen from the other side. The level is kept as whole units and a fraction in 1/window_ms, so nothing is ever rounded.

Over-admission: none against its own bound, which is burst + units * T / window_ms in any interval T. If the burst is
left at units, a trailing window may thus admit twice the units; to admit at most L in every window_ms, choose burst and
units so that their sum is L. A refund lowers the level by what was taken, also if the level had drained to zero without
it; with refunds a burst may so be admitted twice. Under-admission: none. After the clock stepped back,
the level is the same, not lower.
"""

from __future__ import annotations

from tollhouse.limits.algorithms.counters import Counter
from tollhouse.limits.policy.policy import Limit


def slots_per_window(limit: Limit) -> int:
    """Return into how many slots a window is divided: milliseconds, so the index of a counter is a time."""
    return limit.window_ms


def advance(limit: Limit, counter: Counter, index: int) -> Counter:
    """Return the counter at a later time: the level has drained, at most to zero."""
    return _at(limit, index, _level(limit, counter) - (index - counter.index) * limit.units)


def usage(_limit: Limit, counter: Counter, _now_ms: int) -> int:
    """Return the units that count now, of a counter that was advanced to now; a fraction counts as a whole unit."""
    return counter.units


def admits_at_ms(limit: Limit, counter: Counter, cost: int) -> int:
    """Return the moment from which `cost` more units fit if nothing else is taken; 0 if they fit already."""
    excess = _level(limit, counter) + (cost - limit.capacity) * limit.window_ms
    return counter.index - -excess // limit.units if excess > 0 else 0


def lasts(limit: Limit) -> int:
    """Return for how many milliseconds a unit may count: until a level as high as the burst would have drained."""
    return limit.window_ms * limit.capacity // limit.units - 1


def refund(limit: Limit, counter: Counter, units: int) -> Counter:
    """Return the counter with its level lowered by up to `units`."""
    return _at(limit, counter.index, _level(limit, counter) - units * limit.window_ms)


def _level(limit: Limit, counter: Counter) -> int:
    return counter.current * limit.window_ms + counter.fraction


def _at(limit: Limit, index: int, level: int) -> Counter:
    current, fraction = divmod(max(level, 0), limit.window_ms)
    return Counter(index=index, current=current, fraction=fraction)
