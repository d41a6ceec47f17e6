"""How many units of a key this process takes in a second: by this a lease is sized, and a key is busy or not."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from tollhouse.limits.policy.policy import UNITS_MAX

KEYS_MAX: Final = 4_096
"""Keys that are counted; beyond it those are forgotten that asked the store longest ago."""
PERIOD_MS: Final = 250
"""How long units are counted together."""
_LEAST_MS: Final = 50
"""The time in which the first units of a period are assumed to have come: a burst is not a rate."""


class _Rate:
    """The units since `since_ms`, and how many came in a second before."""

    __slots__ = ("before", "rests_until_ms", "since_ms", "units")

    def __init__(self, now_ms: int) -> None:
        self.since_ms = now_ms
        self.units = self.before = 0
        self.rests_until_ms = now_ms


class Demand:
    """The rates of the keys of one process. Times are those of its monotonic clock."""

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._rates: OrderedDict[str, _Rate] = OrderedDict()

    def add(self, state_key: str, units: int, now_ms: int) -> int:
        """Count units of a key; return how many are taken in a second, 0 while the key rests."""
        rate = self._rate(state_key, now_ms)
        rate.units += units
        elapsed_ms = now_ms - rate.since_ms
        if elapsed_ms >= PERIOD_MS:
            rate.before, rate.units, rate.since_ms = rate.units * 1_000 // elapsed_ms, 0, now_ms
        if now_ms < rate.rests_until_ms:
            return 0
        return min(max(rate.before, rate.units * 1_000 // max(elapsed_ms, _LEAST_MS)), UNITS_MAX)

    def rest(self, state_key: str, until_ms: int, now_ms: int) -> None:
        """Suspend the demand for leases of a key until a time, because none is to be had."""
        self._rate(state_key, now_ms).rests_until_ms = until_ms

    def clear(self) -> None:
        """Forget all keys."""
        self._rates.clear()

    def _rate(self, state_key: str, now_ms: int) -> _Rate:
        rate = self._rates.get(state_key)
        if rate is None:
            rate = self._rates[state_key] = _Rate(now_ms)
            if len(self._rates) > self._keys_max:
                self._rates.popitem(last=False)
        else:
            self._rates.move_to_end(state_key)
        return rate
