"""The rules of `sliding-window` as tables: arithmetic that a reader can redo on paper."""

from __future__ import annotations

import pytest

from tollhouse.limits.algorithms.counters import Counter, SubjectState
from tollhouse.limits.algorithms.evaluate import lifetime_ms, peek, take
from tollhouse.limits.policy.policy import Limit, Policy

TEN_A_MINUTE = Limit(units=10, window_ms=60_000, resolution=4)  # sub-buckets of 15 s, released 15 s late at most
TWO_A_SECOND = Limit(units=2, window_ms=1_000, resolution=16)  # sub-buckets of 62.5 ms
TWO_IN_2000 = Limit(units=2, window_ms=2_000, resolution=3)  # sub-buckets of 666 2/3 ms

#   at_ms  cost  allowed  remaining  retry_after_ms  reset_after_ms
STEPS = [
    (0, 10, True, 0, None, 75_000),
    (0, 1, False, 0, 75_000, 75_000),  # a refusal takes nothing
    (74_999, 1, False, 0, 1, 1),  # index 0 counts whole until (0 + 4 + 1) * 15 s
    (75_000, 4, True, 6, None, 75_000),
    (45_000, 7, False, 6, 105_000, 105_000),  # a clock that steps back never gives units away
    (45_000, 6, True, 0, None, 105_000),  # what is taken behind the newest sub-bucket counts into it
    (149_999, 1, False, 0, 1, 1),
    (150_000, 0, True, 10, None, 0),  # a cost of 0 only looks
    (150_000, 11, False, 10, None, 0),  # above the limit: no wait will help
]

#   at_ms  cost  allowed  remaining  retry_after_ms  reset_after_ms
OLDER_FIRST = [
    (0, 3, True, 7, None, 75_000),
    (15_000, 3, True, 4, None, 75_000),
    (44_999, 4, True, 0, None, 60_001),  # index 2, released at 105 s
    (50_000, 3, False, 0, 25_000, 55_000),  # the first sub-bucket is enough
    (50_000, 4, False, 0, 40_000, 55_000),  # two are needed: index 1 is released at 90 s
    (50_000, 6, False, 0, 40_000, 55_000),
    (50_000, 7, False, 0, 55_000, 55_000),  # all three
    (75_000, 3, True, 0, None, 75_000),
]

#   at_ms  cost  allowed  remaining  retry_after_ms  reset_after_ms
FRACTIONS = [
    (1_062, 2, True, 0, None, 1_001),  # index 16 begins at 1000 and ends before 1062.5
    (2_062, 1, False, 0, 1, 1),
    (2_063, 1, True, 1, None, 1_062),  # index 33 begins at 2062.5
    (3_124, 2, False, 1, 1, 1),
    (3_125, 2, True, 0, None, 1_063),
]

#   at_ms  cost  allowed  remaining  retry_after_ms  reset_after_ms
THIRDS = [
    (666, 1, True, 1, None, 2_001),  # still index 0, which ends before 666 2/3; 4 of them are 2666 2/3 ms
    (667, 1, True, 0, None, 2_667),  # index 1, released with index 5 at 3333 1/3
    (2_666, 1, False, 0, 1, 668),
    (2_667, 1, True, 0, None, 2_667),
]

#   at_ms  cost  allowed  remaining  retry_after_ms  reset_after_ms
A_CLOCK_TOO_FAR_BACK = [
    (75_000, 10, True, 0, None, 75_000),  # index 5
    (15_000, 1, False, 0, 135_000, 135_000),  # 60 s ahead still counts
    (14_999, 10, True, 0, None, 60_001),  # further ahead is ignored: the count begins anew, at index 0
    (75_000, 10, True, 0, None, 75_000),
]


def api(*limits: Limit) -> Policy:
    return Policy(name="api", limits=limits)


@pytest.mark.parametrize(
    ("limit", "steps"),
    [
        (TEN_A_MINUTE, STEPS),
        (TEN_A_MINUTE, OLDER_FIRST),
        (TWO_A_SECOND, FRACTIONS),
        (TWO_IN_2000, THIRDS),
        (TEN_A_MINUTE, A_CLOCK_TOO_FAR_BACK),
    ],
    ids=["steps", "older first", "fractions", "thirds", "clock too far back"],
)
def test_takes_follow_the_table(limit: Limit, steps: list[tuple[int, int, bool, int, int | None, int]]) -> None:
    """One window admits, refuses and restores as the table says (C-6, S2-28)."""
    policy, state = api(limit), SubjectState()

    for at_ms, cost, allowed, remaining, retry_after_ms, reset_after_ms in steps:
        verdict, state = take(policy, state, cost, at_ms)

        assert (verdict.allowed, verdict.retry_after_ms) == (allowed, retry_after_ms)
        assert [(one.remaining, one.reset_after_ms) for one in verdict.statuses] == [(remaining, reset_after_ms)]


MINUTE_AND_HOUR = api(Limit(units=3, window_ms=60_000, resolution=4), Limit(units=5, window_ms=3_600_000, resolution=4))

#   at_ms  cost  refused_by  retry_after_ms  remaining
BOTH = [
    (0, 3, None, None, [0, 2]),
    (60_000, 1, 0, 15_000, [0, 2]),  # the minute refuses, and the hour is not charged
    (75_000, 2, None, None, [1, 0]),
    (75_000, 1, 1, 4_425_000, [1, 0]),  # the hour refuses, and the minute is not charged
    (75_000, 2, 1, 4_425_000, [1, 0]),  # both refuse: the longer wait holds
    (75_000, 4, 0, None, [1, 0]),  # above the minute's limit, whatever the hour says
    (75_000, 6, 0, None, [1, 0]),  # above both: the first is named
    (4_499_999, 5, 0, None, [3, 0]),
    (4_500_000, 3, None, None, [0, 2]),
]


def test_several_windows_are_one_decision() -> None:
    """Every window must admit; the one that refuses longest is named, with its wait (S2-26)."""
    state = SubjectState()

    for at_ms, cost, refused_by, retry_after_ms, remaining in BOTH:
        verdict, state = take(MINUTE_AND_HOUR, state, cost, at_ms)

        assert (verdict.refused_by, verdict.retry_after_ms) == (refused_by, retry_after_ms)
        assert [one.remaining for one in verdict.statuses] == remaining


def test_of_equal_waits_the_first_is_named() -> None:
    """If two windows refuse equally long, the first of the policy is named."""
    policy = api(Limit(units=1, window_ms=60_000, resolution=1), Limit(units=1, window_ms=80_000, resolution=2))
    _, state = take(policy, SubjectState(), 1, 0)

    verdict = peek(policy, state, 1, 0)

    assert (verdict.refused_by, verdict.retry_after_ms) == (0, 120_000)


def test_a_wait_includes_a_counter_that_is_ignored_until_later() -> None:
    """P3: a counter too far ahead to count now refuses if it counts when the wait is over."""
    second = Limit(units=1, window_ms=1_000, resolution=1)
    hundred = Limit(units=2, window_ms=100_000, resolution=1)
    policy = api(second, hundred)
    _, state = take(policy, SubjectState(), 1, 99_000)
    _, state = take(policy, state, 1, 199_500)  # index 199 of the second, index 1 of the hundred
    back_ms = 199_000 - 61_000

    verdict = peek(policy, state, 1, back_ms)

    assert verdict.statuses[0].remaining == 1
    assert (verdict.refused_by, verdict.retry_after_ms) == (0, 201_000 - back_ms)
    assert not peek(policy, state, 1, 200_999).allowed
    assert peek(policy, state, 1, 201_000).allowed


def test_a_wait_is_a_fixed_point() -> None:
    """P3: limit A admits at 40 s, when B's counter at 95 s, ignored now, refuses until 155 s: the wait is 155 s."""
    a, b = Limit(units=1, window_ms=70_000), Limit(units=1, window_ms=60_000)
    counters = {
        a.counter_id("sliding-log"): Counter(index=-30_000, current=1),
        b.counter_id("sliding-log"): Counter(index=95_000, current=1),
    }

    verdict = peek(Policy(name="api", algorithm="sliding-log", limits=(a, b)), SubjectState(counters=counters), 1, 0)

    assert (verdict.refused_by, verdict.retry_after_ms) == (1, 155_000)


def test_a_state_lives_a_second_longer_than_it_can_refuse() -> None:
    """A state is kept until its longest window is fully restored, and a second more."""
    _, state = take(MINUTE_AND_HOUR, SubjectState(), 1, 75_000)
    assert lifetime_ms(MINUTE_AND_HOUR, state, 75_000) == 4_500_000 - 75_000 + 1_000

    ten = api(TEN_A_MINUTE)
    _, state = take(ten, SubjectState(), 1, 75_000)
    _, state = take(ten, state, 1, 45_000)
    assert lifetime_ms(ten, state, 45_000) == 105_000 + 1_000
