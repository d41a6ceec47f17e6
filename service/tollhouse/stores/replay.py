"""Replay: what has to be repeated on a new primary is repeated there once per process, before any write.

A primary that took over may lack writes that the old one acknowledged. Each of a store's connections asks here before
its first call. The first one to reach the new primary replays over its own connection, the others wait for it; when it
fails, the next one tries. The first primary of a process has seen all that this process did: nothing is replayed there.

A primary that refuses the replay for want of a replica is the right one all the same. It is used for reads, and the
replay is repeated until it succeeds; until then it is `due`, and the calls that write wait for it. A replay that was
begun and not finished is due on whichever primary comes next, the former one included.

Without the right to run INFO a primary has no name, and every connection but the first replays: it may lead to another.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any

from tollhouse.scripts import Argument
from tollhouse.stores.replica_shortage import shortage_pauses
from tollhouse.stores.transport.errors import CALL_FAILED, ServerError, awaits_replica
from tollhouse.stores.transport.redial import Jitter

Run = Callable[[str, Sequence[str], Sequence[Argument]], Awaitable[list[Any]]]
"""Runs a script on one certain connection."""


class Replay:
    """Knows the primary that this process talks to; `action`, when set, is what to do on each next one.

    `attempt` connects to the primary of the moment and calls `on_connected`; it is repeated while a replay is due.
    """

    def __init__(self, attempt: Callable[[], Awaitable[None]], jitter: Jitter = random.uniform) -> None:
        self.action: Callable[[Run], Awaitable[None]] | None = None
        self.due = False
        self._attempt = attempt
        self._jitter = jitter
        self._primary: str | None = None
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def on_connected(self, primary: str, run: Run) -> None:
        """Return when a connection to `primary` may be used, if a replay is due for reads only; raise as the action."""
        async with self._lock:
            is_known = self._primary is None or (primary and primary == self._primary)
            if self.action is not None and (self.due or not is_known):
                self.due = True
                try:
                    await self.action(run)
                except ServerError as error:
                    if not awaits_replica(error):
                        raise
                    self._repeat_soon()
                    return
                self.due = False
            self._primary = primary

    async def aclose(self) -> None:
        """End the repetitions."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _repeat_soon(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(
                self._repeat(), name="tollhouse-replay", context=Context()
            )

    async def _repeat(self) -> None:
        """Try again until the replay succeeds, on this primary or another."""
        pauses = shortage_pauses(self._jitter)
        while self.due:
            await asyncio.sleep(pauses.next_s())
            with suppress(*CALL_FAILED):
                await self._attempt()
