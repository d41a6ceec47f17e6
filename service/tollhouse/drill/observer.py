"""Watches a topology over its own connections: what the Sentinels announce, and which server says it is primary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from tollhouse.drill.results.history import Kind
from tollhouse.stores.discovery.role_probe import Primary, read_role
from tollhouse.stores.embedded.sentinel_cluster import Node, SentinelCluster
from tollhouse.stores.embedded.sentinel_config import SERVICE
from tollhouse.stores.transport.connection import Lane, encode
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.errors import CALL_FAILED
from tollhouse.stores.urls import SentinelService, parse

Note = Callable[[Kind, str, str], None]
"""Takes notice of something: its kind, who it is about or from, and the details."""

PROBE_S: Final = 0.01
"""The pause between two looks at a server's role."""
_WITHIN_S: Final = 0.3
_AGAIN_S: Final = 0.01
_FAILED: Final = (OSError, TimeoutError, *CALL_FAILED)
_CHANNELS: Final[dict[str, Kind]] = {"+sdown": "sdown", "+odown": "odown", "+switch-master": "switch"}

_Watch = Callable[[Lane, asyncio.Event], Awaitable[None]]
"""Watches over one connection, until it fails or the event says that it ended."""


@asynccontextmanager
async def watching(topology: SentinelCluster, note: Note) -> AsyncGenerator[None]:
    """Watch for as long as the block runs."""
    place = parse("url", topology.url)
    assert isinstance(place.target, SentinelService), "a topology is reached through its Sentinels"
    server, sentinel = Login(password=place.password), Login(password=place.target.password)
    watches = [
        *((node, server, _look(node, note)) for node in topology.nodes),
        *((node, sentinel, _listen) for node in topology.sentinels),
    ]
    dialer, loop = Dialer(), asyncio.get_running_loop()
    running = [loop.create_task(_keep(node, login, dialer, watch, note)) for node, login, watch in watches]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)


async def _keep(node: Node, login: Login, dialer: Dialer, watch: _Watch, note: Note) -> None:
    """Stay connected to a node and watch it."""

    def heard(push: list[Any]) -> None:
        match push:
            case [b"message", bytes(channel), bytes(text)] if text.startswith((b"master ", SERVICE.encode())):
                note(_CHANNELS[channel.decode()], node.name, text.decode(errors="replace"))
            case _:
                return

    while True:
        lost = asyncio.Event()
        with suppress(*_FAILED):
            async with asyncio.timeout(_WITHIN_S):
                lane, _ = await dialer.dial(node.address, on_lost=lost.set, on_push=heard, stall_s=_WITHIN_S)
            try:
                await lane.send(login.hello("tollhouse-drill"), _deadline())
                await watch(lane, lost)
            finally:
                lane.close()
        await asyncio.sleep(_AGAIN_S)


def _look(node: Node, note: Note) -> _Watch:
    """Look at the role of a server again and again; note each time that it became another."""
    was: bool | None = None

    async def look(lane: Lane, _: asyncio.Event) -> None:
        nonlocal was
        while True:
            primary = isinstance(read_role(await lane.send(encode("ROLE"), _deadline())), Primary)
            if was is not None and primary is not was:
                note("promoted" if primary else "demoted", node.name, "")
            was = primary
            await asyncio.sleep(PROBE_S)

    return look


async def _listen(lane: Lane, lost: asyncio.Event) -> None:
    """Subscribe at a Sentinel, and stay until the connection ends."""
    # What SUBSCRIBE answers in RESP3 are pushes; the reply that is waited for is that of PING.
    await lane.send(encode("SUBSCRIBE", *_CHANNELS) + encode("PING"), _deadline())
    await lost.wait()


def _deadline() -> float:
    return asyncio.get_running_loop().time() + _WITHIN_S
