"""Hand-made histories: calls as a test would tell them, in one line each."""

from __future__ import annotations

from tollhouse.drill.results.history import Call, Failure, Operation


def call(
    operation: Operation,
    subject: str,
    due_ms: float,
    took_ms: float = 1,
    *,
    failure: Failure | None = None,
    accepted: bool = True,
    durable: bool | None = None,
    degraded: bool = False,
    foreign: bool = False,
    late_ms: float = 0,
) -> Call:
    """A call that was due at one moment, began `late_ms` after it and took `took_ms` from then."""
    return Call(
        operation=operation,
        id=subject,
        due_ms=due_ms,
        began_ms=due_ms + late_ms,
        ended_ms=due_ms + late_ms + took_ms,
        failure=failure,
        accepted=accepted,
        durable=durable,
        degraded=degraded,
        foreign=foreign,
    )


def take(number: int, due_ms: float, took_ms: float = 1, **how: object) -> Call:
    """A take on a key of its own."""
    return call("take", f"take-{number}", due_ms, took_ms, **how)  # type: ignore[arg-type] - the members of a call
