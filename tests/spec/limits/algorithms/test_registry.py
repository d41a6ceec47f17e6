"""The other algorithms as tables: arithmetic that a reader can redo on paper."""

from __future__ import annotations

import pytest

from tollhouse.limits.algorithms.counters import Counter, SubjectState
from tollhouse.limits.algorithms.evaluate import limit_statuses, peek, take
from tollhouse.limits.policy.policy import Algorithm, Limit, Policy

TEN_A_MINUTE = Limit(units=10, window_ms=60_000)
ONE_A_SECOND_BURST_THREE = Limit(units=1, window_ms=1_000, burst=3)
THREE_A_SECOND = Limit(units=3, window_ms=1_000)

#   at_ms  cost  allowed  remaining  retry_after_ms  reset_after_ms
FIXED_WINDOW = [
    (0, 4, True, 6, None, 60_000),
    (59_999, 6, True, 0, None, 1),
    (59_999, 1, False, 0, 1, 1),
    (60_000, 10, True, 0, None, 60_000),  # 16 in two milliseconds: twice the limit is its bound
    (30_000, 1, False, 0, 90_000, 90_000),  # 30 s back: the newest window goes on
    (119_999, 1, False, 0, 1, 1),
    (120_000, 0, True, 10, None, 0),
    (120_000, 11, False, 10, None, 0),
    (600_000, 10, True, 0, None, 60_000),
    (540_000, 1, False, 0, 120_000, 120_000),  # 60 s ahead still counts
    (300_000, 10, True, 0, None, 60_000),  # 5 minutes back: it begins anew
]

#   at_ms  cost  allowed  remaining  retry_after_ms  reset_after_ms
COUNTER = [
    (0, 10, True, 0, None, 120_000),
    (59_999, 1, False, 0, 6_001, 60_001),
    (65_999, 1, False, 0, 1, 54_001),  # of the previous 10, ceil(9.00017) count
    (66_000, 1, True, 0, None, 114_000),  # 9 of the previous count
    (66_000, 1, False, 0, 6_000, 114_000),
    (90_000, 4, True, 0, None, 90_000),  # 5 of the previous 10, and 5 now
    (60_000, 1, False, 0, 36_000, 120_000),  # 30 s back: the previous 10 count in full again
    (119_999, 5, False, 4, 1, 60_001),  # ceil(0.00017) of the previous
    (120_000, 5, True, 0, None, 120_000),
    (299_999, 10, True, 0, None, 60_001),
    (300_000, 10, False, 0, 60_000, 60_000),
    (600_000, 10, True, 0, None, 120_000),
    (570_000, 1, False, 0, 96_000, 150_000),  # 30 s back, in the window before
    (300_000, 10, True, 0, None, 120_000),  # 5 minutes back: it begins anew
]

#   at_ms  cost  allowed  remaining  retry_after_ms  reset_after_ms
LOG = [
    (0, 4, True, 6, None, 60_000),
    (0, 1, True, 5, None, 60_000),
    (10_000, 5, True, 0, None, 60_000),
    (59_999, 1, False, 0, 1, 10_001),
    (59_999, 6, False, 0, 10_001, 10_001),
    (60_000, 5, True, 0, None, 60_000),
    (30_000, 1, False, 0, 40_000, 90_000),  # 30 s back: each take counts until a window after it
    (69_999, 1, False, 0, 1, 50_001),
    (70_000, 5, True, 0, None, 60_000),
    (10_000, 1, False, 0, 110_000, 120_000),  # 60 s ahead still counts
    (9_999, 10, True, 0, None, 60_000),  # further ahead is ignored
    (600_000, 10, True, 0, None, 60_000),
    (300_000, 10, True, 0, None, 60_000),  # 5 minutes back: it begins anew
]

#   at_ms  cost  allowed  remaining  retry_after_ms  reset_after_ms
GCRA = [
    (0, 10, True, 0, None, 60_000),
    (0, 1, False, 0, 6_000, 60_000),
    (5_999, 1, False, 0, 1, 54_001),
    (6_000, 1, True, 0, None, 60_000),
    (20_999, 3, False, 2, 3_001, 45_001),  # a fraction counts as a whole unit
    (36_000, 5, True, 0, None, 60_000),
    (6_000, 1, False, 0, 36_000, 90_000),  # 30 s back: the level is as it was at 36 s
    (41_999, 1, False, 0, 1, 54_001),
    (42_000, 1, True, 0, None, 60_000),
    (342_000, 10, True, 0, None, 60_000),
    (42_000, 10, True, 0, None, 60_000),  # 5 minutes back: it begins anew
]

#   at_ms  cost  allowed  remaining  retry_after_ms  reset_after_ms
BURST = [
    (0, 3, True, 0, None, 3_000),
    (500, 1, False, 0, 500, 2_500),
    (1_000, 1, True, 0, None, 3_000),
    (2_500, 2, False, 1, 500, 1_500),
    (4_000, 4, False, 3, None, 0),  # above the burst: no wait will help
]

#   at_ms  cost  allowed  remaining  retry_after_ms  reset_after_ms
GCRA_IN_THIRDS = [
    (0, 3, True, 0, None, 1_000),
    (333, 1, False, 0, 1, 667),  # one unit drains in 333 1/3 ms
    (334, 1, True, 0, None, 1_000),  # the level is 1.998, then 2.998
    (666, 1, False, 0, 1, 668),
    (667, 1, True, 0, None, 1_000),
]


@pytest.mark.parametrize(
    ("algorithm", "limit", "steps"),
    [
        ("fixed-window", TEN_A_MINUTE, FIXED_WINDOW),
        ("sliding-window-counter", TEN_A_MINUTE, COUNTER),
        ("sliding-log", TEN_A_MINUTE, LOG),
        ("gcra", TEN_A_MINUTE, GCRA),
        ("gcra", ONE_A_SECOND_BURST_THREE, BURST),
        ("gcra", THREE_A_SECOND, GCRA_IN_THIRDS),
    ],
    ids=["fixed window", "two windows", "log", "gcra", "burst", "thirds"],
)
def test_takes_follow_the_table(
    algorithm: Algorithm, limit: Limit, steps: list[tuple[int, int, bool, int, int | None, int]]
) -> None:
    """One window admits, refuses and restores as the table says (S2-28)."""
    policy = Policy(name="api", algorithm=algorithm, limits=(limit,))
    state = SubjectState()

    for at_ms, cost, allowed, remaining, retry_after_ms, reset_after_ms in steps:
        verdict, state = take(policy, state, cost, at_ms)

        assert (verdict.allowed, verdict.retry_after_ms) == (allowed, retry_after_ms)
        assert [(one.remaining, one.reset_after_ms) for one in verdict.statuses] == [(remaining, reset_after_ms)]


#    algorithm                 what is left of each limit after 8 of 10, then with a limit of 5, then of 20
KEPT: list[tuple[Algorithm, int, int, int]] = [
    ("sliding-window", 2, 0, 12),
    ("sliding-window-counter", 2, 0, 12),
    ("sliding-log", 2, 0, 12),
    ("fixed-window", 2, 0, 12),
    ("gcra", 2, 0, 12),
]


@pytest.mark.parametrize(("algorithm", "same", "lower", "higher"), KEPT)
def test_a_changed_limit_keeps_its_count(algorithm: Algorithm, same: int, lower: int, higher: int) -> None:
    """A limit that is lowered or raised continues from the same count, whatever the algorithm."""
    policies = [
        Policy(name="api", algorithm=algorithm, limits=(Limit(units=units, window_ms=60_000),)) for units in (10, 5, 20)
    ]
    _, state = take(policies[0], SubjectState(), 8, 30_000)

    left = [limit_statuses(policy, state, 30_000)[0].remaining for policy in policies]

    assert left == [same, lower, higher]


def test_counters_of_another_algorithm_are_dropped() -> None:
    """A counter of another algorithm is ignored, and dropped by the next take."""
    fixed = Policy(name="api", algorithm="fixed-window", limits=(TEN_A_MINUTE,))
    log = Policy(name="api", algorithm="sliding-log", limits=(TEN_A_MINUTE,))
    _, state = take(fixed, SubjectState(), 10, 0)

    verdict, state = take(log, state, 3, 0)

    assert verdict.allowed
    assert state == SubjectState(counters={("sliding-log", 60_000, 0): Counter(index=0, current=3)})
    assert peek(fixed, state, 10, 0).allowed


def test_a_log_adds_up_takes_of_one_millisecond() -> None:
    """A log grows by one number for each millisecond with a take, and drops those that are a window old."""
    log = Policy(name="api", algorithm="sliding-log", limits=(TEN_A_MINUTE,))
    state = SubjectState()

    for at_ms in (0, 0, 1, 1, 1, 59_999, 60_001):
        _, state = take(log, state, 1, at_ms)

    counter = Counter(index=60_001, current=1, previous=((59_999, 1),))
    assert state == SubjectState(counters={("sliding-log", 60_000, 0): counter})
