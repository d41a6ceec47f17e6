"""A bounded thread pool with a bounded queue, for calls that would block the event loop.

A place in the pool belongs to a call until the call has really ended. A caller that gives up takes its call out of
the queue; a thread that has begun cannot be stopped and keeps its place, so the bound holds for real work.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar, TypeVarTuple, cast

from tollhouse.errors import Overloaded

_RETRY_AFTER_MS: Final = 1_000
"""When to come back to a full queue in which calls may wait without a limit."""

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


class WorkerPool:
    """Runs at most `threads` calls at once and queues at most `queued` more.

    `work` names the calls in errors. A call waits for a thread for at most `wait_ms`; without a limit if it is None.
    With `finish`, a caller that is cancelled waits until its call has ended, if a thread has begun it.
    """

    def __init__(
        self, work: str, threads: int, *, queued: int, wait_ms: int | None = None, finish: bool = False
    ) -> None:
        self._work = work
        self._wait_s = None if wait_ms is None else wait_ms / 1000
        self._retry_after_ms = _RETRY_AFTER_MS if wait_ms is None else wait_ms
        self._finish = finish
        self._places = threading.BoundedSemaphore(threads + queued)
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="tollhouse-worker")

    async def run(
        self,
        function: Callable[[*_Arguments], _Result] | Callable[[*_Arguments], Coroutine[Any, Any, _Result]],
        *arguments: *_Arguments,
    ) -> _Result:
        """Run a plain function in a thread, or a coroutine function on the loop, and return its result.

        Raises Overloaded at once when every place is taken, and when no thread was free in time; then nothing ran.
        """
        self._occupy()
        if inspect.iscoroutinefunction(function):
            try:
                return await function(*arguments)
            finally:
                self._places.release()
        job = self._threads.submit(cast("Callable[[*_Arguments], _Result]", function), *arguments)
        job.add_done_callback(lambda _: self._places.release())
        result = asyncio.wrap_future(job)
        try:
            await asyncio.wait((result,), timeout=self._wait_s)
            if job.cancel():
                raise self._overloaded()
            await asyncio.wait((result,))
            return result.result()
        except asyncio.CancelledError:
            if self._finish and not job.cancel():
                await asyncio.wait((result,))
                result.exception()  # no caller is left to raise it
            raise
        finally:
            # A job that has not begun leaves the queue; a running one keeps its thread and its place until it ends.
            result.cancel()

    def require_place(self) -> None:
        """Raise Overloaded if every place is taken, as `run` would now."""
        self._occupy()
        self._places.release()

    def close(self) -> None:
        """Refuse the calls that are queued; those that run end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _occupy(self) -> None:
        if not self._places.acquire(blocking=False):
            raise self._overloaded()

    def _overloaded(self) -> Overloaded:
        return Overloaded(self._work, self._retry_after_ms)
