"""Gives back what no caller holds any more, such as a lease or units that were granted to a caller that is cancelled.

Each cleanup runs in a task of its own, so that a caller that is cancelled a second time does not end it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

from tollhouse.errors import StoreError

CLEANUP_S: Final = 2.0
"""How long a cleanup waits for the store. After that leases and holds end by themselves, and units stay charged."""


class Cleanups:
    """Owns the tasks; each ends within `within_s`, and `aclose` waits for them."""

    def __init__(self, within_s: float = CLEANUP_S) -> None:
        self._within_s = within_s
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[None]:
        """Start a cleanup; an error of the store ends it."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._run(work), name="tollhouse-cleanup", context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Wait for the cleanups in progress."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, work: Coroutine[Any, Any, object]) -> None:
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(self._within_s):
                await work
