"""Reads what the scripts of limits reply: flat numbers, in the order of what was asked.

A reply begins with the numbers of foreign values, and of entries that were not believed. A decision is the window that
refused or 0, the wait or -1 for never, then where each window stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from tollhouse.limits.algorithms.holds import FULL
from tollhouse.limits.decision import Decision, LimitState, Reason
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.metrics import Metrics

FIRST_DECISION: Final = 2
"""Where the first decision of a reply begins."""
NEVER: Final = -1


def count_discarded(metrics: Metrics, reply: Sequence[int]) -> None:
    """Count the stored values that a script could not use."""
    for _ in range(reply[0]):
        metrics.discarded_state("foreign")
    for _ in range(reply[1]):
        metrics.discarded_state("clock-ahead")


def decision_length(asked: TakeRequest) -> int:
    """Tell how many numbers a decision takes."""
    return 2 + 2 * len(asked.compiled.windows)


def decision_at(asked: TakeRequest, reply: Sequence[int], at: int) -> Decision:
    """Read the decision on a take."""
    return decision_from_verdict(asked, reply[at], reply[at + 1], limit_states_at(asked, reply, at + 2))


def limit_states_at(asked: TakeRequest, reply: Sequence[int], at: int) -> tuple[LimitState, ...]:
    """Read where each window stands."""
    states: list[LimitState] = []
    for units, window_ms in asked.compiled.windows:
        states.append(LimitState(limit=units, window_ms=window_ms, remaining=reply[at], reset_after_ms=reply[at + 1]))
        at += 2
    return tuple(states)


def decision_from_verdict(
    asked: TakeRequest,
    refused_by: int,
    retry_after_ms: int,
    limits: tuple[LimitState, ...],
    *,
    degraded: bool = False,
) -> Decision:
    """Say as a decision which window refuses, counted from 1, and for how long; a shadow refuses nothing.

    Where it is `FULL` no window does, but there are as many reservations as can be kept.
    """
    prepared = asked.compiled
    if refused_by == 0:
        return Decision(
            allowed=True,
            policy=prepared.name,
            key=asked.key,
            cost=asked.cost,
            limits=limits,
            retry_after_ms=None,
            refused_by=None,
            degraded=degraded,
        )
    shadow = prepared.policy.shadow
    reason: Reason = "limit-reached" if retry_after_ms != NEVER else "cost-above-limit"
    return Decision(
        allowed=shadow,
        policy=prepared.name,
        key=asked.key,
        cost=asked.cost,
        limits=limits,
        retry_after_ms=None if shadow or retry_after_ms == NEVER else retry_after_ms,
        refused_by=None if refused_by == FULL else prepared.limit_texts[refused_by - 1],
        degraded=degraded,
        reason="shadow" if shadow else reason,
    )


def granted_units(asked: TakeRequest, units: int, decision: Decision) -> Decision:
    """Say how many units are granted of those that were asked for; a shadow grants all, whatever it counts."""
    if not asked.compiled.policy.shadow:
        return replace(decision, cost=units)
    return replace(decision, cost=asked.cost, reason="shadow" if units < asked.cost else decision.reason)


def decision_without_limits(
    asked: TakeRequest,
    reason: Reason,
    *,
    allowed: bool,
    retry_after_ms: int | None = None,
    degraded: bool = False,
) -> Decision:
    """Say as a decision what was decided without asking any limit."""
    return Decision(
        allowed=allowed,
        policy=asked.compiled.name,
        key=asked.key,
        cost=asked.cost,
        limits=(),
        retry_after_ms=retry_after_ms,
        refused_by=None,
        degraded=degraded,
        reason=reason,
    )


def outcome(decision: Decision) -> str:
    """Give the word under which a decision is counted."""
    word = "allowed" if decision.allowed else "refused"
    if decision.reason == "shadow":
        word = "shadow-refused"
    return f"degraded-{word}" if decision.degraded else word
