"""The report of a warming."""

from __future__ import annotations

from tollhouse.cache.warming.report import FAILURES_MAX, WarmTally


def test_all_failures_are_counted_and_a_bounded_number_is_named():
    """P10: a list may be as long as it likes."""
    tally = WarmTally()

    for position in range(FAILURES_MAX + 5):
        tally.note(position, ConnectionError())
    report = tally.report()

    assert report.failed == FAILURES_MAX + 5
    assert [failure.position for failure in report.failures] == list(range(FAILURES_MAX))
