"""Remembers who was refused, and until when, so that a flood of refused takes costs the store nothing.

A refusal is repeated until the moment of sending and its wait have passed: the store decided later than that, so it
would refuse still. It is forgotten when units may have come back before: by a refund, a reset or a settlement in this
process, or in another one that announced it. What an announcement cannot undo is not remembered either: a refusal
whose take was sent before it. While announcements are not heard, a refusal is repeated for a second at most.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from tollhouse.clock import MonotonicClock, monotonic_ms
from tollhouse.limits.decision import Decision, LimitState
from tollhouse.limits.wire.compiled_policy import CompiledPolicy
from tollhouse.limits.wire.request import TakeRequest

KEYS_MAX: Final = 65_536
"""How many keys are remembered; beyond, those go that were refused first."""
COSTS_MAX: Final = 8
"""How many costs of one key are remembered, each with its own wait."""
UNHEARD_MS: Final = 1_000
_CLEARINGS_MAX: Final = 4_096
_PAYLOAD_BYTES_MAX: Final = 256


class _Refusal:
    """One decision under one generation of its policy; what is told of it counts down."""

    __slots__ = ("answered_ms", "decision", "prepared", "told", "told_ms", "until_ms")

    def __init__(self, prepared: CompiledPolicy, decision: Decision, until_ms: int, answered_ms: int) -> None:
        self.prepared = prepared
        self.decision = self.told = decision
        self.until_ms = until_ms
        self.answered_ms = self.told_ms = answered_ms


class RefusalCache:
    """The refusals of one process; remembers at most `most` keys, and with 0 none."""

    def __init__(self, *, most: int = KEYS_MAX, clock: MonotonicClock = monotonic_ms) -> None:
        self._most = most
        self._clock = clock
        self._keys: OrderedDict[str, dict[int, _Refusal]] = OrderedDict()
        self._cleared_ms: OrderedDict[str, int] = OrderedDict()
        self._all_cleared_ms = -1
        self._heard_since_ms: int | None = None

    def lookup(self, asked: TakeRequest) -> Decision | None:
        """Give the decision where it is known to be a refusal; None where the store has to be asked.

        A larger cost than was refused is refused as well, but waits longer: it is asked for, too. Where so many costs
        are known that somebody seems to try them all, it is told the wait of a smaller one, which may be too short.
        """
        costs = self._keys.get(asked.state_key)
        if costs is None:
            return None
        exact = costs.get(asked.cost)
        refusal = exact or _smaller(costs, asked)
        if refusal is None or refusal.prepared is not asked.compiled:
            return None
        now_ms = self._clock()
        if now_ms >= refusal.until_ms:
            del self._keys[asked.state_key]
            return None
        if now_ms != refusal.told_ms:
            refusal.told = _later(refusal.decision, now_ms - refusal.answered_ms)
            refusal.told_ms = now_ms
        return refusal.told if exact is not None else replace(refusal.told, cost=asked.cost)

    def store(self, asked: TakeRequest, decision: Decision, sent_ms: int) -> None:
        """Remember a refusal by limits of the key's own, the answer to a call that was sent at `sent_ms`."""
        if (
            decision.retry_after_ms is None
            or not asked.compiled.caches_refusals
            or self._cleared(asked.state_key, sent_ms)
        ):
            return
        held_ms = decision.retry_after_ms
        if self._heard_since_ms is None or sent_ms < self._heard_since_ms:
            held_ms = min(held_ms, UNHEARD_MS)
        costs = self._keys.get(asked.state_key)
        if costs is None or (len(costs) >= COSTS_MAX and asked.cost not in costs):
            costs = self._keys[asked.state_key] = {}
            if len(self._keys) > self._most:
                self._keys.popitem(last=False)
        costs[asked.cost] = _Refusal(asked.compiled, decision, sent_ms + held_ms, self._clock())

    def evict(self, state: str) -> None:
        """Forget one subject, and what is under way about it: it may have units again."""
        self._keys.pop(state, None)
        self._cleared_ms[state] = self._clock()
        self._cleared_ms.move_to_end(state)
        if len(self._cleared_ms) > _CLEARINGS_MAX:
            _, self._all_cleared_ms = self._cleared_ms.popitem(last=False)

    def clear(self) -> None:
        """Forget everything, and what is under way."""
        self._keys.clear()
        self._cleared_ms.clear()
        self._all_cleared_ms = self._clock()

    def on_cleared(self, payload: bytes) -> None:
        """Take an announcement that a subject may have units again: a time, a space and the name of its state."""
        state = payload.partition(b" ")[2]
        if 0 < len(state) <= _PAYLOAD_BYTES_MAX:
            self.evict(state.decode(errors="replace"))

    def on_subscribed(self) -> None:
        """Note that announcements are heard from now on."""
        self._heard_since_ms = self._clock()

    def on_gap(self) -> None:
        """Note that announcements may have been missed, and are not heard until they begin again."""
        self._heard_since_ms = None
        self.clear()

    def _cleared(self, state: str, sent_ms: int) -> bool:
        """Tell whether units may have come back since a call was sent."""
        return sent_ms <= max(self._cleared_ms.get(state, -1), self._all_cleared_ms)


def _smaller(costs: Mapping[int, _Refusal], asked: TakeRequest) -> _Refusal | None:
    """Find the refusal of the next smaller cost, where many costs are known; what is above a limit never waits."""
    if len(costs) < COSTS_MAX or asked.cost > asked.compiled.capacity:
        return None
    cost = max((cost for cost in costs if cost < asked.cost), default=None)
    return None if cost is None else costs[cost]


def _later(decision: Decision, passed_ms: int) -> Decision:
    """Give what a refusal says when some time has passed since it was answered, and nothing else has happened."""
    assert decision.retry_after_ms is not None
    limits: list[LimitState] = []
    for state in decision.limits:
        left_ms = state.reset_after_ms - passed_ms
        if left_ms < 0:  # no call of max: every hot key comes by here in every millisecond
            left_ms = 0
        limits.append(replace(state, reset_after_ms=left_ms))
    return replace(decision, limits=tuple(limits), retry_after_ms=decision.retry_after_ms - passed_ms)
