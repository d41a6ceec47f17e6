"""Sets units aside until it is known how many were needed: `lua/limits/reserve.lua` and `settle.lua` are the twins.

A hold counts as taken from every window. It ends when it is settled, or by itself when its time is over: the units
of a holder that crashed come back. What is settled is charged at that moment, even above the estimate or a limit;
a hold that is over charges nothing.
"""

from __future__ import annotations

from typing import Final

from tollhouse.limits.algorithms.counters import Hold, SubjectState
from tollhouse.limits.algorithms.evaluate import Verdict, charge, limit_statuses, live_holds, peek, wait
from tollhouse.limits.policy.policy import Policy

HOLDS_MAX: Final = 128
"""How many live holds one subject may have under one policy."""
FULL: Final = -1
"""Stands in `Verdict.refused_by` for no limit: there are as many holds as there may be."""


def reserve(policy: Policy, state: SubjectState, hold: Hold, now_ms: int) -> tuple[Verdict, SubjectState]:
    """Set the units of a hold aside, or refuse and give the state back as it is.

    A hold that is there already is not made again, so that asking twice is asking once.
    """
    live = live_holds(state, now_ms)
    if any(one.name == hold.name for one in live):
        return peek(policy, state, 0, now_ms), state
    verdict = peek(policy, state, hold.units, now_ms)
    if len(live) >= HOLDS_MAX and (verdict.allowed or verdict.retry_after_ms is not None):
        verdict = _full(policy, state, hold, now_ms)
    if not verdict.allowed:
        return verdict, state
    after = charge(policy, state, 0, now_ms, [*live, hold])
    return peek(policy, after, 0, now_ms), after


def settle(policy: Policy, state: SubjectState, name: str, actual: int, now_ms: int) -> tuple[bool, SubjectState]:
    """End a hold and charge what was needed instead; False where it is unknown or over, and nothing changes."""
    if not any(one.name == name and one.ends_ms > now_ms for one in state.holds):
        return False, state
    others = [one for one in live_holds(state, now_ms) if one.name != name]
    return True, charge(policy, state, actual, now_ms, others)


def _full(policy: Policy, state: SubjectState, hold: Hold, now_ms: int) -> Verdict:
    first_ms = min(one.ends_ms for one in live_holds(state, now_ms)) - now_ms
    _, wait_ms = wait(policy, state, hold.units, now_ms, first_ms)
    return Verdict(refused_by=FULL, retry_after_ms=wait_ms, statuses=limit_statuses(policy, state, now_ms))
