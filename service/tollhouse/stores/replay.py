"""Replay: what has to be repeated on a new primary is repeated there once per process, before any other call.

A primary that took over may lack writes that the old one acknowledged. Each of a store's connections asks here before
its first call. The first one to reach the new primary replays over its own connection, the others wait for it; when it
fails, the next one tries. The first primary of a process has seen all that this process did: nothing is replayed there.

Without the right to run INFO a primary has no name, and every connection but the first replays: it may lead to another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tollhouse.scripts import Argument

Run = Callable[[str, Sequence[str], Sequence[Argument]], Awaitable[list[Any]]]
"""Runs a script on one certain connection."""


class Replay:
    """Knows the primary that this process talks to; `action`, when set, is what to do on each next one."""

    def __init__(self) -> None:
        self.action: Callable[[Run], Awaitable[None]] | None = None
        self._primary: str | None = None
        self._lock = asyncio.Lock()

    async def on_connected(self, primary: str, run: Run) -> None:
        """Return when a connection to `primary` may be used; raise what the action raises."""
        async with self._lock:
            is_known = self._primary is None or (primary and primary == self._primary)
            if self.action is not None and not is_known:
                await self.action(run)
            self._primary = primary
