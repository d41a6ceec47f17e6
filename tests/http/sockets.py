"""The protocol of `tollhouse serve` on a real socket in this process, and clients that write bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

from msgspec import Struct
from uvicorn.server import ServerState

from tests.http.client import served_app, settings_at
from tollhouse import wiring
from tollhouse.serving import ServingConfig
from tollhouse.settings import Settings
from tollhouse.settings.model import LimitSettings, PolicySettings

PATIENCE_S = 10.0


class Answer(Struct, frozen=True):
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def listening(app: Any, settings: Settings) -> AsyncGenerator[int]:
    """Serve an application as a worker does; give the port."""
    config = ServingConfig(lambda: app, settings)
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
    server = await asyncio.get_running_loop().create_server(
        lambda: config.http_protocol_class(config=config, server_state=state, app_state={}),  # type: ignore[call-arg] - uvicorn types it so
        "127.0.0.1",
        0,
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await server.wait_closed()


@asynccontextmanager
async def service_with_a_policy() -> AsyncGenerator[int]:
    """Serve the service with a policy `api`, on data of its own; give the port."""
    limits = LimitSettings(policies={"api": PolicySettings(limit="1000000/hour")})
    tollhouse = wiring.open(settings_at("fake://", limits=limits))
    app, served = served_app(tollhouse)
    async with app.lifespan(), listening(served, tollhouse.settings) as port:
        yield port


class Client(asyncio.Protocol):
    """Keeps what arrives, and knows when the server has ended the connection."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.arrived = asyncio.Event()
        self.ended = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.arrived.set()

    def eof_received(self) -> None:
        self.ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def pause(self) -> None:
        """Read nothing any more."""
        assert self._transport is not None
        self._transport.pause_reading()

    def answers(self) -> list[Answer]:
        """All responses until now."""
        return answers(bytes(self.received))


@asynccontextmanager
async def connection_to(port: int) -> AsyncGenerator[Client]:
    transport, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    try:
        yield client
    finally:
        transport.abort()


async def _turns() -> None:
    for _ in range(4):  # in which both ends of a loopback socket poll it
        await asyncio.sleep(0)


async def exchange(port: int, segments: Sequence[bytes], read: Callable[[], Awaitable[None]] = _turns) -> list[Answer]:
    """Send each segment when the server has `read` those before it; give all responses until it ends the connection."""
    async with connection_to(port) as client, asyncio.timeout(PATIENCE_S):
        for segment in segments:
            if client.ended.is_set():
                break
            client.write(segment)
            await read()
        await client.ended.wait()
        return client.answers()


def answers(received: bytes) -> list[Answer]:
    """Split what a server sent into responses; each has a Content-Length."""
    found: list[Answer] = []
    while received:
        head, separator, rest = received.partition(b"\r\n\r\n")
        assert separator, received
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        length = int(headers["content-length"])
        assert len(rest) >= length, received
        found.append(Answer(int(line.split()[1]), headers, rest[:length]))
        received = rest[length:]
    return found
