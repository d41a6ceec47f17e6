"""A negative cache: repeats refusals without a call, so that a flood of refused takes costs the store nothing.

A refusal is repeated until its wait has passed since the call was sent: the store decided later than that, so it would
still refuse. It is evicted earlier when units may have come back: by a refund, a reset or a settlement in this process,
or in another one that announces it on the channel of clearings. A refusal whose call was sent before a clearing is not
cached, because it may be older than the units. While the channel is not subscribed, a refusal is repeated for at most
one second. No refusal is repeated for more than a minute: an operator who empties the store announces nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from tollhouse.clock import MonotonicClock, monotonic_ms
from tollhouse.limits.decision import Decision
from tollhouse.limits.wire.compiled_policy import CompiledPolicy
from tollhouse.limits.wire.request import TakeRequest

KEYS_MAX: Final = 65_536
"""Keys with cached refusals; beyond it those that were refused first are evicted."""
COSTS_MAX: Final = 8
"""Costs of one key, each with its own wait."""
REPEATED_MS_MAX: Final = 60_000
"""How long a refusal is repeated; the store is asked again after that, once a minute in a flood."""
UNSUBSCRIBED_MS: Final = 1_000
_CLEARINGS_MAX: Final = 4_096
_PAYLOAD_BYTES_MAX: Final = 256


class _Refusal:
    """One refusal under one generation of its policy; `answer` is the decision with the waits left at `answer_ms`."""

    __slots__ = ("answer", "answer_ms", "compiled", "decided_ms", "decision", "until_ms")

    def __init__(self, compiled: CompiledPolicy, decision: Decision, until_ms: int, decided_ms: int) -> None:
        self.compiled = compiled
        self.decision = self.answer = decision
        self.until_ms = until_ms
        self.decided_ms = self.answer_ms = decided_ms


class RefusalCache:
    """The refusals of at most `keys_max` keys in one process; with 0 nothing is cached."""

    def __init__(self, *, keys_max: int = KEYS_MAX, clock: MonotonicClock = monotonic_ms) -> None:
        self._keys_max = keys_max
        self._clock = clock
        self._keys: OrderedDict[str, dict[int, _Refusal]] = OrderedDict()
        self._cleared_ms: OrderedDict[str, int] = OrderedDict()
        self._all_cleared_ms = -1
        self._subscribed_ms: int | None = None

    def lookup(self, request: TakeRequest) -> Decision | None:
        """Return the refusal of a take that is known to be refused, or None if the store has to decide.

        Only the same cost is answered, because larger ones wait longer. Once a key has refusals of COSTS_MAX different
        costs (they may be token counts, different each time), larger costs get the wait of the next smaller one, which
        may be too short; otherwise a flood of ever different costs would reach the store.
        """
        costs = self._keys.get(request.state_key)
        if costs is None:
            return None
        exact = costs.get(request.cost)
        refusal = exact or _next_smaller(costs, request)
        if refusal is None or refusal.compiled is not request.compiled:
            return None
        now_ms = self._clock()
        if now_ms >= refusal.until_ms:
            del self._keys[request.state_key]
            return None
        if now_ms != refusal.answer_ms:
            refusal.answer = _after(refusal.decision, now_ms - refusal.decided_ms)
            refusal.answer_ms = now_ms
        return refusal.answer if exact is not None else replace(refusal.answer, cost=request.cost)

    def store(self, request: TakeRequest, decision: Decision, sent_ms: int) -> None:
        """Cache a refusal by the key's own limits, which replied to a call that was sent at `sent_ms`."""
        wait_ms = decision.retry_after_ms
        if wait_ms is None or not request.compiled.caches_refusals or self._is_stale(request.state_key, sent_ms):
            return
        trusted = self._subscribed_ms is not None and sent_ms >= self._subscribed_ms
        wait_ms = min(wait_ms, REPEATED_MS_MAX if trusted else UNSUBSCRIBED_MS)
        costs = self._keys.get(request.state_key)
        if costs is None or (len(costs) >= COSTS_MAX and request.cost not in costs):
            costs = self._keys[request.state_key] = {}
            if len(self._keys) > self._keys_max:
                self._keys.popitem(last=False)
        costs[request.cost] = _Refusal(request.compiled, decision, sent_ms + wait_ms, self._clock())

    def evict(self, state_key: str) -> None:
        """Evict one subject, and reject refusals of it from calls in flight: it may have units again."""
        self._keys.pop(state_key, None)
        self._cleared_ms[state_key] = self._clock()
        self._cleared_ms.move_to_end(state_key)
        if len(self._cleared_ms) > _CLEARINGS_MAX:
            _, self._all_cleared_ms = self._cleared_ms.popitem(last=False)

    def clear(self) -> None:
        """Evict everything, and reject refusals from calls in flight."""
        self._keys.clear()
        self._cleared_ms.clear()
        self._all_cleared_ms = self._clock()

    def on_cleared(self, payload: bytes) -> None:
        """Evict the subject of an announcement: a time, a space and the name of the state."""
        state_key = payload.partition(b" ")[2]
        if 0 < len(state_key) <= _PAYLOAD_BYTES_MAX:
            self.evict(state_key.decode(errors="replace"))

    def on_subscribed(self) -> None:
        """Trust the channel from now on."""
        self._subscribed_ms = self._clock()

    def on_gap(self) -> None:
        """Evict everything, because announcements may have been missed; distrust the channel until `on_subscribed`."""
        self._subscribed_ms = None
        self.clear()

    def _is_stale(self, state_key: str, sent_ms: int) -> bool:
        """Return True if units may have come back since a call was sent."""
        return sent_ms <= max(self._cleared_ms.get(state_key, -1), self._all_cleared_ms)


def _next_smaller(costs: Mapping[int, _Refusal], request: TakeRequest) -> _Refusal | None:
    """Return the refusal of the next smaller cost if the key is full, but not for a cost that no wait will help."""
    if len(costs) < COSTS_MAX or request.cost > request.compiled.capacity:
        return None
    cost = max((cost for cost in costs if cost < request.cost), default=None)
    return None if cost is None else costs[cost]


def _after(decision: Decision, passed_ms: int) -> Decision:
    """Return a refusal as it reads `passed_ms` later, if nothing else happened meanwhile."""
    assert decision.retry_after_ms is not None
    limits = [replace(state, reset_after_ms=max(state.reset_after_ms - passed_ms, 0)) for state in decision.limits]
    return replace(decision, limits=tuple(limits), retry_after_ms=decision.retry_after_ms - passed_ms)
