"""The steps of a failover, timed from the fault: pure functions of the marks of a round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from tollhouse.drill.results.history import Call, Kind, Mark

_DETECTED: Final = frozenset[Kind]({"sdown", "odown"})


def measure(marks: Sequence[Mark], failovers_expected: int) -> dict[str, float | None]:
    """Return the steps of the first failover, in milliseconds after the fault, and the number of failovers."""
    fault = first(marks, "fault")
    after = [mark for mark in marks if fault is not None and mark.at_ms >= fault]
    switches = sorted((mark for mark in after if mark.kind == "switch"), key=lambda mark: mark.at_ms)
    failovers = max(Counter(mark.who for mark in switches).values(), default=0)
    announced = {mark.who: mark.at_ms for mark in reversed(switches)}.values()  # the first of each Sentinel
    return {
        "failovers": failovers,
        "second_failovers": max(failovers - failovers_expected, 0),
        "detected_ms": _since(fault, (mark.at_ms for mark in after if mark.kind in _DETECTED)),
        "promoted_ms": _since(fault, (mark.at_ms for mark in after if mark.kind == "promoted")),
        "announced_ms": _since(fault, announced),
        "announced_by_all_ms": _since(fault, sorted(announced)[-1:]),
        "switched_ms": _since(fault, (mark.at_ms for mark in after if mark.kind == "generation")),
    }


def not_durable_ms(marks: Sequence[Mark], calls: Iterable[Call]) -> float | None:
    """Return the time from the fault to the last reply that was not durable; 0 if all were, None without a fault."""
    fault = first(marks, "fault")
    if fault is None:
        return None
    answered = (call.ended_ms for call in calls if call.served and call.durable is False)
    return max((ended - fault for ended in answered if ended > fault), default=0.0)


def first(marks: Iterable[Mark], *kinds: Kind) -> float | None:
    """Return the time of the first mark of these kinds, or None if there is none."""
    return min((mark.at_ms for mark in marks if mark.kind in kinds), default=None)


def _since(fault: float | None, moments: Iterable[float]) -> float | None:
    moment = min(moments, default=None)
    return None if fault is None or moment is None else moment - fault
