"""Failures of many accounts in a window of time: those of an address, a network, or all untrusted clients.

A window has ten sub-buckets, named by their index since the epoch. The current one and the ten before it count as a
whole, so no window of that length has more failures than it may, and a refusal lasts a tenth longer at most. Time is an
argument, in milliseconds. `lua/limits/` has the same rules for what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

SUB_BUCKETS: Final = 10

Counts = Mapping[int, int]
"""Failures by the index of their sub-bucket."""


class WindowRule(Struct, frozen=True, kw_only=True):
    """At most `failures` in any `window_ms`, which is a multiple of 1000."""

    failures: int
    window_ms: int

    @property
    def width_ms(self) -> int:
        """The length of a sub-bucket."""
        return self.window_ms // SUB_BUCKETS


def current_counts(counts: Counts, rule: WindowRule, now_ms: int) -> dict[int, int]:
    """Return what still counts; what a clock that stepped back left ahead of it counts as of now."""
    index, found = now_ms // rule.width_ms, dict[int, int]()
    for place, failures in counts.items():
        if place >= index - SUB_BUCKETS:
            found[min(place, index)] = found.get(min(place, index), 0) + failures
    return found


def window_wait(counts: Counts, rule: WindowRule, now_ms: int) -> int:
    """Return how long the next attempt has to wait until enough failures are released, 0 if it has not."""
    counted = current_counts(counts, rule, now_ms)
    total, wait_ms = sum(counted.values()), 0
    index = now_ms // rule.width_ms - SUB_BUCKETS
    while total >= rule.failures:
        total -= counted.get(index, 0)
        index += 1
        wait_ms = (index + SUB_BUCKETS) * rule.width_ms - now_ms
    return wait_ms


def window_charged(counts: Counts, rule: WindowRule, now_ms: int) -> Counts:
    """Return the counts with one failure more, and without those that are over."""
    index = now_ms // rule.width_ms
    kept = {place: failures for place, failures in counts.items() if place >= index - SUB_BUCKETS}
    return {**kept, index: kept.get(index, 0) + 1}


def window_uncounted(counts: Counts, rule: WindowRule, began_ms: int) -> Counts:
    """Return the counts without an attempt that began then and was no failure."""
    index = began_ms // rule.width_ms
    return {**counts, index: counts[index] - 1} if counts.get(index, 0) > 0 else counts
