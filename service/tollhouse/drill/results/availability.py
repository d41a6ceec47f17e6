"""Availability over a round: gaps, buckets, latencies. Pure functions of a history.

A call is served when a store answered it. A degraded reply, by the outage rule, is no error, but no service of the
store either. Latency counts from the moment at which a call was due, so that calls which waited behind a stall count
in full.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from msgspec import Struct

from tollhouse.drill.results.history import Call

BUCKET_MS: Final = 50
SERVED_MIN: Final = 0.99
"""A bucket with a smaller share of served calls counts as an outage as a whole."""
GRACE_MS: Final = 50
"""How far past its deadline a call is not counted yet: one iteration of a busy event loop."""


class Bucket(Struct, frozen=True, kw_only=True):
    """The calls that were due in one interval, by how they ended."""

    served: int = 0
    degraded: int = 0
    failed: int = 0

    @property
    def out(self) -> bool:
        """True if this was an outage; an interval without calls is none."""
        calls = self.served + self.degraded + self.failed
        return calls > 0 and self.served < SERVED_MIN * calls


def gap_ms(calls: Iterable[Call], span_ms: float) -> float:
    """Return the longest time without a served call, from the beginning to the end of the round."""
    ends = sorted(min(call.ended_ms, span_ms) for call in calls if call.served)
    edges = [0.0, *ends, span_ms]
    return max(later - earlier for earlier, later in pairwise(edges))


def buckets(calls: Iterable[Call], span_ms: float) -> tuple[Bucket, ...]:
    """Sort calls into intervals of `BUCKET_MS` by the moment at which they were due."""
    count = math.ceil(span_ms / BUCKET_MS)
    served, degraded, failed = ([0] * count for _ in range(3))
    for call in calls:
        kind = served if call.served else degraded if call.failure is None else failed
        kind[min(int(call.due_ms // BUCKET_MS), count - 1)] += 1
    return tuple(
        Bucket(served=one, degraded=two, failed=three) for one, two, three in zip(served, degraded, failed, strict=True)
    )


def unavailable_ms(of: Sequence[Bucket]) -> float:
    """Add up the intervals that count as outages."""
    return float(BUCKET_MS * sum(bucket.out for bucket in of))


def latency_ms(calls: Iterable[Call], share: float) -> float | None:
    """Return the latency that this share of the answered calls did not exceed, or None if no call was answered."""
    taken = sorted(call.ended_ms - call.due_ms for call in calls if call.failure is None)
    return taken[math.ceil(share * len(taken)) - 1] if taken else None


def longest_ms(calls: Iterable[Call]) -> float:
    """Return the duration of the longest call, answered or not."""
    return max((call.ended_ms - call.began_ms for call in calls), default=0.0)


def over_deadline(calls: Iterable[Call], deadline_ms: float) -> int:
    """Count the calls that took longer than the deadline and `GRACE_MS`."""
    return sum(call.ended_ms - call.began_ms > deadline_ms + GRACE_MS for call in calls)


def lag_ms(calls: Iterable[Call]) -> float:
    """Return the longest delay between due time and start: a sign of an overloaded machine."""
    return max((call.began_ms - call.due_ms for call in calls), default=0.0)
