"""A few threads and a bounded queue, for calls that would block the event loop or that wait for others."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Any, Final

from tollhouse.errors import Overloaded

_RETRY_AFTER_MS: Final = 1_000


class Workers:
    """Runs calls; what is more than the bound is refused at once."""

    def __init__(self, *, threads: int, queued: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="tollhouse-model")
        self._slots = BoundedSemaphore(threads + queued)

    def begin(self, call: Callable[[Any], Any], value: Any) -> asyncio.Future[Any]:
        """Begin a call: a plain function in a thread, a coroutine function on the loop.

        Raises Overloaded when the bound is reached. Cancelling takes a call out of the queue; a thread that
        has begun cannot be stopped, and keeps its place until it has really ended.
        """
        if not self._slots.acquire(blocking=False):
            raise Overloaded("the queue of the models", _RETRY_AFTER_MS)
        if inspect.iscoroutinefunction(call):
            task = asyncio.ensure_future(call(value))
            task.add_done_callback(self._ended)
            return task
        job = self._pool.submit(call, value)
        job.add_done_callback(self._ended)
        return asyncio.wrap_future(job)

    def close(self) -> None:
        """Drop what waits for a thread; what runs in one ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ended(self, call: Future[Any] | asyncio.Future[Any]) -> None:
        del call
        self._slots.release()
