"""Paces what must never be refused: the end of a user's other sessions, which is a durable write.

No limit refuses it, for a thief who has a token could use that up. Requests of one session that come at the same time
share one end, and the next begins a second later at the earliest. So a flood waits, and writes once a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from tollhouse.clock import Sleep
from tollhouse.runtime.background import BackgroundTasks
from tollhouse.sessions.revoker import RevokeAllResult

INTERVAL_S: Final = 1.0
REMEMBERED: Final = 4_096
"""Sessions whose last end is remembered; beyond it the oldest is forgotten, and may come early."""


class PacedEnds:
    """Runs the ends that sessions ask for, at most one in `INTERVAL_S` for each session in this process."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        remembered: int = REMEMBERED,
    ) -> None:
        self._clock = clock
        self._remembered = remembered
        self._sleep = sleep
        self._tasks = BackgroundTasks()
        self._waiting: dict[str, asyncio.Task[RevokeAllResult]] = {}
        self._began_s: dict[str, float] = {}

    async def run(self, sid: str, end: Callable[[], Coroutine[Any, Any, RevokeAllResult]]) -> RevokeAllResult:
        """Return the result of an end that begins after this call; a caller that leaves does not stop it."""
        waiting = self._waiting.get(sid)
        if waiting is None:
            waiting = self._waiting[sid] = self._tasks.start(self._run(sid, end), "tollhouse-end")
            waiting.add_done_callback(_look_at)
        return await asyncio.shield(waiting)

    async def aclose(self) -> None:
        """Wait for the ends that were asked for."""
        await self._tasks.aclose()

    async def _run(self, sid: str, end: Callable[[], Coroutine[Any, Any, RevokeAllResult]]) -> RevokeAllResult:
        began_s = self._began_s.get(sid)
        if began_s is not None and (wait_s := began_s + INTERVAL_S - self._clock()) > 0:
            await self._sleep(wait_s)
        del self._waiting[sid]
        self._began_s.pop(sid, None)
        self._began_s[sid] = self._clock()
        if len(self._began_s) > self._remembered:
            del self._began_s[next(iter(self._began_s))]
        return await end()


def _look_at(task: asyncio.Task[RevokeAllResult]) -> None:
    """Look at the error of an end whose callers may have left; those that wait get it themselves."""
    if not task.cancelled():
        task.exception()
