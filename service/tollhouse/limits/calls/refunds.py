"""Refunds: what a caller gives back, and what a take charged for a request that was refused elsewhere.

A refund announces that the key may have units again. A flood of requests that one limit refuses would announce as many
clearings of the other limits of the same requests, so an undo is quieter. Only the last units are missed by anyone: if
a take of as many would be admitted just before, the script announces nothing. Of one key there is one undo in flight;
those that come meanwhile are sent together when it has ended, or 100 ms after it began if a take of theirs has left no
room for another like it.

A refund says how long ago its units were taken, because a window that has released them counts only those of others. An
undo that is older than a window of its policy is sent alone: with others it would make them as old as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import Steps, StoreError
from tollhouse.limits.calls.calls import Calls
from tollhouse.limits.decision import Decision
from tollhouse.limits.policy.policy import UNITS_MAX
from tollhouse.limits.wire.reply import FIRST_DECISION, decision_from_verdict, limit_states_at
from tollhouse.limits.wire.request import TakeRequest, with_cost
from tollhouse.logs import Log
from tollhouse.runtime.background import BackgroundTasks

REFUND_S: Final = 2.0
"""How long a refund that no caller waits for may take; after that its units stay charged."""
PAUSE_S: Final = 0.1
WAITING_MAX: Final = 4_096
"""Keys whose next undo waits; those beyond are sent at once."""

_log = Log("tollhouse.limits")


class _Waiting(Struct, frozen=True, kw_only=True):
    """Undos of one key that wait; `since_ms` is when the first of them was taken."""

    request: TakeRequest
    since_ms: int
    is_full: bool = False


class Refunds:
    """Refunds units of a subject, and of the shadows of its policy."""

    def __init__(
        self,
        calls: Calls,
        *,
        refund_s: float = REFUND_S,
        pause_s: float = PAUSE_S,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._calls = calls
        self._refund_s = refund_s
        self._pause_s = pause_s
        self._waiting_max = waiting_max
        self._waiting: dict[str, _Waiting] = {}
        self._tasks = BackgroundTasks()

    async def refund(self, request: TakeRequest, *, age_ms: int = 0, rarely: bool = False) -> Decision:
        """Refund up to the cost of the request, taken `age_ms` ago, and announce it; the decision's cost is how many.

        With `rarely` it is announced only if a take of as many units would have been refused just before.
        """
        with Steps() as steps:
            decision = await self._refund(request, age_ms, rarely=rarely)
            steps.begun = True
            for shadow in request.shadows:
                await self._refund(shadow, age_ms, rarely=rarely)
        return decision

    def refund_locally(self, request: TakeRequest, taken: Decision, age_ms: int) -> bool:
        """Refund what this process decided, in an outage or by a lease in force; return False if the store has to."""
        if taken.degraded:
            for one in (request, *request.shadows):
                self._calls.fallback.local.refund(one, age_ms)
        return taken.degraded or (taken.leased and self._calls.quota.refund(request, age_ms))

    def start(self, request: TakeRequest, taken: Decision, age_ms: int = 0) -> asyncio.Task[None] | None:
        """Start a refund that goes on if its caller is cancelled; `aclose` waits for it.

        Return None if this process decided, and has the units back already.
        """
        if self.refund_locally(request, taken, age_ms):
            return None
        return self._start(self._refund_within(request, self._calls.clock() - age_ms, rarely=False))

    def start_undo(self, request: TakeRequest, taken: Decision, age_ms: int = 0) -> asyncio.Task[None] | None:
        """Start to give back what a take charged; return None if that waits for another undo of its key."""
        if self.refund_locally(request, taken, age_ms):
            return None
        since_ms = self._calls.clock() - age_ms
        if age_ms >= min(window_ms for _, window_ms in request.compiled.windows):
            return self._start(self._refund_within(request, since_ms, rarely=True))
        is_full = any(state.remaining < request.cost for state in taken.limits)
        waiting = self._waiting.get(request.state_key)
        if waiting is not None:
            self._waiting[request.state_key] = _Waiting(
                request=with_cost(request, min(waiting.request.cost + request.cost, UNITS_MAX)),
                since_ms=min(since_ms, waiting.since_ms),
                is_full=is_full or waiting.is_full,
            )
            return None
        if len(self._waiting) >= self._waiting_max:
            return self._start(self._refund_within(request, since_ms, rarely=True))
        return self._send_undo(_Waiting(request=request, since_ms=since_ms, is_full=is_full))

    async def aclose(self) -> None:
        """Send what waits, and wait for all that was started, at most `refund_s`."""
        for state_key in tuple(self._waiting):
            self._send_waiting(state_key)
        self._waiting.clear()
        await self._tasks.aclose()

    def _send_undo(self, undo: _Waiting) -> asyncio.Task[None]:
        """Send an undo; those of the key that follow wait for its end, and for a pause if the limit is full."""
        request = undo.request
        self._waiting[request.state_key] = _Waiting(request=with_cost(request, 0), since_ms=self._calls.clock())
        task = self._start(self._refund_within(request, undo.since_ms, rarely=True))
        if undo.is_full:
            loop = asyncio.get_running_loop()
            loop.call_later(self._pause_s, self._send_waiting, request.state_key, context=Context())
        else:
            task.add_done_callback(lambda _: self._send_waiting(request.state_key), context=Context())
        return task

    def _send_waiting(self, state_key: str) -> None:
        """Send what has waited, in one undo; without any the key is forgotten."""
        undo = self._waiting.pop(state_key, None)
        if undo is not None and undo.request.cost:
            self._send_undo(undo)

    def _start(self, refund: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.start(refund, "tollhouse-refund")

    async def _refund_within(self, request: TakeRequest, since_ms: int, *, rarely: bool) -> None:
        """Refund within a bounded time; if the store does not answer the loss is logged, and the units stay charged."""
        try:
            async with asyncio.timeout(self._refund_s):
                await self.refund(request, age_ms=self._calls.clock() - since_ms, rarely=rarely)
        except (StoreError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._refund_s} s"
            _log.warning("refund lost", extra={"policy": request.compiled.name, "reason": reason})

    async def _refund(self, request: TakeRequest, age_ms: int, *, rarely: bool) -> Decision:
        args = [request.cost, self._calls.clearings, int(rarely), age_ms, *request.compiled.arguments]
        reply = await self._calls.run_clearing("limits/refund", request, args)
        self._calls.decider.on_reply(reply)
        refunded = replace(request, cost=reply[FIRST_DECISION])
        return decision_from_verdict(refunded, 0, 0, limit_states_at(request, reply, FIRST_DECISION + 1))
