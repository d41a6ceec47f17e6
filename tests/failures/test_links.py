"""The links of a drill: what a cut, a rest and a reset do to connections, seen from both ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest

from tollhouse.drill.links import CLIENTS, Links
from tollhouse.stores.embedded.sentinel_cluster import free_addresses
from tollhouse.stores.urls import Host

QUIET_S = 0.1
"""How long nothing has to arrive to show that it is held."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Node:
    """A node that answers each line with the address of its caller and that line; it can also speak first."""

    def __init__(self) -> None:
        self.connections: list[Streams] = []
        self.received: list[bytes] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append((reader, writer))
        with suppress(ConnectionError):
            while line := await reader.readline():
                self.received.append(line)
                writer.write(writer.get_extra_info("peername")[0].encode() + b" " + line)
        writer.close()
        self.ended.set()


class Net:
    """Two announced addresses, the node behind the first one, and the links."""

    def __init__(self, links: Links, node: Node, announced: Host, other: str) -> None:
        self.links, self.node, self.announced, self.other = links, node, announced, other

    async def call(self, source: str) -> Streams:
        return await asyncio.open_connection(*self.announced, local_addr=(source, 0))


@pytest.fixture
async def net() -> AsyncGenerator[Net]:
    (host, port), (other, _), *_ = free_addresses()
    node = Node()
    server = await asyncio.start_server(node.serve, host, port + 10_000)
    links = await Links.open({(host, port): (host, port + 10_000)})
    yield Net(links, node, (host, port), other)
    await links.aclose()
    server.close()
    for _, writer in node.connections:
        writer.transport.abort()
    await asyncio.sleep(0)


async def ask(streams: Streams, line: bytes = b"hello\n") -> bytes:
    streams[1].write(line)
    async with asyncio.timeout(2):
        return await streams[0].readline()


async def end(*all_streams: Streams) -> None:
    for _, writer in all_streams:
        writer.transport.abort()
    await asyncio.sleep(0)


async def has_ended(streams: Streams) -> bool:
    """Return whether the connection ends soon, without a byte before its end."""
    async with asyncio.timeout(2):
        with suppress(ConnectionError):
            return await streams[0].read() == b""
    return True


async def is_quiet(streams: Streams) -> bool:
    try:
        async with asyncio.timeout(QUIET_S):
            await streams[0].readline()
    except TimeoutError:
        return True
    return False


async def test_a_node_sees_its_caller(net: Net) -> None:
    """A connection is passed on from the address that it came from, and ends on both sides with either of them."""
    caller = await net.call(net.other)

    assert await ask(caller) == f"{net.other} hello\n".encode()

    await end(caller)
    async with asyncio.timeout(2):
        await net.node.ended.wait()


async def test_a_cut_holds_both_directions_until_it_heals(net: Net) -> None:
    """What was sent into a cut arrives once it is over; connections inside one side go on."""
    across, inside = await net.call(CLIENTS), await net.call(net.other)
    await ask(across)
    net.links.separate([net.announced[0], net.other])

    across[1].write(b"late\n")

    assert await is_quiet(across)
    assert b"late\n" not in net.node.received
    assert await ask(inside) == f"{net.other} hello\n".encode()
    net.links.heal()
    async with asyncio.timeout(2):
        assert await across[0].readline() == f"{CLIENTS} late\n".encode()
    await end(across, inside)


async def test_nothing_of_a_connection_made_during_a_cut_arrives(net: Net) -> None:
    """A connection made during a cut is silent, and ends afterwards: it never reached the other machine."""
    net.links.separate([net.announced[0]])
    caller = await net.call(CLIENTS)
    caller[1].write(b"lost\n")
    assert await is_quiet(caller)

    net.links.heal()

    assert await has_ended(caller)
    assert net.node.received == []
    await end(caller)


async def test_a_resting_link_holds_one_direction_and_loses_it_with_its_sender(net: Net) -> None:
    """What the called node sends waits while the caller goes on to send; a reset loses what waits, for good."""
    caller = await net.call(net.other)
    await ask(caller)
    net.links.rest([net.other], net.announced[0])

    caller[1].write(b"heard\n")

    assert await is_quiet(caller)
    assert net.node.received[-1] == b"heard\n"
    net.links.reset([net.other], net.announced[0])
    net.links.heal()
    assert await has_ended(caller)
    await end(caller)


async def test_a_node_that_does_not_listen_is_a_connection_that_ends(net: Net) -> None:
    """If the node is dead the connections of its callers end at once."""
    unused = socket.socket()
    unused.bind((net.other, 0))
    port = unused.getsockname()[1]
    unused.close()
    links = await Links.open({(net.other, port): (net.other, port + 1 if port < 65_535 else port - 1)})

    caller = await asyncio.open_connection(net.other, port)

    assert await has_ended(caller)
    await end(caller)
    await links.aclose()
