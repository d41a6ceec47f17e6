"""Takes over several policies and subjects that are charged all or none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from tollhouse.errors import InvalidInput, StoreUnavailable
from tollhouse.limits.calls.batcher import Batcher
from tollhouse.limits.calls.calls import Calls
from tollhouse.limits.calls.decider import decide_by_access_list
from tollhouse.limits.decision import Decision, TakeAllResult, longest_refusal
from tollhouse.limits.policy.policy import UNITS_MAX
from tollhouse.limits.wire.batch import encode_takes
from tollhouse.limits.wire.reply import FIRST_DECISION, NEVER, decision_length, decision_without_limits
from tollhouse.limits.wire.request import TakeRequest, with_cost

TAKE_ALL_MAX: Final = 64
"""Takes in one `take_all`."""


class AllOrNothing:
    """Decides several takes as one.

    A key on an allow list is left out, and one on a deny list refuses all. A member whose policy is a shadow is taken
    last, by itself, and only if the others were admitted; it refuses nothing.

    The shadows of a member's policy are taken from in a call of their own, which is in flight beside the joint one. As
    with `take` they are charged also if the take is refused, but not if an access list decides.

    During an outage each policy's own rule decides, so that the strictest one wins: `closed` refuses all, and so does
    `local` if a share is used up.
    """

    def __init__(self, calls: Calls, batcher: Batcher) -> None:
        self._calls = calls
        self._batcher = batcher

    def cached_refusal(self, requests: Sequence[TakeRequest]) -> Decision | None:
        """Return the cached refusal that lasts longest, and count it; return None if the store has to decide.

        The store has to decide if a member has a shadow: the counts of the shadow would be wrong otherwise.
        """
        members = _sum_equal(requests).values()
        if any(one.shadows for one in members):
            return None
        refusals = [found for one in members if (found := self._calls.refusals.lookup(one)) is not None]
        return self._calls.decider.record(longest_refusal(refusals)) if refusals else None

    async def take(self, requests: Sequence[TakeRequest]) -> TakeAllResult:
        """Decide takes as one; the costs of equal policies and keys are summed, and they share a decision."""
        members = _sum_equal(requests)
        decisions, wait_ms = await self._decide(members)
        if wait_ms != 0:
            decisions = {key: _refuse_too(one, decisions.get(key), wait_ms) for key, one in members.items()}
        for decision in decisions.values():
            self._calls.decider.record(decision)
        shadows = [one for key, one in members.items() if key not in decisions]
        shadow_decisions = await asyncio.gather(*map(self._batcher.submit, shadows))
        decisions |= {one.state_key: decision for one, decision in zip(shadows, shadow_decisions, strict=True)}
        return TakeAllResult(
            allowed=wait_ms == 0,
            decisions=tuple(replace(decisions[one.state_key], cost=one.cost) for one in requests),
            retry_after_ms=wait_ms if wait_ms > 0 else None,
        )

    async def _decide(self, members: Mapping[str, TakeRequest]) -> tuple[dict[str, Decision], int]:
        """Return the decisions on all but shadows, each as if alone, and the wait of the whole: 0 if it is admitted."""
        decisions = {key: listed for key, one in members.items() if (listed := decide_by_access_list(one)) is not None}
        if any(not listed.allowed for listed in decisions.values()):
            return decisions, NEVER
        live = [one for key, one in members.items() if key not in decisions and not one.compiled.policy.shadow]
        if not live:
            return decisions, 0
        decided, wait_ms = await self._call_beside_shadows(live)
        return decisions | {one.state_key: decision for one, decision in zip(live, decided, strict=True)}, wait_ms

    async def _call_beside_shadows(self, live: Sequence[TakeRequest]) -> tuple[list[Decision], int]:
        """Call, and take from the shadows of the members' policies at the same time, each on its own."""
        shadows = [shadow for one in live for shadow in one.shadows]
        if not shadows:
            return await self._call(live)
        result, _ = await asyncio.gather(self._call(live), asyncio.gather(*map(self._batcher.submit, shadows)))
        return result

    async def _call(self, live: Sequence[TakeRequest]) -> tuple[list[Decision], int]:
        calls = self._calls
        sent_ms = calls.clock()
        try:
            reply = await calls.store.run("limits/take_all", *encode_takes(live))
        except StoreUnavailable:
            decisions = calls.fallback.take_all(live)
            return decisions, _longest_wait_ms(decisions)
        calls.decider.on_reply(reply)
        decisions, at = list[Decision](), FIRST_DECISION + 1
        for one in live:
            decisions.append(calls.decider.decode(one, reply, at, sent_ms))
            at += decision_length(one)
        return decisions, reply[FIRST_DECISION]


def _sum_equal(requests: Sequence[TakeRequest]) -> dict[str, TakeRequest]:
    """Return each policy and key once, by its state key, with the sum of its costs."""
    members: dict[str, TakeRequest] = {}
    for position, one in enumerate(requests):
        known = members.get(one.state_key)
        if known is None:
            members[one.state_key] = one
            continue
        cost = known.cost + one.cost
        if cost > UNITS_MAX:
            raise InvalidInput(f"takes[{position}].cost", cost, f"take at most {UNITS_MAX:,} of one policy and key")
        members[one.state_key] = with_cost(one, cost)
    return members


def _longest_wait_ms(decisions: Sequence[Decision]) -> int:
    """Return the wait of takes that were decided without the store: 0 if all are allowed, NEVER if one never passes."""
    waits_ms = [decision.retry_after_ms for decision in decisions if not decision.allowed]
    return NEVER if None in waits_ms else max((wait_ms for wait_ms in waits_ms if wait_ms is not None), default=0)


def _refuse_too(request: TakeRequest, decision: Decision | None, wait_ms: int) -> Decision:
    """Refuse a member that was not decided, or would be admitted alone, because the whole is refused."""
    if decision is not None and not decision.allowed:
        return decision
    retry_after_ms = wait_ms if wait_ms > 0 else None
    if decision is None:
        return decision_without_limits(request, "all-or-nothing", allowed=False, retry_after_ms=retry_after_ms)
    return replace(decision, allowed=False, reason="all-or-nothing", retry_after_ms=retry_after_ms)
