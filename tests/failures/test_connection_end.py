"""How a connection ends: drained with replies due, closed before anything was written, or while others close it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.failures.test_connection import connected_to, deadline, scripted_server
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.errors import ConnectionFull, ConnectionLost, ServerError


async def test_a_draining_connection_passes_on_refusals_only(tmp_path: Path) -> None:
    """After `drain` an error reply is passed on, any other reply is ConnectionLost; after the last one it closes."""
    waiting = asyncio.Event()

    def answer(chunk: bytes) -> bytes:
        waiting.set()
        return b""

    async with scripted_server(tmp_path, answer) as path, connected_to(path) as (connection, lost):
        first, second = connection.send(encode("PING"), deadline()), connection.send(encode("PING"), deadline())
        await waiting.wait()
        connection.drain(60)

        assert not connection.alive
        with pytest.raises(ConnectionFull):
            connection.send(encode("PING"), deadline())
        connection.data_received(b"-READONLY no\r\n")
        with pytest.raises(ServerError) as refused:
            await first
        assert refused.value.code == "READONLY"
        connection.data_received(b"+OK\r\n")
        with pytest.raises(ConnectionLost):
            await second
        await lost.happened.wait()
        assert connection.ended


async def test_an_idle_connection_drains_at_once(valkey_socket: Path) -> None:
    """`drain` closes an idle connection at once; what was not written yet is not sent."""
    async with connected_to(valkey_socket) as (connection, lost):
        await connection.send(encode("PING"), deadline())

        connection.drain(60)
        await connection.aclose()

        assert lost.times == 1


async def test_what_was_not_written_when_the_connection_closed_stays_unsent(tmp_path: Path) -> None:
    """A call in the tick in which its connection closes raises ConnectionLost and never reaches the server."""
    chunks: list[bytes] = []

    def answer(chunk: bytes) -> bytes:
        chunks.append(chunk)
        return b"+OK\r\n"

    async with scripted_server(tmp_path, answer) as path, connected_to(path) as (connection, _):
        call = connection.send(encode("PING"), deadline())
        connection.close()
        with pytest.raises(ConnectionLost):
            await call

    assert chunks == []


@pytest.mark.parametrize(("answers", "end"), [(True, b""), (False, ConnectionResetError)])
async def test_a_server_hears_nothing_more_of_calls_that_were_given_up(
    *, answers: bool, end: bytes | type[Exception]
) -> None:
    """With calls in flight a connection ends with a reset, after which the kernel repeats nothing; else it closes."""
    ends: asyncio.Future[bytes | type[Exception]] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(encode("PING")))
        if answers:
            writer.write(b"+PONG\r\n")
        read.set()
        try:
            ends.set_result(await reader.read(1))
        except ConnectionError as error:
            ends.set_result(type(error))
        writer.close()

    read = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
        call = connection.send(encode("PING"), deadline())
        await asyncio.wait([call] if answers else [asyncio.ensure_future(read.wait())])
        await connection.aclose()

        assert await ends == end
        assert isinstance(call.exception(), ConnectionLost) is not answers


class WithoutSocket(asyncio.Transport):
    """A transport whose socket is gone, as that of TLS is once the stream below has ended."""

    ended = False

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.ended

    def abort(self) -> None:
        self.ended = True


async def test_a_connection_without_a_socket_is_closed_all_the_same() -> None:
    """There is nothing to reset then; its call in flight is lost."""
    transport = WithoutSocket()
    connection = Connection()
    connection.connection_made(transport)
    call = connection.send(encode("PING"), deadline())

    connection.close()

    assert transport.ended
    assert isinstance(call.exception(), ConnectionLost)


async def test_a_connection_that_was_never_made_can_be_closed() -> None:
    """Closing before there is a socket does nothing."""
    connection = Connection()

    connection.close()
    await connection.aclose()

    assert not connection.alive
    assert not connection.ended


async def test_a_cancelled_close_closes_all_the_same(valkey_socket: Path) -> None:
    """A cancelled `aclose` closes the socket all the same; other callers of `aclose` wait for it."""
    async with connected_to(valkey_socket) as (connection, lost):
        first, second = asyncio.ensure_future(connection.aclose()), asyncio.ensure_future(connection.aclose())
        await asyncio.sleep(0)

        first.cancel()
        await second

        assert first.cancelled() or first.done()
        assert connection.ended
        assert lost.times == 1


async def test_on_lost_is_optional(valkey_socket: Path) -> None:
    """A connection without `on_lost` ends as any other."""
    _, connection = await asyncio.get_running_loop().create_unix_connection(Connection, str(valkey_socket))
    await connection.send(encode("PING"), deadline())

    await connection.aclose()

    assert connection.ended
