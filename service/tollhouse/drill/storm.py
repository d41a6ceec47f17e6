"""The cancel storm: calls that are given up at any moment, as when users close their browsers.

Each is begun, left alone for a random number of turns of the event loop, and cancelled. Counted is what was really
cancelled; a call that was answered first is looked at like any other.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

from msgspec import Struct

from tollhouse.drill.clients.client import Answer, Client
from tollhouse.drill.results.history import Operation

CANCELLATIONS: Final = 100_000
STORM_S: Final = 60.0
"""How long a storm may last; one that did not get through by then has cancellations missing."""
_AT_A_TIME: Final = 50
"""Fewer than the connections of a default pool of redis-py, which would otherwise refuse and not be cancelled."""
_TURNS_MAX: Final = 12
_SESSION: Final = "create-storm-0"
_MIX: Final[tuple[Operation, ...]] = ("take", "take", "take", "take", "hot", "create", "verify", "put")


class Stormed(Struct, frozen=True, kw_only=True):
    """What became of the calls: cancelled, failed, or answered with what belonged to another.

    `missing` is by how many cancellations the storm fell short of what it was to do.
    """

    cancelled: int
    missing: int
    failed: int
    foreign: int


class Storm:
    """Begins calls of a client and cancels them."""

    def __init__(self, client: Client, cancellations: int, *, seed: int) -> None:
        self._client = client
        self._chance = random.Random(seed)  # noqa: S311 - a storm that can be repeated, no secret
        self._wanted = cancellations
        self._begun = 0
        self._cancelled = self._failed = self._foreign = 0

    async def rage(self) -> Stormed:
        """Go on until enough calls were cancelled, or the time is over."""
        await self._client.call("create", _SESSION)
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + STORM_S
        while self._cancelled < self._wanted and loop.time() < give_up_s:
            await self._wave(min(_AT_A_TIME, self._wanted - self._cancelled))
        missing = self._wanted - self._cancelled
        return Stormed(cancelled=self._cancelled, missing=missing, failed=self._failed, foreign=self._foreign)

    async def _wave(self, size: int) -> None:
        tasks = [asyncio.get_running_loop().create_task(self._client.call(*self._next())) for _ in range(size)]
        turns = [self._chance.randint(1, _TURNS_MAX) for _ in tasks]
        for turn in range(1, _TURNS_MAX + 1):
            await asyncio.sleep(0)
            for task, given_up in zip(tasks, turns, strict=True):
                if given_up == turn:
                    task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            self._count(task)

    def _next(self) -> tuple[Operation, str]:
        self._begun += 1
        operation = self._chance.choice(_MIX)
        return operation, _SESSION if operation == "verify" else f"{operation}-storm-{self._begun}"

    def _count(self, task: asyncio.Task[Answer]) -> None:
        if task.cancelled():
            self._cancelled += 1
        elif task.exception() is not None:
            self._failed += 1
        else:
            self._foreign += task.result().foreign
