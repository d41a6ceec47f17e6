"""The algorithms that count units, by name, and what `evaluate` needs of each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from tollhouse.limits.algorithms import gcra, sliding_window_counter
from tollhouse.limits.algorithms.counters import Counter
from tollhouse.limits.algorithms.sliding_window import FIXED_WINDOW, SLIDING_LOG, SLIDING_WINDOW
from tollhouse.limits.policy.policy import Limit


class Rules(Protocol):
    """How one algorithm counts one window. Time is divided into slots, and a counter stands at the index of one."""

    def slots_per_window(self, limit: Limit, /) -> int:
        """Return into how many slots a window is divided."""
        ...

    def advance(self, limit: Limit, counter: Counter, index: int, /) -> Counter:
        """Return the counter at a later index, without what is released by then."""
        ...

    def usage(self, limit: Limit, counter: Counter, now_ms: int, /) -> int:
        """Return the units that count now, of a counter that was advanced to now."""
        ...

    def admits_at_ms(self, limit: Limit, counter: Counter, cost: int, /) -> int:
        """Return the moment from which `cost` more units fit if nothing else is taken; 0 if they fit already."""
        ...

    def lasts(self, limit: Limit, /) -> int:
        """Return for how many slots after its own a unit may count."""
        ...

    def refund(self, limit: Limit, counter: Counter, units: int, /) -> Counter:
        """Return the counter with up to `units` less, those first that would be released first."""
        ...


RULES: Final[Mapping[str, Rules]] = MappingProxyType(
    {
        "sliding-window": SLIDING_WINDOW,
        "sliding-window-counter": sliding_window_counter,
        "sliding-log": SLIDING_LOG,
        "fixed-window": FIXED_WINDOW,
        "gcra": gcra,
    }
)
"""`concurrency` is not here: it grants leases instead of counting units, and has functions of its own."""
