"""The count of admissions by which the benchmarks judge a limit that several processes share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.admissions import fullest

pytestmark = pytest.mark.project

#        calls                                  window  most
ROWS = [
    ((), 10, 0),
    (((5, 5),), 10, 1),
    (((0, 0), (9, 9)), 10, 2),
    (((0, 0), (10, 10)), 10, 1),  # a window excludes its end
    (((0, 0), (0, 0), (0, 0)), 10, 3),
    (((0, 0), (5, 12)), 10, 1),  # it may have been decided at 10 or later
    (((0, 0), (5, 9)), 10, 2),
    (((0, 3), (8, 11), (12, 13)), 10, 2),  # the second with either neighbour, never all three
    (((0, 30), (10, 10)), 10, 1),  # a call as long as the window proves nothing
]

MOMENTS = st.integers(0, 40)
CALLS = st.lists(st.tuples(MOMENTS, st.integers(0, 15)).map(lambda one: (one[0], sum(one))), max_size=12)


@pytest.mark.parametrize(("calls", "window", "most"), ROWS)
def test_the_fullest_window_has_what_was_certainly_decided_in_it(
    calls: tuple[tuple[int, int], ...], window: int, most: int
) -> None:
    """A call counts if all moments at which it may have been decided are in the window."""
    assert fullest(calls, window) == most


@given(CALLS, st.integers(1, 20))
def test_no_window_is_left_out(calls: list[tuple[int, int]], window: int) -> None:
    """The count is that of the fullest of all windows, tried one by one."""
    every = [
        sum(start <= begin and end < start + window for begin, end in calls) for start in range(-window, 60 + window)
    ]

    assert fullest(calls, window) == max(every)
