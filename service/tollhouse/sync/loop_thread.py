"""An event loop in a background thread, for callers whose thread has none."""

from __future__ import annotations

import asyncio
import atexit
import threading
from concurrent.futures import Future
from typing import Final

from tollhouse.runtime.forks import forget_in_children

_Live = tuple[asyncio.AbstractEventLoop, asyncio.Event, threading.Thread]

_GRACE_S: Final = 2.0
"""How long the end of the process waits until connections are closed."""


class LoopThread:
    """Has the loop that runs coroutines for threads without one, which wait for the result.

    The thread starts with the first use, and again in a forked child. It ends with `close` or with the process, and
    closes what its loop has opened.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: _Live | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, which runs from now on."""
        return (self._live or self._begin())[0]

    def close(self) -> None:
        """Close what the loop has opened, then end the thread; a later use starts another."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            loop, stop, thread = live
            loop.call_soon_threadsafe(stop.set)
            thread.join(_GRACE_S)

    def forget(self) -> None:  # pragma: no cover - runs in forked children, which are not measured
        """Begin anew: threads and connections are the parent's."""
        self._lock = threading.Lock()
        self._live = None

    def _begin(self) -> _Live:
        forget_in_children(self)
        with self._lock:
            if self._live is None:
                begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
                thread = threading.Thread(target=lambda: asyncio.run(_live(begun)), name="tollhouse-loop", daemon=True)
                thread.start()
                self._live = (*begun.result(), thread)
                atexit.unregister(self.close)
                atexit.register(self.close)
            return self._live


PROCESS: Final = LoopThread()
"""The one of this process: all functions with a limit or a cache share its loop, and their connections."""


async def _live(begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    stop = asyncio.Event()
    begun.set_result((asyncio.get_running_loop(), stop))
    await stop.wait()
