"""The cancel storm: it stands for users who close their browsers.

Calls are started, left alone for a random number of iterations of the event loop, and cancelled. Only real
cancellations count; a call that was answered first is checked like any other.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

from tollhouse.drill.clients.client import CallResult, DrillClient
from tollhouse.drill.results.history import Operation
from tollhouse.drill.results.metrics import StormResult

_AT_A_TIME: Final = 50
"""Calls of the storm at a time: fewer than the default pool of redis-py, which would refuse the rest."""
_TURNS_MAX: Final = 12
_SESSION: Final = "create-storm-0"
_MIX: Final[tuple[Operation, ...]] = ("take", "take", "take", "take", "hot", "create", "verify", "put")


class Storm:
    """Starts calls of a client and cancels them."""

    def __init__(self, client: DrillClient, cancellations: int, *, seed: int) -> None:
        self._client = client
        self._random = random.Random(seed)  # noqa: S311 - a storm that can be repeated, no secret
        self._wanted = cancellations
        self._started = 0
        self._cancelled = self._failed = self._foreign = 0

    async def run(self, *, within_s: float) -> StormResult:
        """Start and cancel calls until enough were cancelled, or the time is over."""
        await self._client.call("create", _SESSION)
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + within_s
        while self._cancelled < self._wanted and loop.time() < give_up_s:
            await self._wave(min(_AT_A_TIME, self._wanted - self._cancelled))
        missing = self._wanted - self._cancelled
        return StormResult(cancelled=self._cancelled, missing=missing, failed=self._failed, foreign=self._foreign)

    async def _wave(self, size: int) -> None:
        tasks = [asyncio.get_running_loop().create_task(self._client.call(*self._next())) for _ in range(size)]
        turns = [self._random.randint(1, _TURNS_MAX) for _ in tasks]
        for turn in range(1, _TURNS_MAX + 1):
            await asyncio.sleep(0)
            for task, cancel_at in zip(tasks, turns, strict=True):
                if cancel_at == turn:
                    task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            self._count(task)

    def _next(self) -> tuple[Operation, str]:
        self._started += 1
        operation = self._random.choice(_MIX)
        return operation, _SESSION if operation == "verify" else f"{operation}-storm-{self._started}"

    def _count(self, task: asyncio.Task[CallResult]) -> None:
        if task.cancelled():
            self._cancelled += 1
        elif task.exception() is not None:
            self._failed += 1
        else:
            self._foreign += task.result().foreign
