"""The measures of a round, and their median and worst over several."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from msgspec import Struct

from tollhouse.drill.results import availability, losses, timeline
from tollhouse.drill.results.admission import Window, admission
from tollhouse.drill.results.history import FAILURES, OPERATIONS, Call, Failure, Mark, Operation
from tollhouse.drill.storm import Stormed

Figures = dict[str, float | None]
"""Measures by name; None is what could not be observed."""

MORE_IS_BETTER: Final = frozenset(
    {"calls", "answered", "plain_acknowledged", "durable_acknowledged", "revoked_durably", "hot_admitted", "cancelled"}
)
_ADMISSION: Final = ("hot_admitted", "hot_lost", "hot_degraded", "over_admission", "over_admission_unexplained")


class Seen(Struct, frozen=True, kw_only=True):
    """Everything that is known of a round when it is over."""

    calls: Sequence[Call]
    marks: Sequence[Mark]
    held: AbstractSet[str]
    span_ms: float
    deadline_ms: float
    hot: Window | None
    failovers_expected: int
    stormed: Stormed | None
    reconnects: int | None
    leaked_slots: int | None


MEASURES: Final[dict[str, str]] = {
    "calls": "calls made",
    "answered": "calls answered by a store",
    "degraded": "calls answered by a rule for outages",
    "takes_degraded": "takes answered by a rule for outages",
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
    "hot_degraded": "takes on the shared key admitted by the rule for outages",
    "over_admission": "takes above the limit in some window",
    "over_admission_unexplained": "takes above the limit without those that were lost or the rule for outages admitted",
    "foreign": "replies to the wrong caller",
    "cancelled": "calls cancelled",
    "cancellations_missing": "cancellations that were not reached",
    "storm_failed": "calls of the storm that failed",
    "leaked_slots": "slots of calls that are over, still taken",
    "reconnects": "connections made anew",
    "failovers": "failovers",
    "second_failovers": "failovers beyond the expected",
    "detected_ms": "fault to the first +sdown or +odown",
    "promoted_ms": "fault to ROLE master of another server",
    "announced_ms": "fault to the first +switch-master",
    "announced_by_all_ms": "fault to +switch-master of the last Sentinel",
    "switched_ms": "fault to the client's new generation",
    "not_durable_ms": "fault to the last answer not durable",
}
"""Every measure in the order of the report, in words."""


class PerOperation(Struct, frozen=True, kw_only=True):
    """What one kind of call went through."""

    operation: Operation
    calls: int
    answered: int
    degraded: int
    errors: int
    gap_ms: float
    unavailable_ms: float
    latency_p99_ms: float | None


def per_operation(seen: Seen) -> tuple[PerOperation, ...]:
    """Measure each kind of call that was made."""
    sorted_out: dict[Operation, list[Call]] = {
        one: [call for call in seen.calls if call.operation == one] for one in OPERATIONS
    }
    return tuple(
        PerOperation(
            operation=operation,
            calls=len(calls),
            answered=sum(call.served for call in calls),
            degraded=sum(call.degraded for call in calls),
            errors=sum(call.failure is not None for call in calls),
            gap_ms=availability.gap_ms(calls, seen.span_ms),
            unavailable_ms=availability.unavailable_ms(availability.buckets(calls, seen.span_ms)),
            latency_p99_ms=availability.latency_ms(calls, 0.99),
        )
        for operation, calls in sorted_out.items()
        if calls
    )


def measure(seen: Seen) -> Figures:
    """Give every measure of a round."""
    stormed = seen.stormed
    figures: Figures = {
        **_service(seen),
        **_losses(seen),
        **_admission(seen),
        **timeline.measure(seen.marks, seen.failovers_expected),
        "not_durable_ms": timeline.not_durable_ms(seen.marks, seen.calls),
        "cancelled": None if stormed is None else stormed.cancelled,
        "cancellations_missing": None if stormed is None else stormed.missing,
        "storm_failed": None if stormed is None else stormed.failed,
        "foreign": losses.foreign(seen.calls) + (0 if stormed is None else stormed.foreign),
        "leaked_slots": seen.leaked_slots,
        "reconnects": seen.reconnects,
    }
    return {name: figures[name] for name in MEASURES}


def nothing() -> Figures:
    """Give the figures of a round that could not be measured."""
    return dict.fromkeys(MEASURES)


def median(rounds: Iterable[Figures]) -> Figures:
    """Give the middle of each measure; a measure that some round lacks has none."""
    return _over(rounds, lambda _, values: statistics.median(values))


def worst(rounds: Iterable[Figures]) -> Figures:
    """Give the worst of each measure; a measure that some round lacks has none."""
    return _over(rounds, lambda name, values: min(values) if name in MORE_IS_BETTER else max(values))


def _over(rounds: Iterable[Figures], choose: Callable[[str, list[float]], float]) -> Figures:
    rounds = list(rounds)
    chosen: Figures = {}
    for name in MEASURES:
        values = [value for figures in rounds if (value := figures[name]) is not None]
        chosen[name] = choose(name, values) if values and len(values) == len(rounds) else None
    return chosen


def _service(seen: Seen) -> Figures:
    calls = seen.calls
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
        "gap_ms": max((one.gap_ms for one in per_operation(seen)), default=seen.span_ms),
        "unavailable_ms": availability.unavailable_ms(availability.buckets(calls, seen.span_ms)),
        "latency_p50_ms": availability.latency_ms(calls, 0.5),
        "latency_p99_ms": availability.latency_ms(calls, 0.99),
        "longest_ms": availability.longest_ms(calls),
        "over_deadline": availability.over_deadline(calls, seen.deadline_ms),
        "lag_ms": availability.lag_ms(calls),
    }


def _losses(seen: Seen) -> Figures:
    calls, held = seen.calls, seen.held
    plain_lost = losses.lost(calls, held, durable=False)
    revoked = {call.id for call in calls if call.operation == "revoke" and call.served and call.durable}
    promoted = timeline.first(seen.marks, "promoted", "generation")
    unknown: frozenset[Failure] = frozenset({"ambiguous", "defect"})
    return {
        "plain_acknowledged": len(losses.acknowledged(calls, durable=False)),
        "plain_lost": len(plain_lost),
        "plain_lost_ms": losses.span_ms(plain_lost),
        "durable_acknowledged": len(losses.acknowledged(calls, durable=True)),
        "durable_lost": len(losses.lost(calls, held, durable=True)),
        "not_durable": sum(call.served and call.durable is False for call in calls),
        "revoked_durably": len(revoked),
        "resurrected": losses.resurrected(calls, held, durable=True),
        "resurrected_plain": losses.resurrected(calls, held, durable=False),
        "deposed": losses.deposed(calls, held, promoted),
        "ghosts": losses.ghosts(calls, held),
        "unknown_applied": losses.ghosts(calls, held, failures=unknown),
    }


def _admission(seen: Seen) -> Figures:
    if seen.hot is None:
        return dict.fromkeys(_ADMISSION)
    found = admission(seen.calls, seen.held, seen.hot)
    return {
        "hot_admitted": found.admitted,
        "hot_lost": found.lost,
        "hot_degraded": found.degraded,
        "over_admission": found.over,
        "over_admission_unexplained": found.unexplained,
    }
