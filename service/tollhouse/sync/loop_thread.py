"""An event loop in a background thread, for callers whose thread has none."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

T = TypeVar("T")
_Live = tuple[asyncio.AbstractEventLoop, asyncio.Event]

_GRACE_S: Final = 2.0
"""How long the end of the process waits until connections are closed."""


class LoopThread:
    """Runs coroutines for threads without an event loop, which wait for the result.

    The thread starts with the first call, and again after a fork. It ends with `close` or with the process, and closes
    what its loop has opened.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._live: _Live | None = None
        self._process = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of the coroutine; block until it is done."""
        with self._lock:
            if self._live is None or self._process != os.getpid():
                self._live = self._begin()
            loop, _ = self._live
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    def close(self) -> None:
        """Close what the loop has opened, then end the thread; a later call starts another."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None and self._thread is not None and self._process == os.getpid():
            loop, stop = live
            loop.call_soon_threadsafe(stop.set)
            self._thread.join(_GRACE_S)

    def _begin(self) -> _Live:
        self._process = os.getpid()
        begun: Future[_Live] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(_live(begun)), name="tollhouse-limits", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        return begun.result()


async def _live(begun: Future[_Live]) -> None:
    stop = asyncio.Event()
    begun.set_result((asyncio.get_running_loop(), stop))
    await stop.wait()
