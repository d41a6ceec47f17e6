"""Decodes the replies of the limit scripts: flat arrays of integers, in the order of the requests.

A reply begins with two numbers: the stored values that were not ours, and the counters and holds that were ignored
because they are too far ahead of the clock. Each decision is the window that refused (0: none), the wait in ms (-1: no
wait will help), and for each window the units that remain and the ms until it is fully restored. What takes admit under
one window is a number below 0 in place of all these: a script writes it, and a client reads it, in half the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from tollhouse.limits.algorithms.evaluate import FULL
from tollhouse.limits.decision import Decision, LimitState, Reason
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.metrics import Metrics

FIRST_DECISION: Final = 2
"""The position in a reply at which the first decision begins."""
NEVER: Final = -1


def count_discarded(metrics: Metrics, reply: Sequence[int]) -> None:
    """Count the stored values that the script had to ignore."""
    for _ in range(reply[0]):
        metrics.discarded_state("foreign")
    for _ in range(reply[1]):
        metrics.discarded_state("clock-ahead")


def decision_length(request: TakeRequest) -> int:
    """Return how many numbers the decision on the request has."""
    return 2 + 2 * len(request.compiled.windows)


def decision_at(request: TakeRequest, reply: Sequence[int], at: int) -> Decision:
    """Return the decision that begins at position `at`."""
    return decision_from_verdict(request, reply[at], reply[at + 1], limit_states_at(request, reply, at + 2))


def packed_decision(request: TakeRequest, number: int) -> Decision:
    """Return the decision that admits the request under its only limit, from one number below 0."""
    compiled = request.compiled
    ((units, window_ms),) = compiled.windows
    remaining, reset_after_ms = divmod(-number, 2 * (window_ms + 1))
    state = LimitState(limit=units, window_ms=window_ms, remaining=remaining, reset_after_ms=reset_after_ms)
    return Decision(
        allowed=True,
        policy=compiled.name,
        key=request.key,
        cost=request.cost,
        limits=(state,),
        retry_after_ms=None,
        refused_by=None,
    )


def limit_states_at(request: TakeRequest, reply: Sequence[int], at: int) -> tuple[LimitState, ...]:
    """Return the states of the limits that begin at position `at`."""
    windows = request.compiled.windows
    if len(windows) == 1:  # nearly all policies; a loop takes twice as long
        ((units, window_ms),) = windows
        return (LimitState(limit=units, window_ms=window_ms, remaining=reply[at], reset_after_ms=reply[at + 1]),)
    states: list[LimitState] = []
    for units, window_ms in windows:
        states.append(LimitState(limit=units, window_ms=window_ms, remaining=reply[at], reset_after_ms=reply[at + 1]))
        at += 2
    return tuple(states)


def decision_from_verdict(
    request: TakeRequest,
    refused_by: int,
    retry_after_ms: int,
    limits: tuple[LimitState, ...],
    *,
    degraded: bool = False,
) -> Decision:
    """Return the decision that a script's verdict means; if the policy is a shadow, the take is allowed anyway.

    `refused_by` is the window that refuses, counted from 1; 0 if none does, and `FULL` if the key has too many
    reservations.
    """
    compiled = request.compiled
    if refused_by == 0:
        return Decision(
            allowed=True,
            policy=compiled.name,
            key=request.key,
            cost=request.cost,
            limits=limits,
            retry_after_ms=None,
            refused_by=None,
            degraded=degraded,
        )
    shadow = compiled.policy.shadow
    reason: Reason = "limit-reached" if retry_after_ms != NEVER else "cost-above-limit"
    return Decision(
        allowed=shadow,
        policy=compiled.name,
        key=request.key,
        cost=request.cost,
        limits=limits,
        retry_after_ms=None if shadow or retry_after_ms == NEVER else retry_after_ms,
        refused_by=None if refused_by == FULL else compiled.limit_texts[refused_by - 1],
        degraded=degraded,
        reason="shadow" if shadow else reason,
    )


def with_lease(request: TakeRequest, peeked: Decision, left: int) -> Decision:
    """Return what a take would find if this process has `left` units of the key on lease."""
    if left == 0:
        return peeked
    limits = tuple(replace(state, remaining=state.remaining + left) for state in peeked.limits)
    if left < request.cost:
        return replace(peeked, limits=limits)
    return decision_from_verdict(request, 0, 0, limits)


def granted_units(request: TakeRequest, units: int, decision: Decision) -> Decision:
    """Return the decision with the granted `units` as its cost; a shadow grants all that were requested."""
    if not request.compiled.policy.shadow:
        return replace(decision, cost=units)
    return replace(decision, cost=request.cost, reason="shadow" if units < request.cost else decision.reason)


def decision_without_limits(
    request: TakeRequest,
    reason: Reason,
    *,
    allowed: bool,
    retry_after_ms: int | None = None,
    degraded: bool = False,
) -> Decision:
    """Return a decision that was made without consulting a limit."""
    return Decision(
        allowed=allowed,
        policy=request.compiled.name,
        key=request.key,
        cost=request.cost,
        limits=(),
        retry_after_ms=retry_after_ms,
        refused_by=None,
        degraded=degraded,
        reason=reason,
    )


def outcome(decision: Decision) -> str:
    """Return the label under which the decision is counted."""
    word = "allowed" if decision.allowed else "refused"
    if decision.reason == "shadow":
        word = "shadow-refused"
    return f"degraded-{word}" if decision.degraded else word
