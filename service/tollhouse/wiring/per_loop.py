"""One Tollhouse for each event loop, because a connection belongs to the loop that made it."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import AsyncGenerator, Callable
from functools import lru_cache
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec

from tollhouse.runtime.home_loop import asyncio_loop, running_loop
from tollhouse.settings import Settings
from tollhouse.stores.embedded.shared_servers import SharedServer
from tollhouse.wiring.configuration import default_settings
from tollhouse.wiring.tollhouse import Tollhouse

_SHARED_MAX: Final = 256
_DEFAULTS: Final[WeakKeyDictionary[AbstractEventLoop, PerLoop]] = WeakKeyDictionary()


class PerLoop:
    """Opens a Tollhouse on first use, in an application that may have no lifespan and more than one event loop.

    It is closed by `aclose`, or when its loop ends as `asyncio.run` ends it. Servers that this process started for it
    go on until `aclose`, or until the end of the process: a test client may have a loop for each request, and the next
    one finds what the last one counted. Threads may use it at the same time: each adds and removes the entry of its own
    loop only, apart from those of loops that are closed.
    """

    def __init__(self, make: Callable[[], Tollhouse]) -> None:
        self._make = make
        self._by_loop: dict[asyncio.AbstractEventLoop, tuple[Tollhouse, AsyncGenerator[None, None]]] = {}
        self._servers: tuple[SharedServer[Any], ...] = ()

    def opened(self) -> Tollhouse | None:
        """Return the Tollhouse of the running loop, or None if it has not been opened yet."""
        life = self._by_loop.get(running_loop())
        return None if life is None else life[0]

    async def open(self) -> Tollhouse:
        """Return the Tollhouse of the running loop; open it on first use."""
        loop = asyncio_loop()
        life = self._by_loop.get(loop)
        if life is None:
            self._forget_closed_loops()
            tollhouse = self._make()
            self._servers = tollhouse.stores.own_servers()
            for server in self._servers:
                server.retain(self, None)
            life = self._by_loop[loop] = (tollhouse, self._close_with_loop(loop, tollhouse))
            await anext(life[1])
        return life[0]

    async def aclose(self) -> None:
        """Close the Tollhouse of the running loop, and let go of the servers; a later use opens another."""
        life = self._by_loop.get(asyncio_loop())
        if life is not None:
            await life[1].aclose()
        for server in self._servers:
            await server.release(self)

    def _forget_closed_loops(self) -> None:
        for loop in list(self._by_loop):  # a copy: other threads open and close meanwhile
            if loop.is_closed():
                self._by_loop.pop(loop, None)

    async def _close_with_loop(
        self, loop: asyncio.AbstractEventLoop, tollhouse: Tollhouse
    ) -> AsyncGenerator[None, None]:
        """Wait until closed: `asyncio.run` closes the asynchronous generators that its loop has started."""
        try:
            yield
        finally:
            self._by_loop.pop(loop, None)
            await tollhouse.aclose()


def shared_per_loop(settings: Settings) -> PerLoop:
    """Return what opens these settings: one for all decorators of the process that have equal ones."""
    return _shared(msgspec.msgpack.encode(settings))


async def default_tollhouse() -> Tollhouse:
    """Return the Tollhouse of the settings that `tollhouse.open()` reads; they are read once in each event loop."""
    loop = asyncio_loop()
    if (found := _DEFAULTS.get(loop)) is None:
        found = _DEFAULTS[loop] = shared_per_loop(default_settings())
    return await found.open()


@lru_cache(maxsize=_SHARED_MAX)
def _shared(settings: bytes) -> PerLoop:
    return PerLoop(lambda: Tollhouse(msgspec.msgpack.decode(settings, type=Settings)))
