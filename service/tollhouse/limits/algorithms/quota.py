"""Evaluates takes that lease more of the quota than they need; `lua/limits/lease_quota.lua` is the twin.

A lease is charged in the present sub-bucket of every window, and is used until the first of them ends. So whatever is
admitted in a sub-bucket was charged in it, and a limit stays a bound. What is left comes back to the sub-bucket in
which it was charged: a later one would count less than was admitted in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.limits.algorithms.counters import Counter, SubjectState
from tollhouse.limits.algorithms.evaluate import Verdict, charge, current_counters, limit_statuses, live_holds, peek
from tollhouse.limits.algorithms.registry import RULES
from tollhouse.limits.policy.policy import Limit, Policy

SLACK_MS: Final = 2
"""How much earlier a lease ends than its sub-bucket: the server's time is whole milliseconds, rounded down, and in the
second that a lease lasts at most two clocks may differ by one more."""


class Terms(Struct, frozen=True, kw_only=True):
    """How much a lease may have: for how long, one part in how many of what remains, and not less than `least`."""

    longest_ms: int
    parts: int
    least: int


class QuotaVerdict(Struct, frozen=True, kw_only=True):
    """The verdict on a take, the units leased beside it and for how long, and how many of a former lease came back."""

    verdict: Verdict
    units: int
    lasts_ms: int
    back: int


def lease_quota(
    policy: Policy,
    state: SubjectState,
    cost: int,
    now_ms: int,
    *,
    per_second: int,
    terms: Terms,
    left: int = 0,
    charged_ms: int = 0,
) -> tuple[QuotaVerdict, SubjectState]:
    """Return what is left of a former lease, take, and lease units for as many takes as are expected.

    A refusal charges nothing, and a cost of 0 neither takes nor leases.
    """
    back, returned = return_quota(policy, state, left, charged_ms, now_ms)
    verdict = peek(policy, returned, cost, now_ms)
    lasts_ms = min([terms.longest_ms, *(end_ms - now_ms - SLACK_MS for end_ms in _ends_ms(policy, now_ms))])
    room = min(status.remaining for status in verdict.statuses) - cost
    if _is_ahead(policy, returned, now_ms):
        room = 0
    units = min(room // terms.parts, per_second * lasts_ms // 1_000)
    if not verdict.allowed or cost == 0 or units < terms.least:
        units = 0
    charged = units + (cost if verdict.allowed else 0)
    if charged + back:
        returned = charge(policy, returned, charged, now_ms, live_holds(returned, now_ms))
        verdict = replace(verdict, statuses=limit_statuses(policy, returned, now_ms))
    return QuotaVerdict(verdict=verdict, units=units, lasts_ms=lasts_ms, back=back), returned


def return_quota(
    policy: Policy, state: SubjectState, units: int, charged_ms: int, now_ms: int
) -> tuple[int, SubjectState]:
    """Return up to `units` to the sub-buckets of `charged_ms`, and the most that a limit got back."""
    before = current_counters(policy, state, now_ms)
    after = {limit: _less(one, units, _index(policy, limit, charged_ms)) for limit, one in before.items()}
    back = max(before[limit].units - after[limit].units for limit in policy.limits)
    if back == 0:
        return 0, state
    counters = {limit.counter_id(policy.algorithm): counter for limit, counter in after.items()}
    return back, SubjectState(counters=counters, holds=state.holds)


def _index(policy: Policy, limit: Limit, moment_ms: int) -> int:
    return moment_ms * RULES[policy.algorithm].slots_per_window(limit) // limit.window_ms


def _ends_ms(policy: Policy, now_ms: int) -> Iterator[int]:
    """Yield when the present sub-bucket of each limit ends."""
    for limit in policy.limits:
        slots = RULES[policy.algorithm].slots_per_window(limit)
        yield -(-(_index(policy, limit, now_ms) + 1) * limit.window_ms // slots)


def _is_ahead(policy: Policy, state: SubjectState, now_ms: int) -> bool:
    """Return True if a counter is ahead of the clock, which stepped back: its sub-bucket is not the present one."""
    counters = current_counters(policy, state, now_ms)
    return any(counter.index > _index(policy, limit, now_ms) for limit, counter in counters.items())


def _less(counter: Counter, units: int, index: int) -> Counter:
    """Return the counter with up to `units` less in the sub-bucket of this index."""
    if index == counter.index:
        return replace(counter, current=max(counter.current - units, 0))
    previous = ((slot, max(counted - units, 0) if slot == index else counted) for slot, counted in counter.previous)
    return replace(counter, previous=tuple((slot, counted) for slot, counted in previous if counted))
