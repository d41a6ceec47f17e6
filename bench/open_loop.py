"""An open loop: calls that are due by a schedule, whether earlier ones were answered or not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def running(call: Callable[[], Coroutine[Any, Any, None]], every_s: float) -> AsyncIterator[None]:
    """Begin a call every so many seconds while the block runs; at its end all of them are answered."""
    calls: set[asyncio.Task[None]] = set()

    async def arrive() -> None:
        due_s = time.monotonic()
        while True:
            task = asyncio.create_task(call())
            calls.add(task)
            task.add_done_callback(calls.discard)
            due_s += every_s
            await asyncio.sleep(max(due_s - time.monotonic(), 0))

    arrivals = asyncio.create_task(arrive())
    try:
        yield
    finally:
        arrivals.cancel()
        await asyncio.wait({arrivals, *calls})
