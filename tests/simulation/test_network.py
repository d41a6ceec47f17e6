"""The virtual network does what TCP does, on virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.simulation.loop import Stuck, VirtualLoop, run, unfinished
from tests.simulation.network import Network, ServerLink
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.errors import ConnectionLost, DeadlinePassed
from tollhouse.stores.urls import TcpAddress

HERE, THERE = "10.0.9.1", "10.0.0.1"
ADDRESS = TcpAddress(host=THERE, port=6379)


class Echo:
    """A server that answers every chunk of bytes with its number, and keeps what it was sent."""

    def __init__(self) -> None:
        self.links: list[ServerLink] = []
        self.lost_links: list[ServerLink] = []
        self.chunks = 0

    def accept(self, link: ServerLink) -> None:
        self.links.append(link)

    def received(self, link: ServerLink, data: bytes) -> None:
        for _ in range(data.count(b"PING")):
            self.chunks += 1
            link.write(b":%d\r\n" % self.chunks)

    def lost(self, link: ServerLink) -> None:
        self.lost_links.append(link)


async def _connect(network: Network) -> Connection:
    connection, _ = await network.dialer(HERE).dial(ADDRESS, on_lost=lambda: None)
    return connection


def _network(loop: VirtualLoop) -> tuple[Network, Echo]:
    network, echo = Network(loop, random.Random(1)), Echo()
    network.listen((THERE, 6379), echo)
    return network, echo


@pytest.mark.parametrize(("cut", "arrived"), [(True, 0), (False, 1)])
def test_what_a_cut_link_held_is_gone_with_a_connection_that_was_reset(cut: bool, arrived: int) -> None:
    """A connection that is closed with a call in flight repeats nothing after the link is healed."""

    async def main(loop: VirtualLoop) -> None:
        network, echo = _network(loop)
        connection = await _connect(network)
        if cut:
            network.cut(HERE, THERE)
        call = connection.send(encode("PING"), loop.time() + 0.05)
        await asyncio.sleep(0.1 if cut else 0)
        connection.close()
        assert isinstance(call.exception(), DeadlinePassed if cut else ConnectionLost)
        network.heal(HERE, THERE)
        await asyncio.sleep(2)

        assert echo.chunks == arrived
        assert len(echo.lost_links) == 1

    run(main)


def test_time_passes_without_waiting() -> None:
    """An hour of sleep costs no time, and a program that waits for nothing is stuck, as is one that spins."""

    async def sleep(loop: VirtualLoop) -> float:
        await asyncio.sleep(3600)
        return loop.time()

    async def wait_for_nothing(loop: VirtualLoop) -> None:
        await loop.create_future()

    async def spin(loop: VirtualLoop) -> None:
        def turn() -> None:
            loop.call_soon(turn)

        loop.call_soon(turn)
        await loop.create_future()

    slept, _ = run(sleep)

    assert slept == pytest.approx(3600)
    for main in (wait_for_nothing, spin):
        with pytest.raises(Stuck):
            run(main)


def test_exceptions_that_no_caller_receives_are_kept() -> None:
    """What a callback raises is in `lost`; threads are refused."""

    async def main(loop: VirtualLoop) -> None:
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)
        with pytest.raises(AssertionError):
            await asyncio.to_thread(print)

    _, loop = run(main)

    assert len(loop.lost) == 1
    assert "ZeroDivisionError" in loop.lost[0]


def test_replies_come_in_order_and_a_closed_server_resets_its_connections() -> None:
    """The calls of one connection are answered in their order; when the server goes away, calls in flight fail."""

    async def main(loop: VirtualLoop) -> tuple[list[int], float]:
        network, _ = _network(loop)
        connection = await _connect(network)
        replies = await asyncio.gather(*(connection.send(encode("PING"), 10) for _ in range(40)))
        took_s = loop.time()
        pending = connection.send(encode("PING"), 10)
        await asyncio.sleep(0)
        network.unlisten((THERE, 6379))
        with pytest.raises(ConnectionLost):
            await pending
        with pytest.raises(ConnectionRefusedError):
            await _connect(network)
        await connection.aclose()
        assert not network.connections
        assert unfinished(loop, but=asyncio.current_task()) == []
        return replies, took_s

    (replies, took_s), loop = run(main)

    assert replies == list(range(1, 41))
    assert 0 < took_s < 0.01
    assert loop.lost == []


def test_a_link_that_is_cut_one_way_holds_bytes_until_it_is_healed() -> None:
    """Requests arrive while the replies are held; they come late and in order, and a cut link cannot be dialed."""

    async def main(loop: VirtualLoop) -> None:
        network, echo = _network(loop)
        connection = await _connect(network)
        network.cut(THERE, HERE)
        late = connection.send(encode("PING"), loop.time() + 0.1)
        patient = connection.send(encode("PING"), loop.time() + 1.9)
        with pytest.raises(DeadlinePassed):
            await late
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await _connect(network)
        assert echo.chunks == 2

        network.heal(THERE, HERE)

        assert await patient == 2
        connection.close()
        await asyncio.sleep(1)
        assert len(echo.lost_links) == len(echo.links)
        assert not network.connections

    _, loop = run(main)
    assert loop.lost == []


def test_messages_between_machines_are_dropped_while_their_link_is_cut() -> None:
    """Messages of one pair arrive in order; those that are under way when the link is cut are gone."""

    async def main(loop: VirtualLoop) -> list[int]:
        network, arrived = Network(loop, random.Random(2)), list[int]()
        for number in range(10):
            network.send(HERE, THERE, lambda number=number: arrived.append(number))
        await asyncio.sleep(1)
        network.send(HERE, THERE, lambda: arrived.append(10))
        network.cut(HERE, THERE)
        await asyncio.sleep(1)
        network.heal(HERE, THERE)
        network.send(HERE, THERE, lambda: arrived.append(11))
        await asyncio.sleep(1)
        return arrived

    arrived, _ = run(main)

    assert arrived == [*range(10), 11]
