"""Decides while the store does not answer, by the outage rule of each policy: `open`, `closed` or `local`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tollhouse.limits.algorithms.concurrency import LeaseVerdict
from tollhouse.limits.algorithms.evaluate import FULL, LimitStatus, Verdict
from tollhouse.limits.decision import Decision, LimitState, Settlement
from tollhouse.limits.outage.local_limiter import LocalLimiter
from tollhouse.limits.wire.reply import NEVER, decision_from_verdict, decision_without_limits, granted_units
from tollhouse.limits.wire.request import TakeRequest

LOCAL: Final = "local-"
"""Prefix of the ids of reservations and leases that only this process knows."""
RETRY_AFTER_MS: Final = 1_000
"""The wait that a refusal states during an outage: the time of recovery is unknown."""


class Fallback:
    """Decides in place of the store: `open` admits, `closed` refuses, `local` counts this process's share in `local`.

    A cost above a limit is refused under every rule, and a shadow refuses nothing.
    """

    def __init__(self, local: LocalLimiter) -> None:
        self.local = local

    def take(self, request: TakeRequest) -> Decision:
        """Decide one take."""
        if request.cost > request.compiled.capacity:
            return _above_limit(request)
        return self._by_policy(request)

    def take_up_to(self, request: TakeRequest) -> Decision:
        """Decide how many of the requested units are granted."""
        if request.compiled.policy.on_outage != "local":
            decision = self._by_policy(request)
            return granted_units(request, request.cost if decision.allowed else 0, decision)
        units, verdict = self.local.take_up_to(request)
        return granted_units(request, units, _decision(request, verdict))

    def take_all(self, members: Sequence[TakeRequest]) -> list[Decision]:
        """Decide takes that are charged all or none, by the strictest rule among them.

        If one is refused, for whatever reason, none is charged, and each decision is what it would be alone.
        """
        decisions = [self._preview(request) for request in members]
        if all(decision.allowed for decision in decisions):
            return [self.take(request) for request in members]
        return decisions

    def reserve(self, request: TakeRequest, reservation_id: str, hold_ms: int) -> tuple[Decision, bool]:
        """Decide a reservation; return also whether units are held for it, which `open` never does."""
        if request.compiled.policy.on_outage != "local" or request.cost > request.compiled.capacity:
            return self.take(request), False
        verdict = self.local.reserve(request, reservation_id, hold_ms)
        return _decision(request, verdict), verdict.allowed

    def settle(self, request: TakeRequest, reservation_id: str) -> Settlement:
        """Settle a reservation that this process holds; all of them end with the outage."""
        settled, statuses = self.local.settle(request, reservation_id)
        decision = decision_from_verdict(request, 0, 0, _limit_states(request, statuses), degraded=True)
        return Settlement(settled=settled, decision=decision)

    def lease(self, request: TakeRequest, lease_id: str) -> tuple[Decision, bool]:
        """Decide a lease; return also whether a permit is held for it, which `open` never does."""
        if request.compiled.policy.on_outage != "local":
            return self.take(request), False
        verdict = self.local.lease(request, lease_id)
        refused_by, retry_after_ms = (0, 0) if verdict.retry_after_ms is None else (1, verdict.retry_after_ms)
        states = _limit_states(request, (verdict,))
        return decision_from_verdict(request, refused_by, retry_after_ms, states, degraded=True), verdict.allowed

    def _by_policy(self, request: TakeRequest) -> Decision:
        match request.compiled.policy.on_outage:
            case "local":
                return _decision(request, self.local.take(request))
            case "open":
                return decision_without_limits(request, "outage", allowed=True, degraded=True)
            case _:
                return _refusal(request)

    def _preview(self, request: TakeRequest) -> Decision:
        """Return what `take` would decide, and charge nothing."""
        if request.cost <= request.compiled.capacity and request.compiled.policy.on_outage == "local":
            return _decision(request, self.local.peek(request))
        return self.take(request)


def _above_limit(request: TakeRequest) -> Decision:
    """Refuse a cost that no wait will help."""
    limits = request.compiled.policy.limits
    refused_by = next(i for i, limit in enumerate(limits, 1) if request.cost > limit.capacity)
    return decision_from_verdict(request, refused_by, NEVER, (), degraded=True)


def _refusal(request: TakeRequest) -> Decision:
    if request.compiled.policy.shadow:
        return decision_without_limits(request, "shadow", allowed=True, degraded=True)
    return decision_without_limits(request, "outage", allowed=False, retry_after_ms=RETRY_AFTER_MS, degraded=True)


def _decision(request: TakeRequest, verdict: Verdict) -> Decision:
    if verdict.refused_by is not None and verdict.retry_after_ms is None:
        return _refusal(request)  # within the limit, but above the share of this process
    states = _limit_states(request, verdict.statuses)
    if verdict.refused_by is None:
        return decision_from_verdict(request, 0, 0, states, degraded=True)
    assert verdict.retry_after_ms is not None
    refused_by = FULL if verdict.refused_by == FULL else verdict.refused_by + 1
    return decision_from_verdict(request, refused_by, verdict.retry_after_ms, states, degraded=True)


def _limit_states(request: TakeRequest, statuses: Sequence[LimitStatus | LeaseVerdict]) -> tuple[LimitState, ...]:
    return tuple(
        LimitState(
            limit=limit.units,
            window_ms=limit.window_ms,
            remaining=status.remaining,
            reset_after_ms=status.reset_after_ms,
        )
        for limit, status in zip(request.compiled.local_share.limits, statuses, strict=True)
    )
