"""The figures of a round, and their median and worst over several rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from msgspec import Struct, structs

from tollhouse.drill.results import availability, losses, timeline
from tollhouse.drill.results.admission import Admission, SharedLimit, count_admissions
from tollhouse.drill.results.history import FAILURES, OPERATIONS, Call, Failure, Mark, Operation

Figures = dict[str, float | None]
"""Values by the name of their measure; None is a value that could not be observed."""

MORE_IS_BETTER: Final = frozenset(
    {"calls", "answered", "plain_acknowledged", "durable_acknowledged", "revoked_durably", "hot_admitted", "cancelled"}
)


class StormResult(Struct, frozen=True, kw_only=True):
    """The calls of a cancel storm: cancelled, failed, or answered with the reply of another call.

    `missing` is by how many cancellations the storm fell short.
    """

    cancelled: int
    missing: int
    failed: int
    foreign: int


class RoundData(Struct, frozen=True, kw_only=True):
    """The data of a finished round: its calls and marks, what survived on the last primary, and what was expected."""

    calls: Sequence[Call]
    marks: Sequence[Mark]
    surviving: AbstractSet[str]
    span_ms: float
    deadline_ms: float
    hot: SharedLimit | None
    failovers_expected: int
    storm: StormResult | None
    reconnects: int | None
    leaked_slots: int | None


MEASURES: Final[dict[str, str]] = {
    "calls": "calls made",
    "answered": "calls answered by a store",
    "degraded": "calls answered by the outage rule",
    "takes_degraded": "takes answered by the outage rule",
    "errors": "errors that a user sees",
    "not_sent": "errors: not sent",
    "rejected": "errors: refused by a server",
    "ambiguous": "errors: sent and not answered",
    "defects": "errors that no fault explains",
    "gap_ms": "longest gap of any operation",
    "unavailable_ms": "time with less than 99 % served",
    "latency_p50_ms": "latency, median",
    "latency_p99_ms": "latency, 99 %",
    "longest_ms": "longest call",
    "over_deadline": "calls over their deadline",
    "lag_ms": "latest start of a call (load of the machine)",
    "plain_acknowledged": "plain writes acknowledged",
    "plain_lost": "plain writes acknowledged and lost",
    "takes_lost": "of these: takes",
    "creates_lost": "of these: sessions",
    "plain_lost_ms": "plain writes lost: time from the first to the last",
    "durable_acknowledged": "writes answered durable",
    "durable_lost": "writes answered durable and lost",
    "not_durable": "creates and revocations answered not durable",
    "revoked_durably": "sessions revoked, answered durable",
    "resurrected": "sessions revoked, answered durable, and accepted later",
    "resurrected_plain": "sessions revoked, not durable, and accepted later",
    "deposed": "acknowledgements accepted from a deposed primary",
    "ghosts": "writes that failed and are there",
    "unknown_applied": "writes of unknown outcome that are there",
    "hot_admitted": "takes admitted on the shared key",
    "hot_lost": "takes on the shared key acknowledged and lost",
    "hot_degraded": "takes on the shared key admitted by the outage rule",
    "over_admission": "takes above the limit in some window",
    "over_admission_unexplained": "takes above the limit without those that were lost or admitted by the outage rule",
    "foreign": "replies to the wrong caller",
    "cancelled": "calls cancelled",
    "cancellations_missing": "cancellations that the storm fell short of",
    "storm_failed": "calls of the storm that failed",
    "leaked_slots": "slots still taken by calls that are over",
    "reconnects": "connections made again",
    "failovers": "failovers",
    "second_failovers": "failovers beyond the expected",
    "detected_ms": "fault to the first +sdown or +odown",
    "promoted_ms": "fault to ROLE master of another server",
    "announced_ms": "fault to the first +switch-master",
    "announced_by_all_ms": "fault to +switch-master of the last Sentinel",
    "switched_ms": "fault to the client's new generation",
    "not_durable_ms": "fault to the last answer not durable",
}
"""Every measure in the order of the report, with its label."""


class PerOperation(Struct, frozen=True, kw_only=True):
    """The figures of one kind of call."""

    operation: Operation
    calls: int
    answered: int
    degraded: int
    errors: int
    gap_ms: float
    unavailable_ms: float
    latency_p99_ms: float | None


def per_operation(data: RoundData) -> tuple[PerOperation, ...]:
    """Return the figures of each kind of call that was made."""
    by_operation: dict[Operation, list[Call]] = {
        one: [call for call in data.calls if call.operation == one] for one in OPERATIONS
    }
    return tuple(
        PerOperation(
            operation=operation,
            calls=len(calls),
            answered=sum(call.served for call in calls),
            degraded=sum(call.degraded for call in calls),
            errors=sum(call.failure is not None for call in calls),
            gap_ms=availability.gap_ms(calls, data.span_ms),
            unavailable_ms=availability.unavailable_ms(availability.buckets(calls, data.span_ms)),
            latency_p99_ms=availability.latency_ms(calls, 0.99),
        )
        for operation, calls in by_operation.items()
        if calls
    )


def measure(data: RoundData) -> Figures:
    """Return every measure of a round."""
    storm = data.storm
    figures: Figures = {
        **_service(data),
        **_losses(data),
        **_admission(data),
        **timeline.measure(data.marks, data.failovers_expected),
        "not_durable_ms": timeline.not_durable_ms(data.marks, data.calls),
        "cancelled": None if storm is None else storm.cancelled,
        "cancellations_missing": None if storm is None else storm.missing,
        "storm_failed": None if storm is None else storm.failed,
        "foreign": losses.foreign(data.calls) + (0 if storm is None else storm.foreign),
        "leaked_slots": data.leaked_slots,
        "reconnects": data.reconnects,
    }
    return {name: figures[name] for name in MEASURES}


def no_figures() -> Figures:
    """Return the figures of a round that could not be measured: all None."""
    return dict.fromkeys(MEASURES)


def median(rounds: Iterable[Figures]) -> Figures:
    """Return the median of each measure, or None if a round lacks the measure."""
    return _over(rounds, lambda _, values: statistics.median(values))


def worst(rounds: Iterable[Figures]) -> Figures:
    """Return the worst value of each measure, or None if a round lacks the measure."""
    return _over(rounds, lambda name, values: min(values) if name in MORE_IS_BETTER else max(values))


def _over(rounds: Iterable[Figures], choose: Callable[[str, list[float]], float]) -> Figures:
    rounds = list(rounds)
    chosen: Figures = {}
    for name in MEASURES:
        values = [value for figures in rounds if (value := figures[name]) is not None]
        chosen[name] = choose(name, values) if values and len(values) == len(rounds) else None
    return chosen


def _service(data: RoundData) -> Figures:
    calls = data.calls
    failed = {kind: sum(call.failure == kind for call in calls) for kind in FAILURES}
    return {
        "calls": len(calls),
        "answered": sum(call.served for call in calls),
        "degraded": sum(call.degraded for call in calls),
        "takes_degraded": sum(call.degraded for call in calls if call.operation in ("take", "hot")),
        "errors": sum(failed.values()),
        "not_sent": failed["not-sent"],
        "rejected": failed["rejected"],
        "ambiguous": failed["ambiguous"],
        "defects": failed["defect"],
        "gap_ms": max((one.gap_ms for one in per_operation(data)), default=data.span_ms),
        "unavailable_ms": availability.unavailable_ms(availability.buckets(calls, data.span_ms)),
        "latency_p50_ms": availability.latency_ms(calls, 0.5),
        "latency_p99_ms": availability.latency_ms(calls, 0.99),
        "longest_ms": availability.longest_ms(calls),
        "over_deadline": availability.over_deadline(calls, data.deadline_ms),
        "lag_ms": availability.lag_ms(calls),
    }


def _losses(data: RoundData) -> Figures:
    calls, surviving = data.calls, data.surviving
    plain_lost = losses.lost(calls, surviving, durable=False)
    revoked = {call.id for call in calls if call.operation == "revoke" and call.served and call.durable}
    promoted = timeline.first(data.marks, "promoted", "generation")
    unknown: frozenset[Failure] = frozenset({"ambiguous", "defect"})
    return {
        "plain_acknowledged": len(losses.acknowledged(calls, durable=False)),
        "plain_lost": len(plain_lost),
        "takes_lost": sum(call.operation == "take" for call in plain_lost),
        "creates_lost": sum(call.operation == "create" for call in plain_lost),
        "plain_lost_ms": losses.span_ms(plain_lost),
        "durable_acknowledged": len(losses.acknowledged(calls, durable=True)),
        "durable_lost": len(losses.lost(calls, surviving, durable=True)),
        "not_durable": sum(call.served and call.durable is False for call in calls),
        "revoked_durably": len(revoked),
        "resurrected": losses.resurrected(calls, surviving, durable=True),
        "resurrected_plain": losses.resurrected(calls, surviving, durable=False),
        "deposed": losses.deposed(calls, surviving, promoted),
        "ghosts": losses.ghosts(calls, surviving),
        "unknown_applied": losses.ghosts(calls, surviving, failures=unknown),
    }


def _admission(data: RoundData) -> Figures:
    if data.hot is None:
        return dict.fromkeys(Admission.__struct_fields__)
    return structs.asdict(count_admissions(data.calls, data.surviving, data.hot))
