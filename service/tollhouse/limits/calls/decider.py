"""Makes decisions of what the store replied, or of its silence; each is counted, and refusals are remembered."""

from __future__ import annotations

from collections.abc import Sequence

from tollhouse.limits.calls.refusal_cache import RefusalCache
from tollhouse.limits.decision import Decision
from tollhouse.limits.outage.fallback import Fallback
from tollhouse.limits.policy.access_list import access_rule
from tollhouse.limits.wire.reply import count_discarded, decision_at, decision_without_limits, outcome
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.metrics import Metrics


class Decider:
    """What the ways to take units have in common; each decision is counted, but for those of `read`."""

    def __init__(self, metrics: Metrics, refused: RefusalCache, outage: Fallback) -> None:
        self._metrics = metrics
        self._refusals = refused
        self._fallback = outage

    def without_store(self, asked: TakeRequest) -> Decision | None:
        """Decide, and count, what needs no store: a key on a list, and a refusal that is remembered."""
        if asked.compiled.has_access_list:
            listed = decide_by_access_list(asked)
            if listed is not None:
                return self.record(listed)
        refused = self._refusals.lookup(asked)
        if refused is not None:
            self._metrics.decision(refused.policy, "refused")
        return refused

    def from_reply(self, asked: TakeRequest, reply: Sequence[int], at: int, sent_ms: int) -> Decision:
        """Read a decision as `read` does, and count it."""
        return self.record(self.decode(asked, reply, at, sent_ms))

    def on_reply(self, reply: Sequence[int]) -> None:
        """Note that the store replied: what this process counted without it is forgotten."""
        count_discarded(self._metrics, reply)
        self._fallback.end()

    def decode(self, asked: TakeRequest, reply: Sequence[int], at: int, sent_ms: int) -> Decision:
        """Read the decision of the store on a call that was sent at `sent_ms`."""
        decision = decision_at(asked, reply, at)
        if decision.retry_after_ms is not None and decision.refused_by is not None:
            self._refusals.store(asked, decision, sent_ms)
        return decision

    def on_outage(self, asked: TakeRequest) -> Decision:
        """Decide by the rule for outages."""
        return self.record(self._fallback.take(asked))

    def record(self, decision: Decision) -> Decision:
        """Count a decision, and give it."""
        self._metrics.decision(decision.policy, outcome(decision))
        return decision


def decide_by_access_list(asked: TakeRequest) -> Decision | None:
    """Decide by the policy's lists alone; None where the key is on neither. A shadow refuses nothing."""
    found = access_rule(asked.compiled.policy, asked.key)
    if found is None:
        return None
    if found == "deny" and asked.compiled.policy.shadow:
        return decision_without_limits(asked, "shadow", allowed=True)
    return decision_without_limits(
        asked, "allow-listed" if found == "allow" else "deny-listed", allowed=found == "allow"
    )
