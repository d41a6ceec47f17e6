"""How a lane ends: left with answers due, closed before anything was written, or while somebody waits for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.failures.test_connection import deadline, lane_to, scripted_server
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.errors import ConnectionFull, ConnectionLost, ServerError


async def test_a_lane_that_is_left_believes_refusals_only(tmp_path: Path) -> None:
    """After `leave` an error reply is passed on, any other is LaneLost; with the last one the connection ends."""
    waiting = asyncio.Event()

    def answer(chunk: bytes) -> bytes:
        waiting.set()
        return b""

    async with scripted_server(tmp_path, answer) as path, lane_to(path) as (lane, lost):
        first, second = lane.send(encode("PING"), deadline()), lane.send(encode("PING"), deadline())
        await waiting.wait()
        lane.drain(60)

        assert not lane.alive
        with pytest.raises(ConnectionFull):
            lane.send(encode("PING"), deadline())
        lane.data_received(b"-READONLY no\r\n")
        with pytest.raises(ServerError, match="READONLY"):
            await first
        lane.data_received(b"+OK\r\n")
        with pytest.raises(ConnectionLost, match="the server was replaced"):
            await second
        await lost.happened.wait()
        assert lane.ended


async def test_a_lane_that_owes_nothing_is_left_at_once(valkey_socket: Path) -> None:
    """`leave` ends a connection on which nobody waits; what was not written yet is not sent."""
    async with lane_to(valkey_socket) as (lane, lost):
        await lane.send(encode("PING"), deadline())

        lane.drain(60)
        await lane.aclose()

        assert lost.times == 1


async def test_what_was_not_written_when_the_lane_closed_stays_unsent(tmp_path: Path) -> None:
    """A call that meets the end of its lane in the same tick raises LaneLost and never reaches the server."""
    chunks: list[bytes] = []

    def answer(chunk: bytes) -> bytes:
        chunks.append(chunk)
        return b"+OK\r\n"

    async with scripted_server(tmp_path, answer) as path, lane_to(path) as (lane, _):
        call = lane.send(encode("PING"), deadline())
        lane.close()
        with pytest.raises(ConnectionLost):
            await call

    assert chunks == []


async def test_a_lane_that_was_never_connected_is_closed_in_peace() -> None:
    """Closing a lane before it has a connection does nothing, and it carries nothing."""
    lane = Connection()

    lane.close()
    await lane.aclose()

    assert not lane.alive
    assert not lane.ended


async def test_a_cancelled_close_closes_all_the_same(valkey_socket: Path) -> None:
    """A lane whose `aclose` was cancelled is not called ended before it is, and then is, for whoever waits too."""
    async with lane_to(valkey_socket) as (lane, lost):
        first, second = asyncio.ensure_future(lane.aclose()), asyncio.ensure_future(lane.aclose())
        await asyncio.sleep(0)

        first.cancel()
        await second

        assert first.cancelled() or first.done()
        assert lane.ended
        assert lost.times == 1


async def test_nobody_has_to_hear_of_the_end(valkey_socket: Path) -> None:
    """A lane without anyone to tell ends as any other."""
    _, lane = await asyncio.get_running_loop().create_unix_connection(Connection, str(valkey_socket))
    await lane.send(encode("PING"), deadline())

    await lane.aclose()

    assert lane.ended
