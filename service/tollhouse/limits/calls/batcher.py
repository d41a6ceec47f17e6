"""Sends takes that meet in one tick of the event loop as one call.

A sender takes what is waiting, asks the store, and hands out the answers. There are at most two at a time, so that
one call can be written while another is answered; what comes while both are busy waits and makes the next call larger.
A sender that has handed out answers looks once more, when those who got them have run; then it ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from tollhouse.clock import MonotonicClock, monotonic_ms
from tollhouse.errors import ScriptFailed, StoreUnavailable
from tollhouse.limits.calls.decider import Decider
from tollhouse.limits.decision import Decision
from tollhouse.limits.wire.compiled_policy import CompiledPolicy
from tollhouse.limits.wire.reply import FIRST_DECISION, decision_length
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.scripts import Argument, ScriptRunner

TAKES_MAX: Final = 256
"""Takes in one call, those of shadows included."""
CALLS_MAX: Final = 2
"""Calls under way at a time."""
WAITING_MAX: Final = 65_536
"""Takes that may wait to be sent; beyond, the store is as good as silent, and the rule for outages decides."""
_HALVED_MIN: Final = 32
_TICKS: Final = 3
"""So many ticks pass until the next takes of callers are written: they run, a sender asks, the connection writes."""

_Waiting = tuple[TakeRequest, "asyncio.Future[Decision]"]


class Batcher:
    """Asks the store for takes, each decided on its own, in the order in which they came."""

    def __init__(self, store: ScriptRunner, answers: Decider, *, clock: MonotonicClock = monotonic_ms) -> None:
        self._store = store
        self._decider = answers
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._looking: set[asyncio.Task[None]] = set()
        self._lone = 0

    async def take(self, asked: TakeRequest) -> Decision:
        """Decide one take; raises ScriptFailed where the call was wrong, and StoreUnavailable never.

        A take whose caller is cancelled before it was sent is not sent; later it may be charged all the same.
        """
        if self._waiting or self._senders or self._lone:
            return await self.submit(asked)
        mine = (asked, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        try:
            await asyncio.sleep(0)
            if not self._senders:  # nobody else came by in this tick, so no task is needed to answer several
                self._waiting.clear()
                await self._call_alone(mine)
            return await mine[1]
        finally:
            mine[1].cancel()

    def submit(self, asked: TakeRequest) -> asyncio.Future[Decision]:
        """Ask for one take among others, as `take` does."""
        if len(self._waiting) >= WAITING_MAX:
            return resolved_future(self._decider.on_outage(asked))
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        self._see_to_it()
        return future

    def _see_to_it(self) -> None:
        """Have a sender for what is waiting, unless one is about to look or all are busy."""
        if self._looking or len(self._senders) + self._lone >= CALLS_MAX:
            return
        task = asyncio.get_running_loop().create_task(self._send(), name="tollhouse-takes")
        self._senders.add(task)
        self._looking.add(task)
        task.add_done_callback(self._ended)

    async def _call_alone(self, one: _Waiting) -> None:
        self._lone += 1
        try:
            await self._call((one,))
        finally:
            self._lone -= 1
            if self._waiting:
                self._see_to_it()

    async def _send(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        while batch := self._next(task):
            try:
                await self._call(batch)
            except BaseException as error:
                _fail(batch, error)
                raise
            self._looking.add(task)
            await asyncio.sleep(0)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._senders.discard(task)
        self._looking.discard(task)
        if task.cancelled():
            return
        task.exception()  # was told to those in its call
        if self._waiting:
            self._see_to_it()

    def _next(self, task: asyncio.Task[None]) -> list[_Waiting]:
        """Take as many as fit into one call, but nobody's who has gone; the rest is another sender's."""
        self._looking.discard(task)
        batch: list[_Waiting] = []
        waiting, room = self._waiting, TAKES_MAX
        while waiting and room > len(waiting[0][0].shadows):
            one = waiting.popleft()
            if not one[1].done():
                batch.append(one)
                room -= 1 + len(one[0].shadows)
        if waiting:
            self._see_to_it()
        return batch

    async def _call(self, batch: Sequence[_Waiting]) -> None:
        keys, args = encode_takes(one for asked, _ in batch for one in (asked, *asked.shadows))
        sent_ms = self._clock()
        try:
            reply = await self._store.run("limits/take", keys, args)
        except StoreUnavailable:
            for asked, future in batch:
                _give(future, self._decider.on_outage(asked))
        except ScriptFailed as error:
            _fail(batch, error)
        else:
            await self._hand_out(batch, reply, sent_ms)

    async def _hand_out(self, batch: Sequence[_Waiting], reply: Sequence[int], sent_ms: int) -> None:
        """Give everybody their answer.

        Where no other call is under way half of them have it first: so the server works on what they ask next while
        the rest is read, and from then on there are two calls that take turns.
        """
        self._decider.on_reply(reply)
        half = len(batch) // 2 if len(batch) >= _HALVED_MIN and len(self._senders) == 1 else 0
        at = FIRST_DECISION
        for position, (asked, future) in enumerate(batch, 1):
            _give(future, self._decider.from_reply(asked, reply, at, sent_ms))
            at += decision_length(asked)
            for candidate in asked.shadows:
                self._decider.from_reply(candidate, reply, at, sent_ms)
                at += decision_length(candidate)
            if position == half:
                for _ in range(_TICKS):
                    await asyncio.sleep(0)


def encode_takes(takes: Iterable[TakeRequest]) -> tuple[list[str], list[Argument]]:
    """Give the keys and arguments of a call for several takes: each policy once, then the takes."""
    keys: list[str] = []
    costs: list[Argument] = []
    numbers: dict[CompiledPolicy, int] = {}
    for asked in takes:
        keys.append(asked.state_key)
        costs.append(numbers.setdefault(asked.compiled, len(numbers) + 1))
        costs.append(asked.cost)
    args: list[Argument] = [len(numbers)]
    for prepared in numbers:
        args += prepared.batch_arguments
    return keys, args + costs


def resolved_future(decision: Decision) -> asyncio.Future[Decision]:
    """Give a future that has its decision already."""
    future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
    future.set_result(decision)
    return future


def _give(future: asyncio.Future[Decision], decision: Decision) -> None:
    if not future.done():
        future.set_result(decision)


def _fail(batch: Sequence[_Waiting], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
