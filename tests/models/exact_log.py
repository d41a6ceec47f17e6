"""An exact log of what was admitted: the measure of every algorithm's promise."""

from __future__ import annotations

from tollhouse.limits.algorithms.counters import AHEAD_MS_MAX
from tollhouse.limits.algorithms.registry import RULES
from tollhouse.limits.policy.policy import Limit, Policy


class ExactLog:
    """Every admission of one limit with its time; a clock that steps back a little stands still here.

    Further back than a minute nothing is believed: the next admission begins a new log.
    """

    def __init__(self, policy: Policy, limit: Limit) -> None:
        self.limit = limit
        self.admitted: list[tuple[int, int]] = []
        self._parts = RULES[policy.algorithm].slots_per_window(limit)

    def admit(self, cost: int, now_ms: int) -> None:
        if not self.believed(now_ms):
            self.admitted.clear()
        self.admitted.append((max([now_ms, *(ms for ms, _ in self.admitted)]), cost))

    def believed(self, now_ms: int) -> bool:
        """Return whether the newest index begins at most a minute ahead."""
        if not self.admitted:
            return True
        index = self.admitted[-1][0] * self._parts // self.limit.window_ms
        return index * self.limit.window_ms <= (now_ms + AHEAD_MS_MAX) * self._parts

    def units_since(self, moment_ms: int) -> int:
        """Count what was admitted at the moment or later."""
        return sum(cost for ms, cost in self.admitted if ms >= moment_ms)

    def units_in_window(self) -> int:
        """Count what was admitted in the window that ends with the last admission."""
        return self.units_since(self.admitted[-1][0] - self.limit.window_ms + 1)

    def wait_ms(self, cost: int, now_ms: int) -> int:
        """Return how long an exact limiter would make this cost wait."""
        ends = (ms + self.limit.window_ms for ms, _ in self.admitted)
        return min((end - now_ms for end in [now_ms, *ends] if end >= now_ms and self._fits(cost, end)), default=0)

    def _fits(self, cost: int, moment_ms: int) -> bool:
        held = sum(units for ms, units in self.admitted if ms > moment_ms - self.limit.window_ms)
        return held + cost <= self.limit.units
