"""Failures in a row: a truth table of waits, and what ends them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.accounts.throttling.failures import (
    NO_FAILURES,
    FailureRule,
    Failures,
    charged,
    current,
    lifetime_ms,
    uncounted,
    wait_of,
)

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
PASSWORD = FailureRule(free=5, wait_ms=SECOND, wait_max_ms=15 * MINUTE, memory_ms=DAY, row_max=100, kept_ms=180 * DAY)
CODE = FailureRule(
    free=5, wait_ms=15 * MINUTE, wait_max_ms=15 * MINUTE, memory_ms=5 * MINUTE, row_max=100, kept_ms=180 * DAY
)

#    failures in a row, each as soon as it may be; the wait after the last of them
WAITS = [
    (PASSWORD, 0, 0),
    (PASSWORD, 4, 0),
    (PASSWORD, 5, SECOND),  # five are free
    (PASSWORD, 6, 2 * SECOND),
    (PASSWORD, 10, 32 * SECOND),
    (PASSWORD, 14, 512 * SECOND),
    (PASSWORD, 15, 15 * MINUTE),  # 1,024 s would be more
    (PASSWORD, 99, 15 * MINUTE),
    (PASSWORD, 100, 15 * MINUTE),  # and no time ends it
    (CODE, 4, 0),
    (CODE, 5, 15 * MINUTE),
]


def after(rule, failures, at_ms=0):
    """Return so many failures in a row, each as soon as it may be, and the time of the last one."""
    found = NO_FAILURES
    for _ in range(failures):
        at_ms += wait_of(found, rule, at_ms)
        found = charged(current(found, rule, at_ms), rule, at_ms)
    return found, at_ms


@pytest.mark.parametrize(("rule", "failures", "wait_ms"), WAITS)
def test_waits_double_from_a_second_to_fifteen_minutes(rule, failures, wait_ms):
    """After n failures, n of five or more, the next attempt waits 2^(n-5) s, and never more than 15 minutes."""
    found, at_ms = after(rule, failures)

    assert wait_of(found, rule, at_ms) == wait_ms


def test_a_wait_ends_to_the_millisecond():
    """A second after the fifth failure an attempt is admitted, and not a millisecond earlier."""
    found, at_ms = after(PASSWORD, 5, 1_000_000)

    assert wait_of(found, PASSWORD, at_ms + SECOND - 1) == 1
    assert wait_of(found, PASSWORD, at_ms + SECOND) == 0


def test_no_time_ends_a_whole_row():
    """At a hundred failures in a row attempts are refused while they are remembered, which is 180 days."""
    found, at_ms = after(PASSWORD, 100)

    assert wait_of(current(found, PASSWORD, at_ms + 179 * DAY), PASSWORD, at_ms + 179 * DAY) == 15 * MINUTE
    assert current(found, PASSWORD, at_ms + 180 * DAY) == NO_FAILURES


@pytest.mark.asvs("6.3.1")
def test_a_row_takes_most_of_a_day():
    """A hundred guesses at one account take twenty-one hours and more, however many clients make them."""
    _, at_ms = after(PASSWORD, 100)

    assert at_ms == 85 * 15 * MINUTE + 1023 * SECOND


def test_waits_begin_anew_after_a_day_and_the_row_goes_on():
    """A day without a failure ends the waits; the failures of the row stay counted."""
    found, at_ms = after(PASSWORD, 20)

    rested = current(found, PASSWORD, at_ms + DAY)

    assert (rested.recent, rested.in_a_row) == (0, 20)
    assert charged(rested, PASSWORD, at_ms + DAY).until_ms == 0


@pytest.mark.parametrize(("failures", "days"), [(1, 1.8), (5, 9), (50, 90), (100, 180)])
def test_each_failure_is_remembered_for_longer(failures, days):
    """The count is kept for 1.8 days for each of its failures: guesses at ever other names leave little behind."""
    found, _ = after(PASSWORD, failures)

    assert lifetime_ms(found.in_a_row, PASSWORD) == days * DAY


def test_a_guesser_who_pauses_gains_two_hundred_guesses_a_year():
    """One who stays below a hundred by pauses, until the count is forgotten, has one guess in 1.8 days."""
    found, at_ms = after(PASSWORD, 99)

    assert current(found, PASSWORD, at_ms + lifetime_ms(found.in_a_row, PASSWORD) - 1).in_a_row == 99
    assert 365 * DAY / (at_ms + lifetime_ms(found.in_a_row, PASSWORD)) * 99 < 203


def test_an_attempt_without_a_guess_counts_for_nothing():
    """It is uncounted with its wait: the next one may come at once, because this one had waited."""
    before, at_ms = after(PASSWORD, 6)
    began_ms = at_ms + wait_of(before, PASSWORD, at_ms)

    found = uncounted(charged(before, PASSWORD, began_ms), began_ms)

    assert (found.recent, found.in_a_row) == (6, 6)
    assert wait_of(found, PASSWORD, began_ms) == 0


def test_an_earlier_attempt_leaves_the_wait_of_a_later_one():
    """The wait that a later failure began stays."""
    first, began_ms = after(PASSWORD, 6)
    second = charged(first, PASSWORD, began_ms + 2 * SECOND)

    found = uncounted(second, began_ms)

    assert (found.in_a_row, found.until_ms) == (6, second.until_ms)


def test_an_attempt_of_a_row_that_is_over_uncounts_nothing_of_the_next():
    """A success between ended the row; failures after it are others."""
    found, _ = after(PASSWORD, 3, at_ms=10_000)

    assert uncounted(found, 9_999) == found
    assert uncounted(NO_FAILURES, 9_999) == NO_FAILURES
    assert uncounted(charged(NO_FAILURES, PASSWORD, 5), 5) == NO_FAILURES


@given(
    st.builds(Failures, recent=st.integers(0, 200), in_a_row=st.integers(0, 200), until_ms=st.integers(0, 10**9)),
    st.integers(0, 10**9),
)
def test_no_wait_is_longer_than_the_longest(failures, now_ms):
    """Whatever is stored, and whatever the clock does, a wait is 0 to 15 minutes."""
    assert 0 <= wait_of(failures, PASSWORD, now_ms) <= PASSWORD.wait_max_ms
    assert wait_of(charged(failures, PASSWORD, now_ms), PASSWORD, now_ms) <= PASSWORD.wait_max_ms
