"""Takes that are charged together or not at all, over several policies and subjects."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from tollhouse.clock import MonotonicClock
from tollhouse.errors import InvalidInput, StoreUnavailable
from tollhouse.limits.calls.batcher import Batcher, encode_takes
from tollhouse.limits.calls.decider import Decider, decide_by_access_list
from tollhouse.limits.decision import Decision, TakeAllResult
from tollhouse.limits.outage.fallback import Fallback
from tollhouse.limits.policy.policy import UNITS_MAX
from tollhouse.limits.wire.reply import FIRST_DECISION, NEVER, decision_length, decision_without_limits
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.scripts import ScriptRunner

TAKE_ALL_MAX: Final = 64
"""Takes in one call that are decided together."""


class AllOrNothing:
    """Decides takes as one.

    A key on an allow list is left out, one on a deny list refuses the whole. A shadow is asked last, and only where
    the whole was admitted; it refuses nothing. While the store does not answer each policy's own rule is asked, so
    that the strictest decides: one that is `closed` refuses the whole, `local` where a share is used up. Policies that
    are shadows of others are not taken from.
    """

    def __init__(
        self,
        store: ScriptRunner,
        answers: Decider,
        outage: Fallback,
        batches: Batcher,
        *,
        clock: MonotonicClock,
    ) -> None:
        self._store = store
        self._decider = answers
        self._fallback = outage
        self._batcher = batches
        self._clock = clock

    async def take(self, asked: Sequence[TakeRequest]) -> TakeAllResult:
        """Decide takes as one; equal policies and keys are summed, and share what is decided."""
        members = _summed(asked)
        found, wait_ms = await self._decided(members)
        if wait_ms != 0:
            found = {state: _held_back(one, found.get(state), wait_ms) for state, one in members.items()}
        for decision in found.values():
            self._decider.record(decision)
        shadows = [one for state, one in members.items() if state not in found]
        seen = await asyncio.gather(*map(self._batcher.submit, shadows))
        found |= {one.state_key: decision for one, decision in zip(shadows, seen, strict=True)}
        return TakeAllResult(
            allowed=wait_ms == 0,
            decisions=tuple(replace(found[one.state_key], cost=one.cost) for one in asked),
            retry_after_ms=wait_ms if wait_ms > 0 else None,
        )

    async def _decided(self, members: Mapping[str, TakeRequest]) -> tuple[dict[str, Decision], int]:
        """Decide all but shadows, each as if it were alone; give also the wait of the whole, 0 where it is admitted."""
        found = {state: listed for state, one in members.items() if (listed := decide_by_access_list(one)) is not None}
        live = [one for state, one in members.items() if state not in found and not one.compiled.policy.shadow]
        if any(not listed.allowed for listed in found.values()):
            return found, NEVER
        if not live:
            return found, 0
        decisions, wait_ms = await self._ask(live)
        return found | {one.state_key: decision for one, decision in zip(live, decisions, strict=True)}, wait_ms

    async def _ask(self, live: Sequence[TakeRequest]) -> tuple[list[Decision], int]:
        sent_ms = self._clock()
        try:
            reply = await self._store.run("limits/take_all", *encode_takes(live))
        except StoreUnavailable:
            decisions = self._fallback.take_all(live)
            return decisions, _longest_ms(decisions)
        self._decider.on_reply(reply)
        decisions, at = list[Decision](), FIRST_DECISION + 1
        for one in live:
            decisions.append(self._decider.decode(one, reply, at, sent_ms))
            at += decision_length(one)
        return decisions, reply[FIRST_DECISION]


def _summed(asked: Sequence[TakeRequest]) -> dict[str, TakeRequest]:
    """Give each policy and key once, by the name of its state, and without its shadows."""
    members: dict[str, TakeRequest] = {}
    for position, one in enumerate(asked):
        known = members.get(one.state_key)
        cost = one.cost if known is None else known.cost + one.cost
        if cost > UNITS_MAX:
            raise InvalidInput(f"takes[{position}].cost", cost, f"take at most {UNITS_MAX:,} of one policy and key")
        members[one.state_key] = replace(one, cost=cost, shadows=())
    return members


def _longest_ms(decisions: Sequence[Decision]) -> int:
    """Give the wait of takes that were decided without the store."""
    waits_ms = [decision.retry_after_ms for decision in decisions if not decision.allowed]
    return NEVER if None in waits_ms else max((wait_ms for wait_ms in waits_ms if wait_ms is not None), default=0)


def _held_back(asked: TakeRequest, decision: Decision | None, wait_ms: int) -> Decision:
    """Refuse what was not asked, or would be admitted by itself, because the whole is refused."""
    if decision is not None and not decision.allowed:
        return decision
    retry_after_ms = wait_ms if wait_ms > 0 else None
    if decision is None:
        return decision_without_limits(asked, "all-or-nothing", allowed=False, retry_after_ms=retry_after_ms)
    return replace(decision, allowed=False, reason="all-or-nothing", retry_after_ms=retry_after_ms)
