"""Gives back what no caller holds any more, such as a lease or units that were granted to a caller that is cancelled.

Each cleanup runs in a task of its own, so that a caller that is cancelled a second time does not end it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from tollhouse.errors import StoreError
from tollhouse.runtime.background import BackgroundTasks

CLEANUP_S: Final = 2.0
"""How long a cleanup waits for the store. After that leases and holds end by themselves, and units stay charged."""


class Cleanups:
    """Runs cleanups; each ends within `within_s`, and `aclose` waits for them."""

    def __init__(self, within_s: float = CLEANUP_S) -> None:
        self._within_s = within_s
        self._tasks = BackgroundTasks()

    def start(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[None]:
        """Start a cleanup; an error of the store ends it."""
        return self._tasks.start(self._run(work), "tollhouse-cleanup")

    async def aclose(self) -> None:
        """Wait for the cleanups in progress."""
        await self._tasks.aclose()

    async def _run(self, work: Coroutine[Any, Any, object]) -> None:
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(self._within_s):
                await work
