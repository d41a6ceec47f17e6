"""Servers of this process, shared by its event loops: each is started for its first user and stopped after its last.

An application may have a loop in every thread, and a test client makes one for every request: with a server for each
loop, no limit would ever be reached. A user belongs to a loop; once its loop is closed it does not count any more,
because it can never say that it is done. A server whose users all ended so is stopped when it is collected as garbage,
or with the process.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Generic, Protocol, TypeVar
from weakref import WeakValueDictionary, finalize

from tollhouse.runtime.forks import forget_in_children


class Running(Protocol):
    """What was started."""

    def stop(self) -> None:
        """End it; no effect the second time, or in a forked child."""
        ...


T = TypeVar("T", bound=Running)
_T = TypeVar("_T")


class SharedServer(Generic[T]):
    """One server, or cluster, for all its users. Starting blocks, and stopping too: one thread does both, in turn."""

    def __init__(self, start: Callable[[], T]) -> None:
        self._start = start
        self.forget()
        forget_in_children(self)

    def forget(self) -> None:
        """Begin without users and without a server; in a forked child they are the parent's."""
        self._lock = threading.Lock()
        self._users: dict[object, asyncio.AbstractEventLoop | None] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="tollhouse-embedded")
        self._starting: Future[T] | None = None
        self._began_s = 0.0
        """When the first start began; long ago if it failed and was begun again."""
        self._last_stop: finalize[[], SharedServer[T]] | None = None

    def retain(self, user: object, loop: asyncio.AbstractEventLoop | None) -> None:
        """Keep the server from being stopped until `release`, or until the loop is closed, if there is one."""
        with self._lock:
            self._users[user] = loop

    async def started(self, user: object) -> T:
        """Return the server, for a user of the running loop; start it if it is not, or if the last start failed.

        A caller that gives up waiting does not cancel the start for the callers after it.
        """
        return await _outcome(self._begin(user, again=True))

    async def first_start(self, user: object, wait_s: float) -> None:
        """Return when the server is started, or `wait_s` after its first start began; raise the error if that failed.

        A start that failed is not tried again here, and later starts are not waited for.
        """
        starting = self._begin(user, again=False)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._began_s + wait_s - time.monotonic()):
                await _outcome(starting)

    async def release(self, user: object) -> None:
        """Return when the server was stopped, if `user` was the last; no effect for one that is no user."""
        stopping = self._release(user)
        if stopping is not None:
            await _outcome(stopping)

    def _begin(self, user: object, *, again: bool) -> Future[T]:
        with self._lock:
            self._users[user] = asyncio.get_running_loop()
            if self._starting is None:
                self._began_s = time.monotonic()
                self._starting = self._worker.submit(self._launch)
            elif again and self._starting.done() and self._starting.exception() is not None:
                self._began_s = -math.inf
                self._starting = self._worker.submit(self._launch)
            return self._starting

    def _release(self, user: object) -> Future[None] | None:
        with self._lock:
            if user not in self._users:
                return None
            del self._users[user]
            if any(loop is None or not loop.is_closed() for loop in self._users.values()):
                return None
            self._users.clear()
            if self._starting is None:
                return None
            self._starting = None
            return self._worker.submit(self._stop)

    def _launch(self) -> T:
        server = self._start()
        self._last_stop = finalize(self, server.stop)
        return server

    def _stop(self) -> None:
        """Stop what was started before; a start that failed left nothing behind."""
        if self._last_stop is not None:
            self._last_stop()


class SharedServers:
    """The servers of one process, by what they keep and how they are started."""

    def __init__(self) -> None:
        self._servers: WeakValueDictionary[Hashable, SharedServer[Any]] = WeakValueDictionary()
        self.forget()

    def forget(self) -> None:
        """Begin with a lock that no thread holds; each server forgets by itself."""
        self._lock = threading.Lock()

    def server(self, key: Hashable, start: Callable[[], T]) -> SharedServer[T]:
        """Return the server of a key, for as long as one of its users has it; it is not started yet."""
        forget_in_children(self)
        with self._lock:
            server = self._servers.get(key)
            if server is None:
                server = self._servers[key] = SharedServer(start)
            return server


PROCESS: Final = SharedServers()
"""Those of this process. It is one object because they are one resource, whichever configuration names them."""


async def _outcome(future: Future[_T]) -> _T:
    """Return what another thread comes to. Unlike `asyncio.wrap_future` it never cancels that, and the loop may end."""
    if not future.done():
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _wake(loop, done))
        await done.wait()
    return future.result()


def _wake(loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop was closed
        loop.call_soon_threadsafe(done.set)
