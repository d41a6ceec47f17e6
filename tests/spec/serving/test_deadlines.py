"""For how long a connection may be at one thing."""

from __future__ import annotations

from tollhouse.serving.deadlines import Doing, Stopwatch, Timeouts

TIMEOUTS = Timeouts(head_ms=10, body_ms=60, idle_ms=75)

#   at_ms  what the sweep finds   overdue
SWEEPS: list[tuple[int, Doing, bool]] = [
    (1_000, ("head", 0), False),  # measured from here
    (1_009, ("head", 0), False),
    (1_010, ("head", 0), True),
    (1_011, ("body", 1), False),  # another activity begins anew
    (1_070, ("body", 1), False),
    (1_071, ("body", 1), True),
    (1_072, ("response", 1), False),
    (9_999, ("response", 1), False),  # the application takes its time
    (10_000, ("idle", 1), False),
    (10_074, ("idle", 1), False),
    (10_074, ("idle", 2), False),  # there was a request between two sweeps
    (10_149, ("idle", 2), True),
    (10_150, ("unread", 500), False),
    (10_224, ("unread", 400), False),  # the client reads, if slowly
    (10_298, ("unread", 400), False),
    (10_299, ("unread", 400), True),
]


def test_an_activity_is_overdue_after_its_time() -> None:
    """What a connection does is overdue when sweeps have found it for as long as it may take, and not before."""
    stopwatch = Stopwatch(TIMEOUTS)

    assert [stopwatch.overdue(doing, at_ms) for at_ms, doing, _ in SWEEPS] == [overdue for *_, overdue in SWEEPS]
