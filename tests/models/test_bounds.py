"""The over-admission and under-admission of each algorithm, measured against an exact log."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.histories import Step, cost_of, histories
from tests.models.exact_log import ExactLog
from tollhouse.limits.algorithms.counters import AHEAD_MS_MAX, SubjectState
from tollhouse.limits.algorithms.evaluate import take
from tollhouse.limits.policy.policy import Algorithm, Limit, Policy

START_MS = 1_800_000_000_000

History = tuple[Policy, list[Step]]

MOST: dict[Algorithm, tuple[int, int]] = {
    "sliding-window": (1, 0),
    "sliding-log": (1, 0),
    "fixed-window": (2, 0),
    "sliding-window-counter": (2, -1),
}
"""The most that a trailing window may admit: a multiple of the limit, and units on top."""


@given(data=st.data())
@pytest.mark.parametrize("algorithm", MOST)
def test_a_trailing_window_admits_no_more_than_promised(algorithm: Algorithm, data: st.DataObject) -> None:
    """P1: over any history, the clock stepping back included, no trailing window admits more than was promised."""
    policy, steps = data.draw(histories(algorithm))
    times, more = MOST[algorithm]

    for logs in _admitting(policy, steps):
        assert all(log.units_in_window() <= times * log.limit.units + more for log in logs)


@given(history=histories("gcra"))
def test_an_interval_admits_a_burst_and_what_drained_meanwhile(history: History) -> None:
    """Algorithm gcra: any interval T admits at most burst + units * T / window_ms."""
    for logs in _admitting(*history):
        for log in logs:
            end_ms = log.admitted[-1][0]
            for begin_ms, _ in log.admitted:
                drained = (end_ms - begin_ms) * log.limit.units // log.limit.window_ms
                assert log.units_since(begin_ms) <= log.limit.capacity + drained


@given(history=histories("gcra"))
def test_gcra_refuses_only_if_its_level_is_full(history: History) -> None:
    """Algorithm gcra: a cost is refused only if the exact level of a limit leaves no room for it."""
    policy, steps = history
    state, levels, now_ms, newest_ms = SubjectState(), dict.fromkeys(policy.limits, Fraction(0)), START_MS, 0

    for step in steps:
        now_ms += step.move_ms
        assume(newest_ms - now_ms <= AHEAD_MS_MAX)
        cost = cost_of(step, policy)
        drained_ms = max(now_ms - newest_ms, 0)
        at_now = {limit: max(levels[limit] - _drained(limit, drained_ms), Fraction(0)) for limit in policy.limits}
        verdict, state = take(policy, state, cost, now_ms)
        assert verdict.allowed == all(level + cost <= limit.capacity for limit, level in at_now.items())
        if verdict.allowed and cost:
            levels = {limit: level + cost for limit, level in at_now.items()}
            newest_ms = max(now_ms, newest_ms)


LONGER_MS: dict[Algorithm, int | None] = {
    "sliding-window": None,
    "sliding-log": 0,
    "fixed-window": 0,
    "sliding-window-counter": 1,
}
"""How many windows longer than an exact log's a refusal may last; None stands for one sub-bucket."""


@given(data=st.data())
@pytest.mark.parametrize("algorithm", LONGER_MS)
def test_a_refusal_lasts_no_longer_than_promised(algorithm: Algorithm, data: st.DataObject) -> None:
    """A wait is longer than an exact log's by a sub-bucket, a window or nothing, as the algorithm promises."""
    policy, steps = data.draw(histories(algorithm, farthest_back_ms=AHEAD_MS_MAX // 8))
    state, logs, now_ms = SubjectState(), [ExactLog(policy, limit) for limit in policy.limits], START_MS

    for step in steps:
        now_ms += step.move_ms
        cost = cost_of(step, policy)
        assume(all(log.believed(now_ms) for log in logs))
        verdict, state = take(policy, state, cost, now_ms)
        if verdict.allowed and cost:
            for log in logs:
                log.admit(cost, now_ms)
        if verdict.retry_after_ms is not None:
            assert verdict.retry_after_ms <= max(
                log.wait_ms(cost, now_ms) + _longer_ms(algorithm, log.limit) for log in logs
            )


def _admitting(policy: Policy, steps: list[Step]):
    """Run the steps; after each admission yield the logs of all limits."""
    state, logs, now_ms = SubjectState(), [ExactLog(policy, limit) for limit in policy.limits], START_MS
    for step in steps:
        now_ms += step.move_ms
        cost = cost_of(step, policy)
        verdict, state = take(policy, state, cost, now_ms)
        if verdict.allowed and cost:
            for log in logs:
                log.admit(cost, now_ms)
            yield logs


def _drained(limit: Limit, elapsed_ms: int) -> Fraction:
    return Fraction(elapsed_ms * limit.units, limit.window_ms)


def _longer_ms(algorithm: Algorithm, limit: Limit) -> int:
    windows = LONGER_MS[algorithm]
    return -(-limit.window_ms // limit.resolution) if windows is None else windows * limit.window_ms
