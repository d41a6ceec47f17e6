"""Takes that wait for room: `acquire`. A caller that is cancelled is charged nothing, whenever that happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tollhouse.clock import Sleep
from tollhouse.limits.calls.batcher import Batcher
from tollhouse.limits.calls.calls import Calls
from tollhouse.limits.calls.waiting import attempt_within
from tollhouse.limits.decision import Decision
from tollhouse.limits.wire.request import TakeRequest


class WaitingTakes:
    """Takes again as soon as the last refusal is over.

    Callers that wait for one key wake up together and are decided in one call, in the order in which they wake up. A
    caller that is cancelled leaves the queue; if its take is in flight, its units are refunded once the reply is there.
    """

    def __init__(self, calls: Calls, batcher: Batcher, undo: Callable[..., Awaitable[None]], sleep: Sleep) -> None:
        self._calls = calls
        self._batcher = batcher
        self._undo = undo
        self._sleep = sleep

    async def acquire(self, read: Callable[[], TakeRequest], wait_ms: int) -> Decision:
        """Return the first decision that admits the request, or the last refusal; each attempt reads it anew."""

        async def attempt() -> Decision:
            return await self._take(read())

        return await attempt_within(wait_ms, attempt, _delay_ms, clock=self._calls.clock, sleep=self._sleep)

    async def _take(self, request: TakeRequest) -> Decision:
        known = self._calls.decider.without_store(request)
        if known is not None:
            return known
        sent_ms, future = self._calls.clock(), self._batcher.submit(request)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not self._batcher.withdraw(future):
                self._calls.cleanups.start(self._undo_unclaimed(future, sent_ms))
            raise

    async def _undo_unclaimed(self, future: asyncio.Future[Decision], sent_ms: int) -> None:
        decision = await future
        await self._undo(decision, age_ms=self._calls.clock() - sent_ms)


def _delay_ms(decision: Decision, _attempts: int, left_ms: int) -> int | None:
    """Return exactly the wait that the refusal states, or None if there is none or it is longer than `left_ms`."""
    retry_after_ms = decision.retry_after_ms
    return None if retry_after_ms is None or retry_after_ms > left_ms else retry_after_ms
