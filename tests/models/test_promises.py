"""The promises of all algorithms, over any history of takes and clock steps."""

from __future__ import annotations

from hypothesis import given

from tests.histories import Step, cost_of, histories
from tollhouse.limits.algorithms.counters import SubjectState
from tollhouse.limits.algorithms.evaluate import Verdict, peek, take
from tollhouse.limits.policy.policy import Policy

START_MS = 1_800_000_000_000

History = tuple[Policy, list[Step]]


@given(history=histories())
def test_a_refusal_changes_nothing(history: History) -> None:
    """P2: a refused take leaves the state as it was; an allowed one charges every window alike."""
    policy, steps = history
    state, now_ms = SubjectState(), START_MS

    for step in steps:
        now_ms += step.move_ms
        cost = cost_of(step, policy)
        before, looked = state, peek(policy, state, 0, now_ms)
        verdict, state = take(policy, state, cost, now_ms)
        charged = cost if verdict.allowed else 0
        assert state is before if charged == 0 else state is not before
        assert [one.remaining for one in verdict.statuses] == [one.remaining - charged for one in looked.statuses]


@given(history=histories())
def test_retry_after_is_exact(history: History) -> None:
    """P3: the same take succeeds after `retry_after_ms` and not 1 ms earlier, also after a step back."""
    policy, steps = history
    state, now_ms = SubjectState(), START_MS

    for step in steps:
        now_ms += step.move_ms
        cost = cost_of(step, policy)
        verdict, state = take(policy, state, cost, now_ms)
        if any(cost > limit.capacity for limit in policy.limits):
            assert (verdict.allowed, verdict.retry_after_ms) == (False, None)
        elif verdict.allowed:
            assert verdict.retry_after_ms is None
        else:
            _assert_exact(policy, state, cost, now_ms, verdict)


@given(history=histories())
def test_a_clock_that_steps_back_locks_no_subject_out(history: History) -> None:
    """Whatever the clock did, a cost within the limits waits at most for two windows and a minute."""
    policy, steps = history
    state, now_ms = SubjectState(), START_MS

    for step in steps:
        now_ms += step.move_ms
        verdict, state = take(policy, state, cost_of(step, policy), now_ms)
        longest_ms = max(max(2, limit.capacity / limit.units) * limit.window_ms for limit in policy.limits)
        assert (verdict.retry_after_ms or 0) <= longest_ms + 60_000
        assert all(standing.reset_after_ms <= longest_ms + 60_000 for standing in verdict.statuses)


@given(history=histories())
def test_remaining_and_reset_are_exact(history: History) -> None:
    """`remaining` units can be taken and one more cannot; a limit is restored at its reset and not before."""
    policy, steps = history
    state, now_ms = SubjectState(), START_MS

    for step in steps:
        now_ms += step.move_ms
        verdict, state = take(policy, state, cost_of(step, policy), now_ms)
        least = min(standing.remaining for standing in verdict.statuses)
        assert least >= 0
        assert peek(policy, state, least, now_ms).allowed
        assert not peek(policy, state, least + 1, now_ms).allowed
        for limit, standing in zip(policy.limits, verdict.statuses, strict=True):
            alone = Policy(name="api", algorithm=policy.algorithm, limits=(limit,))
            whole_ms = now_ms + standing.reset_after_ms
            if standing.reset_after_ms:
                assert peek(alone, state, 0, whole_ms).statuses[0].remaining == limit.capacity
                assert peek(alone, state, 0, whole_ms - 1).statuses[0].remaining < limit.capacity


def _assert_exact(policy: Policy, state: SubjectState, cost: int, now_ms: int, verdict: Verdict) -> None:
    assert verdict.retry_after_ms is not None
    assert verdict.refused_by is not None
    retry_ms = now_ms + verdict.retry_after_ms
    alone = Policy(name="api", algorithm=policy.algorithm, limits=(policy.limits[verdict.refused_by],))
    assert take(policy, state, cost, retry_ms)[0].allowed
    assert not take(policy, state, cost, retry_ms - 1)[0].allowed
    assert not peek(alone, state, cost, retry_ms - 1).allowed
