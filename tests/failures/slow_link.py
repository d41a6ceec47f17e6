"""A TCP proxy that delays what it passes on: a server that is far away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from tollhouse.stores.urls import Host


class _Side(asyncio.Protocol):
    """One side of a connection; what it receives goes to the other side after a delay."""

    def __init__(self, delay_s: float, open_ones: set[asyncio.Transport]) -> None:
        self.other: _Side | None = None
        self.transport: asyncio.Transport | None = None
        self._delay_s = delay_s
        self._open_ones = open_ones

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._open_ones.add(self.transport)

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self._delay_s, self._pass_on, data)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self.transport is not None
        self._open_ones.discard(self.transport)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def _pass_on(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)


@asynccontextmanager
async def far_away(server: Host, round_trip_s: float) -> AsyncIterator[Host]:
    """Yield an address that leads to the server; each reply comes `round_trip_s` after its call."""
    loop = asyncio.get_running_loop()
    open_ones: set[asyncio.Transport] = set()
    connecting: set[asyncio.Task[None]] = set()

    def accept() -> _Side:
        near, far = (_Side(round_trip_s / 2, open_ones) for _ in range(2))
        near.other, far.other = far, near

        async def connect() -> None:
            await loop.create_connection(lambda: far, *server)

        task = loop.create_task(connect())
        connecting.add(task)
        task.add_done_callback(connecting.discard)
        return near

    listening = await loop.create_server(accept, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[:2]
    finally:
        listening.close()
        if connecting:
            await asyncio.wait(connecting)
        while open_ones:
            for transport in list(open_ones):
                transport.abort()
            await asyncio.sleep(0)
