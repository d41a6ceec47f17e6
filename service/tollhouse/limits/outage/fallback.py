"""Decides while the store does not answer, by what each policy says about outages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tollhouse.limits.algorithms.evaluate import LimitStatus, Verdict
from tollhouse.limits.algorithms.holds import FULL
from tollhouse.limits.decision import Decision, LimitState, Settlement
from tollhouse.limits.outage.local_limiter import LocalLimiter
from tollhouse.limits.wire.reply import NEVER, decision_from_verdict, decision_without_limits, granted_units
from tollhouse.limits.wire.request import TakeRequest

LOCAL: Final = "local-"
"""What the ids of reservations begin with that only this process knows."""
RETRY_AFTER_MS: Final = 1_000
"""What a refusal says for want of a store: nobody knows when it is back."""


class Fallback:
    """Answers for the store: `open` admits, `closed` refuses, `local` counts in this process.

    A cost above a limit is refused under each of them, and a shadow refuses nothing. What `local` says of a limit is
    said of the part that this process may give out.
    """

    def __init__(self, local: LocalLimiter) -> None:
        self._local = local

    def end(self) -> None:
        """Forget what was counted in this process: the store replied."""
        self._local.clear()

    def take(self, asked: TakeRequest) -> Decision:
        """Decide one take."""
        above = asked.cost > asked.compiled.capacity
        return _above(asked) if above else self._by_policy(asked)

    def take_up_to(self, asked: TakeRequest) -> Decision:
        """Decide how many are granted of the units that are asked for."""
        if asked.compiled.policy.on_outage != "local":
            decision = self._by_policy(asked)
            return granted_units(asked, asked.cost if decision.allowed else 0, decision)
        units, verdict = self._local.take_up_to(asked)
        return granted_units(asked, units, _decided(asked, verdict))

    def reserve(self, asked: TakeRequest, name: str, held_ms: int) -> tuple[Decision, bool]:
        """Decide a reservation, and tell whether units are held for it: `open` holds none."""
        if asked.compiled.policy.on_outage != "local" or asked.cost > asked.compiled.capacity:
            return self.take(asked), False
        verdict = self._local.reserve(asked, name, held_ms)
        return _decided(asked, verdict), verdict.allowed

    def settle(self, asked: TakeRequest, name: str) -> Settlement:
        """Settle a reservation that this process holds; with the outage all of them are forgotten."""
        settled, standings = self._local.settle(asked, name)
        return Settlement(
            settled=settled, decision=decision_from_verdict(asked, 0, 0, _states(asked, standings), degraded=True)
        )

    def take_all(self, members: Sequence[TakeRequest]) -> list[Decision]:
        """Decide takes that are charged together or not at all, by the strictest rule among them.

        One that refuses, for whatever reason, keeps the others from being charged; they are decided as if alone.
        """
        decisions = [self._preview(asked) for asked in members]
        if all(decision.allowed for decision in decisions):
            return [self.take(asked) for asked in members]
        return decisions

    def _by_policy(self, asked: TakeRequest) -> Decision:
        rule = asked.compiled.policy.on_outage
        if rule == "local":
            return _decided(asked, self._local.take(asked))
        return (
            decision_without_limits(asked, "outage", allowed=True, degraded=True) if rule == "open" else _refused(asked)
        )

    def _preview(self, asked: TakeRequest) -> Decision:
        """Tell what `take` would decide, and charge nothing."""
        if asked.cost <= asked.compiled.capacity and asked.compiled.policy.on_outage == "local":
            return _decided(asked, self._local.peek(asked))
        return self.take(asked)


def _above(asked: TakeRequest) -> Decision:
    """Refuse a cost that no wait will help."""
    limits = asked.compiled.policy.limits
    refused_by = next(i for i, limit in enumerate(limits, 1) if asked.cost > limit.capacity)
    return decision_from_verdict(asked, refused_by, NEVER, (), degraded=True)


def _refused(asked: TakeRequest) -> Decision:
    if asked.compiled.policy.shadow:
        return decision_without_limits(asked, "shadow", allowed=True, degraded=True)
    return decision_without_limits(asked, "outage", allowed=False, retry_after_ms=RETRY_AFTER_MS, degraded=True)


def _decided(asked: TakeRequest, verdict: Verdict) -> Decision:
    if verdict.refused_by is not None and verdict.retry_after_ms is None:
        return _refused(asked)  # within the limit, but more than this process may give out
    states = _states(asked, verdict.statuses)
    if verdict.refused_by is None:
        return decision_from_verdict(asked, 0, 0, states, degraded=True)
    assert verdict.retry_after_ms is not None
    refused_by = FULL if verdict.refused_by == FULL else verdict.refused_by + 1
    return decision_from_verdict(asked, refused_by, verdict.retry_after_ms, states, degraded=True)


def _states(asked: TakeRequest, standings: Sequence[LimitStatus]) -> tuple[LimitState, ...]:
    return tuple(
        LimitState(
            limit=limit.units,
            window_ms=limit.window_ms,
            remaining=standing.remaining,
            reset_after_ms=standing.reset_after_ms,
        )
        for limit, standing in zip(asked.compiled.local_share.limits, standings, strict=True)
    )
