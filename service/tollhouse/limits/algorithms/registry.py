"""Every algorithm that counts, by name: what `windows` asks of one, and where each is found."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from tollhouse.limits.algorithms import gcra
from tollhouse.limits.algorithms import sliding_window_counter as estimate
from tollhouse.limits.algorithms.counters import Counter
from tollhouse.limits.algorithms.sliding_window import FIXED_WINDOW, SLIDING_LOG, SLIDING_WINDOW
from tollhouse.limits.policy.policy import Limit


class Rules(Protocol):
    """How one algorithm counts one window. Time is cut into indices; an entry stands at one of them."""

    def slots_per_window(self, limit: Limit, /) -> int:
        """Into how many parts a window is cut, each of which has an index."""
        ...

    def advance(self, limit: Limit, entry: Counter, index: int, /) -> Counter:
        """Bring an entry to a later index."""
        ...

    def usage(self, limit: Limit, entry: Counter, now_ms: int, /) -> int:
        """Give the units that count now, of an entry that is brought to now."""
        ...

    def admits_at_ms(self, limit: Limit, entry: Counter, cost: int, /) -> int:
        """Give the moment from which `cost` more units fit, absent other takes; 0 where they fit from the start."""
        ...

    def refund(self, limit: Limit, entry: Counter, units: int, /) -> Counter:
        """Take back up to `units`, those first that would be released first."""
        ...


RULES: Final[Mapping[str, Rules]] = MappingProxyType(
    {
        "sliding-window": SLIDING_WINDOW,
        "sliding-window-counter": estimate,
        "sliding-log": SLIDING_LOG,
        "fixed-window": FIXED_WINDOW,
        "gcra": gcra,
    }
)
"""`concurrency` is not here: it holds leases, which `permits` rules."""
