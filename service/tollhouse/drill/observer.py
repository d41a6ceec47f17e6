"""Observes a cluster over its own connections: announcements of the Sentinels, roles of the servers, and survivors.

While a round runs it marks what the Sentinels announce and which server says that it is primary. After the round it
waits until the servers agree on a primary, and reads from that one which writes survived.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import quote

from tollhouse import wiring
from tollhouse.drill.clients.client import DrillClient, client_settings
from tollhouse.drill.results.history import Call, Kind, OnMark
from tollhouse.errors import TollhouseError
from tollhouse.stores.discovery.role_probe import Primary, read_role
from tollhouse.stores.embedded.sentinel_cluster import Node, SentinelCluster
from tollhouse.stores.embedded.sentinel_config import SERVICE
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.transport.redial import DIAL_FAILED, Backoff, keep_connected, set_up
from tollhouse.stores.urls import SentinelService, parse

PROBE_S: Final = 0.01
"""The pause between two ROLE calls to a server."""
_WITHIN_S: Final = 0.3
_AGAIN_S: Final = 0.01
_AGREEMENT_PAUSE_S: Final = 0.05
_CHANNELS: Final[dict[str, Kind]] = {"+sdown": "sdown", "+odown": "odown", "+switch-master": "switch"}
_TRACED: Final = ("take", "hot", "create")
"""Operations that leave something of their own on the server."""

_Watch = Callable[[Connection, asyncio.Event], Awaitable[None]]
"""Watches over one connection, until it fails or the event says that it ended."""


class NoAgreement(TollhouseError):
    """The servers did not agree on a primary again, so the losses cannot be counted."""


@asynccontextmanager
async def observe(cluster: SentinelCluster, record: OnMark) -> AsyncGenerator[None]:
    """Record announcements and changes of role while the block runs."""
    place = parse("url", cluster.url)
    assert isinstance(place.target, SentinelService), "a cluster is reached through its Sentinels"
    server, sentinel = Login(password=place.password), Login(password=place.target.password)
    watches = [
        *((node, server, _watch_role(node, record)) for node in cluster.nodes),
        *((node, sentinel, _subscribe) for node in cluster.sentinels),
    ]
    dialer, loop = Dialer(), asyncio.get_running_loop()
    running = [loop.create_task(_stay_connected(node, login, dialer, watch, record)) for node, login, watch in watches]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)


async def wait_for_agreement(cluster: SentinelCluster, within_s: float) -> Node:
    """Return the primary of the Sentinels, as soon as every other living server follows it.

    Raises NoAgreement if that takes longer than `within_s`.
    """
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + within_s
    while loop.time() < give_up_s:
        primary = await asyncio.to_thread(_agreed_primary, cluster)
        if primary is not None:
            return primary
        await asyncio.sleep(_AGREEMENT_PAUSE_S)
    raise NoAgreement(f"the servers did not agree on a primary within {within_s:g} s after the round")


async def read_survivors(
    cluster: SentinelCluster, last: Node, client: DrillClient, calls: Sequence[Call], secret: bytes
) -> set[str]:
    """Return the subjects of the calls that the last primary holds, read from it over a connection of its own."""
    password = quote(parse("url", cluster.url).password or "", safe="")
    url = f"redis://:{password}@{last.listens.host}:{last.listens.port}/0"
    subjects = sorted({call.id for call in calls if call.id.startswith(_TRACED)})
    async with wiring.open(client_settings(url, secret)) as server:
        return await client.surviving(server, subjects)


async def _stay_connected(node: Node, login: Login, dialer: Dialer, watch: _Watch, record: OnMark) -> None:
    """Keep a connection to a node, and watch over it."""

    def on_push(push: list[Any]) -> None:
        match push:
            case [b"message", bytes(channel), bytes(text)] if text.startswith((b"master ", SERVICE.encode())):
                record(_CHANNELS[channel.decode()], node.name, text.decode(errors="replace"))
            case _:
                return

    async def dial() -> tuple[Connection, asyncio.Event]:
        lost = asyncio.Event()
        async with asyncio.timeout(_WITHIN_S):
            connection, _ = await dialer.dial(node.listens, on_lost=lost.set, on_push=on_push, stall_s=_WITHIN_S)
        await set_up(connection, connection.send(login.hello("tollhouse-drill"), _deadline()))
        return connection, lost

    async def hold(dialed: tuple[Connection, asyncio.Event]) -> None:
        connection, lost = dialed
        try:
            with suppress(*DIAL_FAILED):
                await watch(connection, lost)
        finally:
            connection.close()

    await keep_connected(dial, hold, Backoff(_AGAIN_S, _AGAIN_S), on_failure=lambda _: None)


def _watch_role(node: Node, record: OnMark) -> _Watch:
    """Return a watch that calls ROLE again and again, and marks each change of it."""
    was_primary: bool | None = None

    async def watch(connection: Connection, _: asyncio.Event) -> None:
        nonlocal was_primary
        while True:
            primary = isinstance(read_role(await connection.send(encode("ROLE"), _deadline())), Primary)
            if was_primary is not None and primary is not was_primary:
                record("promoted" if primary else "demoted", node.name, "")
            was_primary = primary
            await asyncio.sleep(PROBE_S)

    return watch


async def _subscribe(connection: Connection, lost: asyncio.Event) -> None:
    """Subscribe at a Sentinel, and stay until the connection ends."""
    # In RESP3, SUBSCRIBE is answered by pushes; the reply that this waits for is that of PING.
    await connection.send(encode("SUBSCRIBE", *_CHANNELS) + encode("PING"), _deadline())
    await lost.wait()


def _deadline() -> float:
    return asyncio.get_running_loop().time() + _WITHIN_S


def _agreed_primary(cluster: SentinelCluster) -> Node | None:
    primary = cluster.primary()
    if primary is None:
        return None
    roles = {node.name: _role(cluster, node) for node in cluster.nodes}
    others = [role for name, role in roles.items() if name != primary.name and role]
    follows = [str(primary.address.host), primary.address.port, "connected"]
    return primary if roles[primary.name][:1] == ["master"] and all(role[1:4] == follows for role in others) else None


def _role(cluster: SentinelCluster, node: Node) -> list[str | int]:
    """Return the reply of a server to ROLE, or [] if it does not answer."""
    try:
        return cluster.call(node, "ROLE")
    except (OSError, ServerError):
        return []
