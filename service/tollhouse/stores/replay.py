"""Replay: what has to be repeated on a new primary is repeated there once per process, before any write.

A primary that took over may lack writes that the old one acknowledged. Each of a store's connections asks here before
its first call. The first one to reach the new primary replays over its own connection, the others wait for it; when it
fails, the next one tries. The first primary of a process has seen all that this process did: nothing is replayed there.

A replay that was begun and not finished is `due` on whichever primary comes next, the former one included, and is
repeated until it succeeds. The calls that write wait for it. A primary that refuses it for want of a replica is the
right one all the same, and is used for reads meanwhile.

Without the right to run INFO a primary has no name, and every connection but the first replays: it may lead to another.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

from tollhouse.scripts import Argument
from tollhouse.stores.replica_shortage import WAIT_S, WAITING_MAX, shortage_pauses
from tollhouse.stores.transport.errors import CALL_FAILED, ServerError, awaits_replica
from tollhouse.stores.transport.redial import Backoff, Jitter

Run = Callable[[str, Sequence[str], Sequence[Argument]], Awaitable[list[Any]]]
"""Runs a script on one certain connection."""

_PAUSE_MIN_S: Final = 0.1
_PAUSE_MAX_S: Final = 1.0


class Replay:
    """Knows the primary that this process talks to; `action`, when set, is what to do on each next one.

    `attempt` connects to the primary of the moment and calls `on_connected`; it is repeated while a replay is due.
    """

    def __init__(
        self,
        attempt: Callable[[], Awaitable[None]],
        jitter: Jitter = random.uniform,
        *,
        wait_s: float = WAIT_S,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self.action: Callable[[Run], Awaitable[None]] | None = None
        self.due = False
        self.refusal: ServerError | None = None
        """Why the replay that is due was refused last on this primary, if it was for want of a replica."""
        self._attempt = attempt
        self._jitter = jitter
        self._wait_s = wait_s
        self._waiting_max = waiting_max
        self._waiting = 0
        self._since_s = 0.0
        self._over = asyncio.Event()
        self._primary: str | None = None
        self._tried: str | None = None
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def reason(self) -> str:
        """Return why calls that write are not sent while a replay is due."""
        cause = "" if self.refusal is None else f", which refuses that at present: {self.refusal}"
        return f"revocations have to be repeated on this primary before anything else is written there{cause}"

    async def on_connected(self, primary: str, run: Run) -> None:
        """Return when a connection to `primary` may be used, if a replay is due for reads only; raise as the action."""
        async with self._lock:
            is_known = self._primary is None or (primary and primary == self._primary)
            if self.action is not None and (self.due or not is_known):
                self._begin(primary)
                try:
                    await self.action(run)
                    self._end()
                except CALL_FAILED as error:
                    self.refusal = error if awaits_replica(error) else None
                    if self.refusal is None:
                        raise
                    return
                finally:
                    if self.due:
                        self._repeat_soon()
            self._primary = primary

    async def wait(self, deadline_s: float) -> bool:
        """Return True when the replay is done, or the store was closed; False when the call cannot wait for that."""
        give_up_s = min(deadline_s, self._since_s + self._wait_s)
        if self._waiting >= self._waiting_max or asyncio.get_running_loop().time() >= give_up_s:
            return False
        over = asyncio.ensure_future(self._over.wait())
        self._waiting += 1
        try:
            await asyncio.wait({over}, timeout=give_up_s - asyncio.get_running_loop().time())
        finally:
            self._waiting -= 1
            over.cancel()
        return over.done() and not over.cancelled()

    async def aclose(self) -> None:
        """End the repetitions, and begin none from now on; wake the calls that wait."""
        self._closed = True
        self._over.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _begin(self, primary: str) -> None:
        """Keep that a replay is due; the time of the calls that wait begins anew with each primary."""
        if not self.due or primary != self._tried:
            self._since_s, self.refusal = asyncio.get_running_loop().time(), None
        if not self.due:
            self._over = asyncio.Event()
        self.due, self._tried = True, primary

    def _end(self) -> None:
        self.due, self.refusal = False, None
        self._over.set()

    def _repeat_soon(self) -> None:
        if not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(
                self._repeat(), name="tollhouse-replay", context=Context()
            )

    async def _repeat(self) -> None:
        """Try again until the replay succeeds, on this primary or another: less often if no replica will help."""
        short, failed = shortage_pauses(self._jitter), Backoff(_PAUSE_MIN_S, _PAUSE_MAX_S, jitter=self._jitter)
        while self.due:
            await asyncio.sleep((failed if self.refusal is None else short).next_s())
            with suppress(*CALL_FAILED):
                await self._attempt()
