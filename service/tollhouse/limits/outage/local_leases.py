"""Leases of one process, for while the store does not answer: the same rules, over a dictionary."""

from __future__ import annotations

from typing import Final

from tollhouse.clock import MonotonicClock, monotonic_ms
from tollhouse.limits.algorithms import concurrency as permits
from tollhouse.limits.algorithms.concurrency import Leases, LeaseVerdict
from tollhouse.limits.decision import Decision, LimitState
from tollhouse.limits.policy.policy import Limit
from tollhouse.limits.wire.reply import decision_from_verdict
from tollhouse.limits.wire.request import TakeRequest

SUBJECTS_MAX: Final = 10_000
"""How many subjects may hold permits at a time; one more is refused."""


class LocalLeases:
    """Permits that this process gives out by itself, of its share of the limit; no other process knows of them."""

    def __init__(self, *, clock: MonotonicClock = monotonic_ms, most: int = SUBJECTS_MAX) -> None:
        self._clock = clock
        self._most = most
        self._held: dict[str, Leases] = {}

    def lease(self, asked: TakeRequest, lease_id: str) -> Decision:
        """Give a permit to a lease, or refuse."""
        limit = asked.compiled.local_share.limits[0]
        verdict = self._lease(limit, asked.state_key, lease_id)
        standing = LimitState(
            limit=limit.units,
            window_ms=limit.window_ms,
            remaining=verdict.remaining,
            reset_after_ms=verdict.reset_after_ms,
        )
        refused_by, retry_after_ms = (0, 0) if verdict.retry_after_ms is None else (1, verdict.retry_after_ms)
        return decision_from_verdict(asked, refused_by, retry_after_ms, (standing,), degraded=True)

    def renew(self, limit: Limit, state: str, lease_id: str) -> bool:
        """Let a lease last anew; False where it is over or unknown."""
        renewed, held = permits.renew(limit, self._held.get(state, {}), lease_id, self._clock())
        if renewed:
            self._keep(state, held)
        return renewed

    def release(self, state: str, lease_id: str) -> bool:
        """End a lease; False where it is over or unknown."""
        released, held = permits.release(self._held.get(state, {}), lease_id, self._clock())
        if released:
            self._held[state] = held
        return released

    def _lease(self, limit: Limit, state: str, lease_id: str) -> LeaseVerdict:
        now_ms = self._clock()
        self._forget(now_ms)
        if len(self._held) >= self._most and state not in self._held:
            return LeaseVerdict(
                retry_after_ms=limit.window_ms, remaining=0, reset_after_ms=limit.window_ms, too_far_ahead=0
            )
        verdict, held = permits.lease(limit, self._held.get(state, {}), lease_id, now_ms)
        if verdict.allowed:
            self._keep(state, held)
        return verdict

    def _keep(self, state: str, held: Leases) -> None:
        """Write a state down as the newest, so that those nobody renews come to the front."""
        self._held.pop(state, None)
        self._held[state] = held

    def _forget(self, now_ms: int) -> None:
        """Drop subjects whose leases are all over, as far as they are in front."""
        while self._held:
            state, held = next(iter(self._held.items()))
            if any(end_ms > now_ms for end_ms in held.values()):
                return
            del self._held[state]
