"""What the checkers of a drill find in a history, and that each of them can find something wrong."""

from __future__ import annotations

import msgspec
import pytest

from tests.drills import call, take
from tollhouse.drill.results import availability, history, losses, timeline
from tollhouse.drill.results.admission import Admission, SharedLimit, count_admissions
from tollhouse.drill.results.availability import Bucket
from tollhouse.drill.results.history import Call, Failure, HistoryEvent, Kind, Mark

#    calls, span_ms, gap_ms
GAPS: list[tuple[list[Call], float, float]] = [
    ([], 500, 500),
    ([take(1, 100), take(2, 200)], 201, 101),
    ([take(1, 0), take(2, 100, 400)], 500, 499),  # the second answer came at 500
    ([take(1, 0), take(2, 100, failure="ambiguous"), take(3, 200)], 210, 200),
    ([take(1, 0), take(2, 100, degraded=True), take(3, 200)], 210, 200),  # the outage rule is no service
    ([take(1, 0), take(2, 100)], 900, 799),  # what never came back counts up to the end
    ([take(1, 300), take(2, 400)], 402, 301),  # and what never began from the beginning
    ([take(1, 0), take(2, 100, 5_000)], 500, 499),  # an answer after the end does not lengthen the gap
]


@pytest.mark.parametrize(("calls", "span_ms", "expected"), GAPS)
def test_a_gap_is_the_longest_time_without_service(calls: list[Call], span_ms: float, expected: float) -> None:
    """P9: the gap counts between served calls, and from the beginning and to the end of the round."""
    assert availability.gap_ms(calls, span_ms) == expected


def test_calls_are_counted_where_they_were_due() -> None:
    """A bucket holds the calls that were due in it, however late they began or ended."""
    calls = [
        take(1, 0),
        take(2, 49.9, late_ms=500),
        take(3, 50, 2_000, failure="ambiguous"),
        take(4, 99, degraded=True),
        take(5, 149),
        take(6, 151),
    ]

    assert availability.buckets(calls, 150) == (
        Bucket(served=2),
        Bucket(degraded=1, failed=1),
        Bucket(served=2),  # what is due at the very end belongs to the last
    )


#   served, degraded, failed, out
OUTAGES = [
    (0, 0, 0, False),
    (10, 0, 0, False),
    (99, 0, 1, False),
    (98, 0, 1, True),
    (98, 1, 0, True),
    (0, 0, 1, True),
]


@pytest.mark.parametrize(("served", "degraded", "failed", "out"), OUTAGES)
def test_an_outage_is_less_than_99_percent(served: int, degraded: int, failed: int, out: bool) -> None:
    """A bucket of which a store served less than 99 % is an outage of its whole length; an empty one is none."""
    bucket = Bucket(served=served, degraded=degraded, failed=failed)

    assert bucket.out is out
    assert availability.unavailable_ms([bucket, Bucket(served=1), bucket]) == (100 if out else 0)


def test_latency_counts_from_when_a_call_was_due() -> None:
    """A call that was made late waited all the same; failures have no latency, and no answers give none."""
    calls = [take(number, 0, number) for number in range(1, 100)] + [take(100, 0, 1, late_ms=999)]
    failed = take(101, 0, 5_000, failure="ambiguous")

    assert availability.latency_ms([*calls, failed], 0.5) == 50
    assert availability.latency_ms([*calls, failed], 0.99) == 99
    assert availability.latency_ms([*calls, failed], 1.0) == 1_000
    assert availability.latency_ms([failed], 0.5) is None
    assert availability.lag_ms(calls) == 999


def test_a_call_past_its_deadline_is_counted_answered_or_not() -> None:
    """The deadline runs from when the call was made; a turn of a busy loop is granted, and no more."""
    calls = [
        take(1, 0, 1_050),
        take(2, 0, 1_051),
        take(3, 0, 1_051, failure="ambiguous"),
        take(4, 0, 10, late_ms=2_000),
    ]

    assert availability.over_deadline(calls, 1_000) == 2
    assert availability.longest_ms(calls) == 1_051
    assert availability.over_deadline([], 1_000) == availability.longest_ms([]) == availability.lag_ms([]) == 0


#    call, plain, durable
WRITES = [
    (take(1, 0), True, False),
    (take(1, 0, accepted=False), False, False),
    (take(1, 0, degraded=True), False, False),  # the outage rule acknowledges nothing
    (take(1, 0, failure="ambiguous"), False, False),
    (call("create", "create-1", 0, durable=False), True, False),
    (call("create", "create-1", 0, durable=True), False, True),
    (call("create", "create-1", 0, durable=True, failure="rejected"), False, False),
    (call("hot", "hot-1", 0), False, False),
    (call("put", "put-1", 0), False, False),
    (call("verify", "create-1", 0), False, False),
]


@pytest.mark.parametrize(("one", "plain", "durable"), WRITES)
def test_what_was_acknowledged_and_is_not_there_is_lost(one: Call, plain: bool, durable: bool) -> None:
    """P9: a write counts as lost only if a store acknowledged it, with its promise or without, and it is gone."""
    assert losses.lost([one], set(), durable=False) == [one] * plain
    assert losses.lost([one], set(), durable=True) == [one] * durable
    assert losses.lost([one], {one.id}, durable=False) == losses.lost([one], {one.id}, durable=True) == []


def test_a_session_that_was_to_end_is_no_loss() -> None:
    """A session with an attempt to revoke it, even a failed one, proves nothing when it is gone."""
    created = call("create", "create-1", 0, durable=True)
    revoked = call("revoke", "create-1", 9, failure="ambiguous")

    assert losses.lost([created, revoked], set(), durable=True) == []


def test_the_span_of_losses_is_from_the_first_to_the_last() -> None:
    """Losses that were acknowledged at 10 and 60 ms span 50; one alone spans nothing."""
    assert losses.span_ms([take(1, 9), take(3, 59), take(2, 30)]) == 50
    assert losses.span_ms([take(1, 9)]) == losses.span_ms([]) == 0


#   acknowledged at, held, promoted at, deposed
DEPOSED = [
    (150, False, 100, 1),
    (100, False, 100, 0),
    (50, False, 100, 0),
    (150, True, 100, 0),
    (150, False, None, 0),
]


@pytest.mark.parametrize(("at_ms", "held", "promoted_ms", "expected"), DEPOSED)
def test_an_acknowledgement_after_the_promotion_that_is_gone_came_from_the_old_one(
    at_ms: float, held: bool, promoted_ms: float | None, expected: int
) -> None:
    """P9: what was acknowledged when another server was promoted already, and is lost, a deposed primary said."""
    calls = [take(1, at_ms - 1), call("create", "create-2", at_ms - 1, durable=True)]

    assert losses.deposed(calls, {"take-1", "create-2"} if held else set(), promoted_ms) == 2 * expected


REVOKED = call("revoke", "create-1", 10, durable=True)

#    calls, held, resurrected
RISEN: list[tuple[list[Call], set[str], int]] = [
    ([REVOKED], set(), 0),
    ([REVOKED], {"create-1"}, 1),
    ([REVOKED, call("verify", "create-1", 12)], set(), 1),
    ([REVOKED, call("verify", "create-1", 12), call("verify", "create-1", 13)], {"create-1"}, 1),
    ([REVOKED, call("verify", "create-1", 12, accepted=False)], set(), 0),
    ([REVOKED, call("verify", "create-1", 12, failure="ambiguous")], set(), 0),
    ([REVOKED, call("verify", "create-1", 5, 10)], set(), 0),  # it began before the revocation was answered
    ([REVOKED, call("verify", "create-2", 12)], {"create-2"}, 0),
    ([call("revoke", "create-1", 10, durable=True, failure="ambiguous")], {"create-1"}, 0),
]


@pytest.mark.parametrize(("calls", "held", "expected"), RISEN)
def test_a_session_that_was_revoked_and_is_accepted_later_has_risen(
    calls: list[Call], held: set[str], expected: int
) -> None:
    """P4, P9: after a revocation was answered, a verify that begins later accepts the session in no case."""
    assert losses.resurrected(calls, held, durable=True) == expected
    assert losses.resurrected(calls, held, durable=False) == 0


def test_revocations_without_a_promise_are_counted_apart() -> None:
    """A session that was revoked without `durable: true` and lives again is not counted as a broken promise."""
    revoked = call("revoke", "create-1", 10, durable=False)

    assert losses.resurrected([revoked], {"create-1"}, durable=True) == 0
    assert losses.resurrected([revoked], {"create-1"}, durable=False) == 1


#   failure, held, ghosts
GHOSTS: list[tuple[Failure | None, bool, int]] = [
    ("not-sent", True, 1),
    ("rejected", True, 1),
    ("rejected", False, 0),
    ("ambiguous", True, 0),
    ("defect", True, 0),
    (None, True, 0),
]


@pytest.mark.parametrize(("failure", "held", "expected"), GHOSTS)
def test_what_was_said_to_have_changed_nothing_and_is_there_is_a_ghost(
    failure: Failure | None, held: bool, expected: int
) -> None:
    """A write that was not sent, or refused, must not be there; one of unknown outcome may."""
    calls = [take(1, 0, failure=failure), call("verify", "take-1", 0, failure=failure)]

    assert losses.ghosts(calls, {"take-1"} if held else set()) == expected


TEN_A_SECOND = SharedLimit(limit=10, window_ms=1_000)

#   begins of the takes, how long each took, by how many a window is exceeded
ADMITTED: list[tuple[list[float], float, int]] = [
    ([], 1, 0),
    ([100] * 10, 1, 0),
    ([100] * 12, 1, 2),
    ([0] * 10 + [1_001] * 10, 1, 0),
    ([0] * 6 + [900] * 6, 1, 2),
    ([0] * 6 + [999] * 6, 50, 0),  # these may have been decided after the window
]


@pytest.mark.parametrize(("begins", "took_ms", "expected"), ADMITTED)
def test_only_what_surely_fell_into_a_window_exceeds_it(begins: list[float], took_ms: float, expected: int) -> None:
    """P1: a limit was exceeded if one window holds the beginning and the end of more takes than it allows."""
    calls = [call("hot", f"hot-{number}", at, took_ms) for number, at in enumerate(begins)]
    others = [
        call("hot", "hot-x", 100, accepted=False),
        call("hot", "hot-y", 100, accepted=False, degraded=True),
        call("hot", "hot-z", 100, failure="ambiguous"),
        take(1, 100),
    ]

    found = count_admissions([*others, *calls], {one.id for one in [*others, *calls]}, TEN_A_SECOND)

    assert (found.over_admission, found.over_admission_unexplained) == (expected, expected)
    assert (found.hot_admitted, found.hot_lost, found.hot_degraded) == (len(begins), 0, 0)


#   kept, lost and degraded takes in one window, over-admission, the part of it that has no excuse
EXCUSED = [
    (10, 3, 4, 7, 0),
    (8, 3, 0, 1, 0),  # a lost take leaves room for another on the next primary
    (8, 0, 9, 7, 0),
    (11, 0, 0, 1, 1),
    (11, 3, 4, 8, 1),
    (0, 20, 0, 10, 0),
]


@pytest.mark.parametrize(("kept", "lost", "degraded", "over", "unexplained"), EXCUSED)
def test_what_was_lost_or_admitted_by_the_rule_for_outages_is_no_excess_of_the_store(
    kept: int, lost: int, degraded: int, over: int, unexplained: int
) -> None:
    """P1, P9: of the takes above the limit those have no excuse that a store admitted and the last primary has."""
    calls = [call("hot", f"hot-{number}", number) for number in range(kept + lost)]
    held = {one.id for one in calls[:kept]}
    by_rule = [call("hot", f"hot-{number}", 50, degraded=True) for number in range(90, 90 + degraded)]

    found = count_admissions([*calls, *by_rule], held | {"hot-90"}, TEN_A_SECOND)

    assert found == Admission(
        hot_admitted=kept + lost + degraded,
        hot_lost=lost,
        hot_degraded=degraded,
        over_admission=over,
        over_admission_unexplained=unexplained,
    )


def test_excuses_count_in_the_window_that_they_are_in() -> None:
    """P1: what was lost at another time excuses no window."""
    calls = [call("hot", f"hot-{number}", 0) for number in range(5)]
    later = [call("hot", f"hot-{number}", 5_000) for number in range(10, 22)]

    found = count_admissions([*calls, *later], {one.id for one in later}, TEN_A_SECOND)

    assert (found.hot_lost, found.over_admission, found.over_admission_unexplained) == (5, 2, 2)


def test_a_reply_of_another_is_counted() -> None:
    """A reply that carries another call's mark is found, whatever the operation."""
    assert losses.foreign([take(1, 0), take(2, 0, foreign=True), call("get", "put-1", 0, foreign=True)]) == 2


def marks(*told: tuple[float, Kind, str]) -> list[Mark]:
    return [Mark(at_ms=at_ms, kind=kind, who=who) for at_ms, kind, who in told]


def test_the_steps_of_a_failover_count_from_the_fault() -> None:
    """The steps are those of the first failover, and a second one is counted."""
    told = marks(
        (1_000, "sdown", "sentinel-1"),  # of another quarrel, before the fault
        (2_000, "fault", "server-1"),
        (4_100, "odown", "sentinel-2"),
        (4_050, "sdown", "sentinel-1"),
        (4_400, "promoted", "server-2"),
        (4_390, "generation", ""),
        (5_300, "switch", "sentinel-1"),
        (5_310, "switch", "sentinel-2"),
        (6_300, "switch", "sentinel-3"),
        (9_000, "switch", "sentinel-1"),
    )

    steps = timeline.measure(told, 1)

    assert steps == {
        "failovers": 2,
        "second_failovers": 1,
        "detected_ms": 2_050,
        "promoted_ms": 2_400,
        "announced_ms": 3_300,
        "announced_by_all_ms": 4_300,
        "switched_ms": 2_390,
    }
    assert timeline.first(told, "promoted", "generation") == 4_390


def test_durability_is_back_after_the_last_answer_without_it() -> None:
    """One durable answer between others does not make writes durable again: the last without a promise counts."""
    told = marks((100, "fault", "server-1"))
    calls = [
        call("create", "create-1", 50, 10, durable=False),
        call("create", "create-2", 300, 10, durable=False),
        call("create", "create-3", 400, 10, durable=True),
        call("revoke", "create-4", 500, 10, durable=False),
        call("create", "create-5", 600, 10, durable=True),
        call("create", "create-6", 700, 10, durable=False, failure="ambiguous"),
    ]

    assert timeline.not_durable_ms(told, calls) == 410
    assert timeline.not_durable_ms(told, calls[:1]) == 0
    assert timeline.not_durable_ms([], calls) is None


def test_what_did_not_happen_has_no_time() -> None:
    """Without a fault, or without an announcement, there is nothing to count from or to."""
    steps = timeline.measure(marks((5, "fault", "server-1")), 0)

    assert steps["failovers"] == steps["second_failovers"] == 0
    assert {name for name, value in steps.items() if value is None} == {
        *("detected_ms", "promoted_ms", "announced_ms", "announced_by_all_ms", "switched_ms"),
    }
    assert timeline.measure(marks((5, "switch", "sentinel-1")), 0)["announced_ms"] is None


def test_a_history_is_written_in_the_order_of_time() -> None:
    """A written history has one JSON line for the beginning and one for the end of each call, and one per mark."""
    calls = [
        take(1, 10, 90, failure="ambiguous"),
        take(2, 20, 5, failure="rejected"),
        call("create", "create-3", 30, 5, durable=True, late_ms=0.0004),
    ]

    written = history.encode("tollhouse", calls, marks((32, "fault", "server-1")))

    events = [msgspec.json.decode(line, type=HistoryEvent) for line in written.splitlines()]
    assert [(event.at_ms, event.type, event.call) for event in events] == [
        (10, "invoke", 0),
        (20, "invoke", 1),
        (25, "fail", 1),
        (30, "invoke", 2),
        (32, "mark", None),
        (35, "ok", 2),
        (100, "unknown", 0),
    ]
    assert (events[5].operation, events[5].id, events[5].durable) == ("create", "create-3", True)
    assert {event.client for event in events} == {"tollhouse"}
