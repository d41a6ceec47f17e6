"""Turns a reply of the store, or its absence, into decisions; every decision is counted, and refusals are cached."""

from __future__ import annotations

from collections.abc import Sequence

from tollhouse.limits.calls.refusal_cache import RefusalCache
from tollhouse.limits.decision import Decision
from tollhouse.limits.outage.fallback import Fallback
from tollhouse.limits.quota.leases import QuotaLeases
from tollhouse.limits.wire.reply import (
    FIRST_DECISION,
    count_discarded,
    decision_at,
    decision_length,
    decision_without_limits,
    outcome,
    packed_decision,
)
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.metrics import Metrics


class Decider:
    """Decides for all verbs that take units. `decode` alone does not count: its caller may change the decision."""

    def __init__(self, metrics: Metrics, refusals: RefusalCache, fallback: Fallback, quota: QuotaLeases) -> None:
        self._metrics = metrics
        self._refusals = refusals
        self._fallback = fallback
        self._quota = quota

    def without_store(self, request: TakeRequest, *, may_lease: bool = True) -> Decision | None:
        """Decide by an access list, a cached refusal or a quota lease; return None if the store has to decide.

        What does more than take, such as a reservation, may use no lease.
        """
        if request.compiled.access_lists is not None:
            listed = decide_by_access_list(request)
            if listed is not None:
                return self.record(listed)
        refusal = self._refusals.lookup(request)
        if refusal is not None:
            self._metrics.decision(refusal.policy, "refused")
        elif request.compiled.leases_quota and may_lease:
            leased = self._quota.take(request)
            if leased is not None:
                self._metrics.decision(leased.policy, "allowed")
            return leased
        return refusal

    def on_reply(self, reply: Sequence[int]) -> None:
        """Count the stored values that a script could not use, and end the outage if there was one."""
        if reply[0] or reply[1]:
            count_discarded(self._metrics, reply)
        self._fallback.local.clear()

    def decode(self, request: TakeRequest, reply: Sequence[int], at: int, sent_ms: int) -> Decision:
        """Return the store's decision on a call that was sent at `sent_ms`, and cache a refusal."""
        decision = decision_at(request, reply, at)
        if decision.retry_after_ms is not None and decision.refused_by is not None:
            self._refusals.store(request, decision, sent_ms)
            if request.compiled.leases_quota:
                self._quota.on_refusal(request, decision.retry_after_ms)
        return decision

    def decide(self, request: TakeRequest, reply: Sequence[int], at: int, sent_ms: int) -> Decision:
        """Return the store's decision on a take as `decode` does, and count it."""
        number = reply[at]
        if number > 0:
            return self.record(self.decode(request, reply, at, sent_ms))
        self._metrics.decision(request.compiled.name, "allowed")  # no window refused, so there is nothing to cache
        return packed_decision(request, number) if number else decision_at(request, reply, at)

    def decide_all(
        self, requests: Sequence[TakeRequest], reply: Sequence[int], at: int, sent_ms: int
    ) -> tuple[list[Decision], int]:
        """Return what `decide` does for each take of a call, from `at` on, and at which position it goes on."""
        decisions: list[Decision] = []
        admitted: list[str] = []
        for request in requests:
            number = reply[at]
            if number < 0:  # nearly all: admitted under one window
                decisions.append(packed_decision(request, number))
                admitted.append(request.compiled.name)
                at += 1
            else:
                decisions.append(self.decide(request, reply, at, sent_ms))
                at += decision_length(request)
        for policy in set(admitted):
            self._metrics.decision(policy, "allowed", admitted.count(policy))
        return decisions, at

    def decide_alone(self, request: TakeRequest, reply: Sequence[int], sent_ms: int) -> Decision:
        """Return the store's decision on a take that was alone in its call; the reply may be one number."""
        if len(reply) == 1:
            self._fallback.local.clear()
            return self.decide(request, reply, 0, sent_ms)
        self.on_reply(reply)
        return self.decide(request, reply, FIRST_DECISION, sent_ms)

    def on_outage(self, request: TakeRequest) -> Decision:
        """Decide by the policy's outage rule."""
        return self.record(self._fallback.take(request))

    def record(self, decision: Decision) -> Decision:
        """Count a decision, and return it."""
        self._metrics.decision(decision.policy, outcome(decision))
        return decision


def decide_by_access_list(request: TakeRequest) -> Decision | None:
    """Decide by the policy's access lists alone; return None if the key is on neither. A shadow refuses nothing.

    While limits are off, every key is allowed.
    """
    lists = request.compiled.access_lists
    match = None if lists is None else lists.match(request.key)
    if match is None:
        return None
    if match.rule == "off":
        return decision_without_limits(request, "disabled", allowed=True)
    if match.rule == "deny" and request.compiled.policy.shadow:
        return decision_without_limits(request, "shadow", allowed=True)
    allowed = match.rule == "allow"
    return decision_without_limits(request, "allow-listed" if allowed else "deny-listed", allowed=allowed)
