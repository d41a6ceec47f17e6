"""Take up to, take all, refund, reserve and settle, as pure functions."""

from __future__ import annotations

import pytest

from tests.histories import COUNTING
from tollhouse.limits.algorithms.counters import Counter, Hold, SubjectState
from tollhouse.limits.algorithms.evaluate import (
    FULL,
    HOLDS_MAX,
    Verdict,
    limit_statuses,
    peek,
    refund,
    reserve,
    settle,
    take,
    take_up_to,
)
from tollhouse.limits.algorithms.take_all import JointTake, take_all
from tollhouse.limits.policy.policy import Algorithm, Limit, Policy

TEN = Limit(units=10, window_ms=60_000, resolution=4)
HUNDRED = Limit(units=100, window_ms=3_600_000, resolution=4)


def policy(algorithm: Algorithm = "sliding-window", *limits: Limit) -> Policy:
    return Policy(name="api", algorithm=algorithm, limits=limits or (TEN,))


def remaining(policy: Policy, state: SubjectState, now_ms: int) -> list[int]:
    return [status.remaining for status in limit_statuses(policy, state, now_ms)]


def hold(name: str, units: int, *, made_ms: int = 0, held_ms: int = 30_000) -> Hold:
    return Hold(name=name, units=units, made_ms=made_ms, held_ms=held_ms)


@pytest.mark.parametrize("algorithm", COUNTING)
def test_as_many_are_taken_as_there_are(algorithm: Algorithm) -> None:
    """A take of up to so many gets what every limit has left, and is refused only if nothing is left."""
    both = policy(algorithm, TEN, HUNDRED)

    first, verdict, state = take_up_to(both, SubjectState(), 7, 0)
    second, _, state = take_up_to(both, state, 7, 0)
    third, refused, after = take_up_to(both, state, 7, 0)

    assert (first, verdict.allowed, [one.remaining for one in verdict.statuses]) == (7, True, [3, 93])
    assert second == 3
    assert (third, refused) == (0, peek(both, state, 1, 0))
    assert after is state


def test_up_to_nothing_only_looks() -> None:
    """Up to 0 units are never refused, even if nothing is left."""
    _, state = take(policy(), SubjectState(), 10, 0)

    granted, verdict, after = take_up_to(policy(), state, 0, 0)

    assert (granted, verdict.allowed, after is state) == (0, True, True)


def test_all_are_charged_or_none() -> None:
    """If one of several takes is refused, none is charged; the longest wait is the wait of all."""
    fixed, log = policy("fixed-window"), policy("sliding-log", HUNDRED)
    _, state = take(fixed, SubjectState(), 8, 10_000)
    look = JointTake(policy=fixed, state=state, cost=0)
    parts = [JointTake(policy=fixed, state=state, cost=3), JointTake(policy=log, state=SubjectState(), cost=90), look]

    refused, untouched = take_all(parts, 10_000)
    charged, states = take_all([JointTake(policy=fixed, state=state, cost=2), parts[1], look], 10_000)

    assert (refused.allowed, refused.retry_after_ms) == (False, 50_000)
    assert [verdict.allowed for verdict in refused.verdicts] == [False, True, True]
    assert [one.remaining for verdict in refused.verdicts for one in verdict.statuses] == [2, 100, 2]
    assert untouched == (state, SubjectState(), state)
    assert (charged.allowed, charged.retry_after_ms) == (True, None)
    assert [remaining(fixed, states[0], 10_000), remaining(log, states[1], 10_000)] == [[0], [10]]


def test_one_take_that_never_fits_refuses_all_forever() -> None:
    """If one cost is above a limit, no wait helps all of them, whatever the others need."""
    _, full = take(policy(), SubjectState(), 10, 0)
    parts = [JointTake(policy=policy(), state=full, cost=1), JointTake(policy=policy(), state=SubjectState(), cost=11)]

    joint, _ = take_all(parts, 0)

    assert (joint.allowed, joint.retry_after_ms) == (False, None)
    assert [verdict.retry_after_ms for verdict in joint.verdicts] == [75_000, None]


def test_the_wait_of_all_includes_counters_that_are_ignored_until_later() -> None:
    """P3: a counter too far ahead to count now refuses all takes if it counts when the wait is over."""
    second, minute = policy("fixed-window", Limit(units=1, window_ms=1_000)), policy("fixed-window", TEN)
    _, ahead = take(second, SubjectState(), 1, 130_000)
    _, full = take(minute, SubjectState(), 10, 60_000)
    parts = [JointTake(policy=second, state=ahead, cost=1), JointTake(policy=minute, state=full, cost=1)]
    now_ms = 131_000 - 61_001

    joint, _ = take_all(parts, now_ms)

    assert [verdict.allowed for verdict in joint.verdicts] == [True, False]
    assert joint.verdicts[1].retry_after_ms == 120_000 - now_ms
    assert joint.retry_after_ms == 131_000 - now_ms
    assert not take_all(parts, 130_999)[0].allowed
    assert take_all(parts, 131_000)[0].allowed


@pytest.mark.parametrize("algorithm", COUNTING)
def test_a_refund_gives_back_what_was_counted_and_no_more(algorithm: Algorithm) -> None:
    """Refunded units can be taken again; no refund returns more than was taken, and one of nothing returns nothing."""
    both = policy(algorithm, TEN, HUNDRED)
    _, state = take(both, SubjectState(), 8, 0)

    some, partly = refund(both, state, 3, 0)
    more, emptied = refund(both, partly, 9, 0)
    none, nothing = refund(both, emptied, 1, 0)

    assert (some, remaining(both, partly, 0)) == (3, [5, 95])
    assert (more, emptied) == (5, SubjectState())
    assert (none, nothing is emptied) == (0, True)


def test_the_oldest_units_are_refunded_first() -> None:
    """P1: units that stay after a refund count as if they had been taken later, never earlier."""
    _, state = take(policy(), SubjectState(), 4, 0)
    _, state = take(policy(), state, 3, 20_000)
    _, state = take(policy(), state, 2, 40_000)

    refunded, state = refund(policy(), state, 5, 40_000)

    counter = Counter(index=2, current=2, previous=((1, 2),))
    assert (refunded, state) == (5, SubjectState(counters={("sliding-window", 60_000, 4): counter}))
    assert peek(policy(), state, 7, 40_000).retry_after_ms == 50_000


def test_the_previous_of_two_windows_is_refunded_first() -> None:
    """Units of the previous window count in part, so a refund of them frees only that part."""
    two_windows = policy("sliding-window-counter")
    _, state = take(two_windows, SubjectState(), 10, 0)
    _, state = take(two_windows, state, 5, 90_000)

    _, some = refund(two_windows, state, 4, 90_000)
    _, more = refund(two_windows, state, 12, 90_000)

    assert [remaining(two_windows, one, 90_000) for one in (state, some, more)] == [[0], [2], [7]]


def test_windows_that_released_units_get_nothing_back() -> None:
    """A unit that a short window has released already is refunded to the long one only."""
    both = policy("fixed-window", TEN, HUNDRED)
    _, state = take(both, SubjectState(), 6, 0)

    refunded, state = refund(both, state, 6, 60_000)

    assert (refunded, state) == (6, SubjectState())


@pytest.mark.parametrize("algorithm", COUNTING)
def test_held_units_count_until_they_are_settled(algorithm: Algorithm) -> None:
    """A hold takes its units from every limit at once; `settle` charges what was needed and frees the rest."""
    both = policy(algorithm, TEN, HUNDRED)

    verdict, held = reserve(both, SubjectState(), hold("a", 6), 0)
    refused, _ = take(both, held, 5, 0)
    settled, state = settle(both, held, "a", 2, 1_000)
    again, after = settle(both, state, "a", 2, 1_000)

    assert (verdict.allowed, [one.remaining for one in verdict.statuses]) == (True, [4, 94])
    assert not refused.allowed
    assert (settled, remaining(both, state, 1_000)) == (True, [8, 98])
    assert (again, after is state) == (False, True)


def test_a_hold_expires() -> None:
    """A holder that crashed keeps no units: when its hold expires they are free, and there is nothing to settle."""
    _, state = reserve(policy(), SubjectState(), hold("a", 6), 0)

    assert peek(policy(), state, 5, 0).retry_after_ms == 30_000
    assert not take(policy(), state, 5, 29_999)[0].allowed
    assert settle(policy(), state, "a", 6, 30_000) == (False, state)
    verdict, state = take(policy(), state, 10, 30_000)
    assert verdict.allowed
    assert state.holds == ()


def test_an_overrun_is_charged() -> None:
    """What was needed is charged even above the estimate and above the limit; others wait for it."""
    fixed = policy("fixed-window")
    _, state = reserve(fixed, SubjectState(), hold("a", 1), 0)

    settled, state = settle(fixed, state, "a", 25, 0)

    assert (settled, remaining(fixed, state, 0)) == (True, [0])
    assert peek(fixed, state, 1, 0).retry_after_ms == 60_000
    assert peek(fixed, state, 0, 0).allowed


def test_a_repeated_reserve_holds_once() -> None:
    """A hold that exists is found and not added again: a repeated call changes nothing."""
    _, state = reserve(policy(), SubjectState(), hold("a", 6), 0)

    verdict, after = reserve(policy(), state, hold("a", 6, made_ms=5), 5)

    assert (verdict.allowed, after is state) == (True, True)


def test_a_hold_that_does_not_fit_is_refused() -> None:
    """An estimate waits as a take would, also for other holds; above a limit no wait helps."""
    _, state = reserve(policy(), SubjectState(), hold("a", 6), 0)

    refused, after = reserve(policy(), state, hold("b", 5), 0)
    never, _ = reserve(policy(), state, hold("b", 11), 0)

    assert (refused.refused_by, refused.retry_after_ms, after is state) == (0, 30_000, True)
    assert (never.refused_by, never.retry_after_ms) == (0, None)


def test_the_number_of_holds_is_bounded() -> None:
    """One key has at most 128 holds; one more waits for the first to end, and for the limits as well."""
    hundred, state = policy("fixed-window", HUNDRED), SubjectState()
    for i in range(HOLDS_MAX):
        _, state = reserve(hundred, state, hold(f"h{i}", 0, held_ms=30_000 + i), 0)
    _, taken = take(hundred, state, 100, 0)

    full, after = reserve(hundred, state, hold("b", 1), 10)
    full_and_refused, _ = reserve(hundred, taken, hold("b", 1), 10)
    above, _ = reserve(hundred, state, hold("b", 101), 10)

    assert (full.refused_by, full.retry_after_ms, after is state) == (FULL, 29_990, True)
    assert (full_and_refused.refused_by, full_and_refused.retry_after_ms) == (FULL, 3_600_000 - 10)
    assert (above.refused_by, above.retry_after_ms) == (0, None)
    assert reserve(hundred, state, hold("b", 1, made_ms=30_000), 30_000)[0].allowed
    assert settle(hundred, state, "h5", 0, 10)[1].holds == (*state.holds[:5], *state.holds[6:])


#   cost  retry_after_ms, with 4 taken until 60 s, and 3 held until 10 s and 2 until 30 s, of 10
WAITS = [
    (1, None),
    (2, 10_000),
    (4, 10_000),
    (5, 30_000),
    (6, 30_000),
    (7, 60_000),
    (10, 60_000),
]


@pytest.mark.parametrize(("cost", "retry_after_ms"), WAITS)
def test_a_wait_is_exact_with_holds(cost: int, retry_after_ms: int | None) -> None:
    """P3: the wait ends when so many holds have ended that the cost fits beside the rest and what was taken."""
    fixed = policy("fixed-window")
    _, state = take(fixed, SubjectState(), 4, 0)
    _, state = reserve(fixed, state, hold("b", 2, held_ms=30_000), 0)
    _, state = reserve(fixed, state, hold("a", 3, held_ms=10_000), 0)

    verdict = peek(fixed, state, cost, 0)

    assert verdict.retry_after_ms == retry_after_ms
    if retry_after_ms is not None:
        assert peek(fixed, state, cost, retry_after_ms).allowed
        assert not peek(fixed, state, cost, retry_after_ms - 1).allowed


#   now_ms  remaining  retry_after_ms of 10, with 6 held at 300 s for a minute
STEPS_BACK = [
    (300_000, 4, 60_000),
    (270_000, 4, 90_000),  # 30 s back: held until the same moment
    (240_000, 4, 120_000),
    (239_999, 10, None),  # further back it is ignored
    (0, 10, None),  # 5 minutes back
]


@pytest.mark.parametrize(("now_ms", "left", "retry_after_ms"), STEPS_BACK)
def test_a_hold_too_far_ahead_is_ignored(now_ms: int, left: int, retry_after_ms: int | None) -> None:
    """A clock that steps back keeps a hold for up to a minute more; a hold further ahead locks no key out."""
    _, state = reserve(policy(), SubjectState(), hold("a", 6, made_ms=300_000, held_ms=60_000), 300_000)

    verdict = peek(policy(), state, 10, now_ms)

    assert remaining(policy(), state, now_ms) == [left]
    assert verdict.retry_after_ms == retry_after_ms


def test_an_ignored_hold_can_be_settled() -> None:
    """Its holder can settle it, however far the clock stepped back; a charge by another caller drops it."""
    _, state = reserve(policy(), SubjectState(), hold("a", 6, made_ms=300_000, held_ms=60_000), 300_000)

    settled, after = settle(policy(), state, "a", 2, 0)
    _, written = take(policy(), state, 1, 0)

    assert (settled, remaining(policy(), after, 0)) == (True, [8])
    assert written.holds == ()


def test_a_verdict_allows_if_nothing_refuses() -> None:
    """A verdict is allowed exactly if no limit refused, and not because of too many holds either."""
    assert Verdict(refused_by=None, retry_after_ms=None, statuses=()).allowed
    assert not Verdict(refused_by=FULL, retry_after_ms=1, statuses=()).allowed
