"""Failures in a window: the bound holds in any window, and a wait is exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.accounts.throttling.windows import WindowRule, window_charged, window_uncounted, window_wait

RULE = WindowRule(failures=30, window_ms=300_000)
FEW = WindowRule(failures=3, window_ms=10_000)
BEGAN_MS = 1_800_000_000_000

#    earlier failures by (time, how many); the time; the wait
TABLE = [
    ([], 0, 0),
    ([(0, 29)], 0, 0),
    ([(0, 30)], 0, 330_000),  # sub-bucket 0 counts whole until the eleventh after it ends
    ([(0, 30)], 29_999, 300_001),
    ([(29_999, 30)], 29_999, 300_001),
    ([(0, 30)], 329_999, 1),
    ([(0, 30)], 330_000, 0),
    ([(0, 10), (60_000, 20)], 60_000, 270_000),  # the ten are enough
    ([(0, 10), (60_000, 30)], 60_000, 330_000),  # eleven have to go, and the rest go together
    ([(600_000, 30)], 0, 330_000),  # a clock that stepped back: counted as of now
]


def counted(earlier, rule=RULE):
    counts = {}
    for at_ms, failures in earlier:
        for _ in range(failures):
            counts = window_charged(counts, rule, at_ms)
    return counts


@pytest.mark.parametrize(("earlier", "now_ms", "wait_ms"), TABLE)
def test_a_window_waits_until_enough_failures_are_released(earlier, now_ms, wait_ms):
    """Thirty failures in five minutes; each counts until its sub-bucket of thirty seconds and ten more are over."""
    assert window_wait(counted(earlier), RULE, now_ms) == wait_ms


@given(st.lists(st.integers(0, 4_000), max_size=60))
def test_no_window_has_more_failures_than_it_may(gaps_ms):
    """P1: in any ten seconds at most three are admitted; after the wait that was told the next one is."""
    counts, admitted, now_ms = {}, [], BEGAN_MS
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        wait_ms = window_wait(counts, FEW, now_ms)
        if wait_ms == 0:
            admitted.append(now_ms)
            counts = window_charged(counts, FEW, now_ms)
        else:
            assert window_wait(counts, FEW, now_ms + wait_ms) == 0
            assert window_wait(counts, FEW, now_ms + wait_ms - 1) == 1

    assert all(later - first >= FEW.window_ms for first, later in zip(admitted, admitted[3:], strict=False))
    assert len(counts) <= 12


def test_an_uncounted_attempt_leaves_its_own_sub_bucket():
    """What is uncounted is the failure of that time, and never more than there are."""
    counts = counted([(0, 2), (60_000, 1)])

    assert window_uncounted(counts, RULE, 60_000) == {0: 2, 2: 0}
    assert window_uncounted(window_uncounted(counts, RULE, 60_000), RULE, 60_000) == {0: 2, 2: 0}
    assert window_uncounted(counts, RULE, 90_000) == counts
