"""Threads for work that is heavy on purpose: so many at once, so many waiting, none waiting longer than said.

A permit is a thread, and a thread is free when its work has ended: a caller that gives up leaves running
work where it is, and takes back only what has not begun.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar, TypeVarTuple

from tollhouse.errors import Overloaded

MEMORY_KIB: Final = 262_144
"""How much memory all the work of one process may take, in KiB."""

_WAITING_PER_PERMIT: Final = 8
_WAIT_MS: Final = 2_000

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


def permits_for(work_kib: int, memory_kib: int = MEMORY_KIB, cpus: int | None = None) -> int:
    """Give how many pieces of work may run at once: one per processor and within the memory, but at least one."""
    return max(1, min(cpus or os.cpu_count() or 1, memory_kib // work_kib))


class Pool:
    """Runs functions in threads of its own, and refuses what would have to wait too long.

    `what` names the work in the error that a refused caller gets.
    """

    def __init__(self, what: str, permits: int, *, waiting: int | None = None, wait_ms: int = _WAIT_MS) -> None:
        self._what = what
        self._wait_ms = wait_ms
        self._places = threading.BoundedSemaphore(
            permits + (_WAITING_PER_PERMIT * permits if waiting is None else waiting)
        )
        self._threads = ThreadPoolExecutor(max_workers=permits, thread_name_prefix="tollhouse-pool")

    async def run(self, function: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """Run the function in a thread; raises Overloaded where no place is free, or no thread in time."""
        if not self._places.acquire(blocking=False):
            raise Overloaded(self._what, self._wait_ms)
        work = self._threads.submit(function, *arguments)
        work.add_done_callback(self._leave)
        result = asyncio.wrap_future(work)
        try:
            await asyncio.wait((result,), timeout=self._wait_ms / 1000)
            if work.cancel():
                raise Overloaded(self._what, self._wait_ms)
            return await result
        finally:
            # This takes back work that has not begun; running work keeps its thread until it ends.
            result.cancel()

    def close(self) -> None:
        """Let running work end, and drop what waits."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _work: Future[Any]) -> None:
        self._places.release()
