"""The promises of all algorithms while units are held, settled and refunded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from tests.histories import cost_of, histories, moves, policies
from tests.models.exact_log import ExactLog
from tollhouse.limits.algorithms.counters import AHEAD_MS_MAX, Hold, SubjectState
from tollhouse.limits.algorithms.evaluate import live_holds, peek, refund, reserve, settle, take, wait
from tollhouse.limits.policy.policy import Algorithm, Policy

START_MS = 1_800_000_000_000


class Step(Struct, frozen=True, kw_only=True):
    """Move the clock, then do something with `cost_percent` of what the smallest limit can give."""

    move_ms: int
    verb: str
    cost_percent: int
    held_ms: int


@st.composite
def steps_of(draw: st.DrawFn, *algorithms: Algorithm, most: int = 3) -> tuple[Policy, list[Step]]:
    """A policy, and takes, refunds, holds and what becomes of them."""
    policy = draw(policies(*algorithms, most=most))
    held_ms = st.integers(1, 2 * max(limit.window_ms for limit in policy.limits)) | st.integers(1, 100_000)
    step = st.builds(
        Step,
        move_ms=moves(policy),
        verb=st.sampled_from(["take", "reserve", "settle", "refund"]),
        cost_percent=st.integers(0, 60),
        held_ms=held_ms,
    )
    return policy, draw(st.lists(step, min_size=1, max_size=12))


def _after(policy: Policy, state: SubjectState, step: Step, number: int, now_ms: int) -> SubjectState:
    cost = cost_of(step, policy)
    match step.verb:
        case "take":
            return take(policy, state, cost, now_ms)[1]
        case "reserve":
            hold = Hold(name=f"h{number}", units=cost, made_ms=now_ms, held_ms=step.held_ms)
            return reserve(policy, state, hold, now_ms)[1]
        case "settle" if state.holds:
            return settle(policy, state, state.holds[0].name, cost, now_ms)[1]
        case "refund":
            return refund(policy, state, cost, now_ms)[1]
        case _:
            return state


@given(history=steps_of())
def test_a_wait_is_exact(history: tuple[Policy, list[Step]]) -> None:
    """P3: whatever is held, over-charged or refunded, a cost fits after its wait and not 1 ms earlier."""
    policy, steps = history
    state, now_ms = SubjectState(), START_MS
    smallest = min(limit.capacity for limit in policy.limits)

    for number, step in enumerate(steps):
        now_ms += step.move_ms
        state = _after(policy, state, step, number, now_ms)
        for cost in {1, -(-smallest // 2), smallest}:
            verdict = peek(policy, state, cost, now_ms)
            if verdict.retry_after_ms is not None:
                assert peek(policy, state, cost, now_ms + verdict.retry_after_ms).allowed
                assert not peek(policy, state, cost, now_ms + verdict.retry_after_ms - 1).allowed


@given(history=steps_of())
def test_remaining_and_reset_are_exact(history: tuple[Policy, list[Step]]) -> None:
    """`remaining` units can be taken and one more cannot; a limit is restored at its reset and not before.

    The clock stays within a minute of the newest time that was stored: what is further ahead is ignored until later.
    """
    policy, steps = history
    each = [(limit, Policy(name="api", algorithm=policy.algorithm, limits=(limit,))) for limit in policy.limits]
    state, now_ms, newest_ms = SubjectState(), START_MS, START_MS

    for number, step in enumerate(steps):
        now_ms = max(now_ms + step.move_ms, newest_ms - AHEAD_MS_MAX)
        newest_ms = max(newest_ms, now_ms)
        state = _after(policy, state, step, number, now_ms)
        for limit, alone in each:
            (status,) = peek(alone, state, 0, now_ms).statuses
            assert wait(alone, state, status.remaining, now_ms)[0] is None or status.remaining == 0
            assert not peek(alone, state, status.remaining + 1, now_ms).allowed
            if status.reset_after_ms:
                whole_ms = now_ms + status.reset_after_ms
                assert peek(alone, state, 0, whole_ms).statuses[0].remaining == limit.capacity
                assert live_holds(state, whole_ms) == ()
                before = peek(alone, state, 0, whole_ms - 1).statuses[0]
                assert before.remaining < limit.capacity or live_holds(state, whole_ms - 1)


@pytest.mark.parametrize(("algorithm", "times"), [("sliding-window", 1), ("sliding-log", 1), ("fixed-window", 2)])
@given(data=st.data())
def test_a_limit_is_a_bound_for_what_is_kept(algorithm: Algorithm, times: int, data: st.DataObject) -> None:
    """P1: what was taken and not given back is within the bound, however late the rest is given back."""
    policy, steps = data.draw(histories(algorithm))
    policy = Policy(name="api", algorithm=algorithm, limits=policy.limits[:1])
    state, now_ms, log = SubjectState(), START_MS, ExactLog(policy, policy.limits[0])

    for step in steps:
        now_ms += abs(step.move_ms)
        cost = cost_of(step, policy)
        verdict, state = take(policy, state, cost, now_ms)
        if verdict.allowed and cost:
            log.admit(cost, now_ms)
            assert log.units_in_window() <= times * log.limit.units
        if log.admitted and data.draw(st.booleans()):
            given_back = data.draw(st.sampled_from(log.admitted))
            age_ms = now_ms - given_back[0]
            refunded, state = refund(policy, state, given_back[1], now_ms, age_ms)
            assert refunded == given_back[1] or age_ms >= log.limit.window_ms or algorithm == "fixed-window"
            log.admitted.remove(given_back)
