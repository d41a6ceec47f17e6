"""The rules of `sliding-window-counter`: two fixed windows, the earlier of which counts in part.

Of the earlier window's units as many count as if they had come evenly: those of the part that still lies in the
trailing window, rounded up. Two numbers are kept, whatever the limit.

Over-admission: less than the limit, so a trailing window holds less than twice the limit; that much takes a burst at
the end of one window and a stream in the next. Under-admission: where the earlier units came early, a refusal lasts
up to one window longer than by an exact log. A clock that steps back sees the earlier units as they counted then,
never fewer.
"""

from __future__ import annotations

from tollhouse.limits.algorithms.counters import Counter
from tollhouse.limits.policy.policy import Limit


def slots_per_window(_: Limit) -> int:
    """Into how many parts a window is cut, each of which has an index."""
    return 1


def advance(_: Limit, entry: Counter, index: int) -> Counter:
    """Bring an entry to a later window: the one before becomes the earlier of the two."""
    older = ((entry.index, entry.current),) if entry.current and entry.index == index - 1 else ()
    return Counter(index=index, previous=older)


def usage(limit: Limit, entry: Counter, now_ms: int) -> int:
    """Give the units that count now, of an entry that is brought to now."""
    earlier = _earlier(entry)
    elapsed_ms = max(now_ms - entry.index * limit.window_ms, 0)
    return entry.current + earlier - earlier * elapsed_ms // limit.window_ms


def admits_at_ms(limit: Limit, entry: Counter, cost: int) -> int:
    """Give the moment from which `cost` more units fit, absent other takes; 0 where they fit from the start."""
    earlier, begins_ms = _earlier(entry), entry.index * limit.window_ms
    excess = entry.current + cost - limit.units
    if excess > 0:
        return begins_ms + 2 * limit.window_ms - (entry.current - excess) * limit.window_ms // entry.current
    if excess + earlier > 0:
        return begins_ms + limit.window_ms - -excess * limit.window_ms // earlier
    return 0


def refund(_: Limit, entry: Counter, units: int) -> Counter:
    """Take back up to `units`, the earlier ones first: what stays then counts as long as if it were newer."""
    earlier = max(_earlier(entry) - units, 0)
    current = max(entry.current - max(units - _earlier(entry), 0), 0)
    return Counter(index=entry.index, current=current, previous=((entry.index - 1, earlier),) if earlier else ())


def _earlier(entry: Counter) -> int:
    return sum(units for _, units in entry.previous)
