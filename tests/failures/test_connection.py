"""One connection under cancellation, deadlines, bounds and a server that misbehaves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.errors import ConnectionFull, ConnectionLost, DeadlinePassed, ServerError, Unreachable
from tollhouse.stores.transport.waiting_calls import WaitingCalls

SOON_S = 5.0


class Lost:
    def __init__(self) -> None:
        self.times = 0
        self.happened = asyncio.Event()

    def __call__(self) -> None:
        self.times += 1
        self.happened.set()


@asynccontextmanager
async def connected_to(path: Path, **options: object) -> AsyncIterator[tuple[Connection, Lost]]:
    lost = Lost()
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_unix_connection(lambda: Connection(on_lost=lost, **options), str(path))  # type: ignore[arg-type] - any option of a connection
    try:
        yield connection, lost
    finally:
        connection.close()
        await lost.happened.wait()


class Peer(asyncio.Protocol):
    """The server side of one connection: answers each chunk with the bytes that `answer` returns."""

    def __init__(self, answer: Callable[[bytes], bytes], open_ones: set[asyncio.Transport]) -> None:
        self.answer = answer
        self.open_ones = open_ones

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open_ones.add(transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.answer(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_ones.discard(self.transport)


@asynccontextmanager
async def scripted_server(tmp_path: Path, answer: Callable[[bytes], bytes]) -> AsyncIterator[Path]:
    """A server whose answers the test writes."""
    path = tmp_path / "s"
    open_ones: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_unix_server(lambda: Peer(answer, open_ones), str(path))
    try:
        yield path
    finally:
        server.close()
        while open_ones:
            for transport in list(open_ones):
                transport.abort()
            await asyncio.sleep(0)


def deadline(seconds: float = SOON_S) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_calls_of_one_tick_leave_in_one_write(tmp_path: Path) -> None:
    """Ten calls sent in one tick of the loop reach the server as one chunk."""
    chunks: list[bytes] = []

    def answer(chunk: bytes) -> bytes:
        chunks.append(chunk)
        return b"+OK\r\n" * chunk.count(b"PING")

    async with scripted_server(tmp_path, answer) as path, connected_to(path) as (connection, _):
        replies = await asyncio.gather(*(connection.send(encode("PING"), deadline()) for _ in range(10)))

    assert replies == ["OK"] * 10 or replies == [b"OK"] * 10
    assert len(chunks) == 1


async def test_a_long_tick_does_not_keep_the_server_waiting(tmp_path: Path) -> None:
    """Of many calls in one tick the first sixteen are with the server before the tick ends, the rest after it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        async with connected_to(tmp_path / "s") as (connection, _):
            server, _ = listener.accept()
            with server:
                server.setblocking(False)

                for number in range(20):
                    connection.send(encode("ECHO", number), deadline()).add_done_callback(
                        lambda future: future.exception()
                    )

                assert server.recv(65536).count(b"ECHO") == 16
                await asyncio.sleep(0)
                assert server.recv(65536).count(b"ECHO") == 4


async def test_a_call_that_comes_alone_is_written_at_once(tmp_path: Path) -> None:
    """While calls come one after another, each is with the server before the tick ends; not so once they come together.

    So a caller alone waits for no tick, and calls that come together have few writes: one more the first time.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        async with connected_to(tmp_path / "s") as (connection, _):
            server, _ = listener.accept()
            with server:
                server.setblocking(False)

                async def burst(size: int) -> list[int]:
                    """Return how many calls of one tick the server has before the tick ends, and after it."""
                    calls = [connection.send(encode("ECHO", number), deadline()) for number in range(size)]
                    before = received(server)
                    await asyncio.sleep(0)
                    after = received(server)
                    server.send(b"+OK\r\n" * size)
                    await asyncio.gather(*calls)
                    return [before, after]

                assert [await burst(size) for size in (1, 1, 1)] == [[0, 1], [1, 0], [1, 0]]
                assert [await burst(size) for size in (10, 10)] == [[1, 9], [0, 10]]
                assert [await burst(size) for size in (1, 1)] == [[0, 1], [1, 0]]


def received(server: socket.socket) -> int:
    """Return how many calls have reached the server since the last look."""
    try:
        return server.recv(65536).count(b"ECHO")
    except BlockingIOError:
        return 0


async def test_a_deadline_passes_and_the_connection_stays_in_order(tmp_path: Path) -> None:
    """A call whose reply is late raises DeadlinePassed; the late reply is dropped and the next one is not its own."""
    held: list[bytes] = []

    def answer(chunk: bytes) -> bytes:
        if b"slow" in chunk:
            held.append(b"$4\r\nslow\r\n")
            return b""
        return b"".join(held) + b"$5\r\nquick\r\n"

    async with scripted_server(tmp_path, answer) as path, connected_to(path) as (connection, lost):
        with pytest.raises(DeadlinePassed):
            await connection.send(encode("ECHO", "slow"), deadline(0.03))
        assert connection.in_flight == 1

        assert await connection.send(encode("ECHO", "quick"), deadline()) == b"quick"

        assert connection.in_flight == 0
        assert lost.times == 0


async def test_a_stalled_connection_is_closed(tmp_path: Path) -> None:
    """A connection that answers nothing for the stall time ends, and its calls raise ConnectionLost."""
    async with scripted_server(tmp_path, lambda _: b"") as path, connected_to(path, stall_s=0.05) as (connection, _):
        with pytest.raises(ConnectionLost):
            await connection.send(encode("PING"), deadline())

        assert not connection.alive


@pytest.mark.parametrize("noise", [b"?garbage\r\n", b"+unasked\r\n+OK\r\n+more\r\n"])
async def test_what_cannot_be_parsed_ends_the_connection(tmp_path: Path, noise: bytes) -> None:
    """Bytes that are no RESP, or a reply without a call, close the connection: replies could meet the wrong calls."""
    async with scripted_server(tmp_path, lambda _: noise) as path, connected_to(path) as (connection, lost):
        answered = await asyncio.gather(connection.send(encode("PING"), deadline()), return_exceptions=True)
        await lost.happened.wait()

        assert answered
        assert not connection.alive


async def test_a_reply_without_end_ends_the_connection(tmp_path: Path) -> None:
    """An incomplete reply beyond the bound closes the connection."""
    async with (
        scripted_server(tmp_path, lambda _: b"$9000\r\n" + b"x" * 4_000) as path,
        connected_to(path, unread_bytes_max=1_000) as (connection, _),
    ):
        with pytest.raises(ConnectionLost):
            await connection.send(encode("PING"), deadline())


async def test_a_reply_in_pieces_is_one_reply(tmp_path: Path) -> None:
    """A reply that arrives in pieces resolves its call when it is complete."""
    async with scripted_server(tmp_path, lambda _: b"$4\r\nab") as path, connected_to(path) as (connection, _):
        call = connection.send(encode("PING"), deadline())
        async with asyncio.timeout(SOON_S):
            while not connection._reader.has_data():  # noqa: ASYNC110 - the reader reports nothing by itself
                await asyncio.sleep(0)

        connection.data_received(b"cd\r\n")

        assert await call == b"abcd"


async def test_an_error_reply_is_an_exception_with_its_code(valkey_socket: Path) -> None:
    """An error reply raises ServerError, whose code is its first word."""
    async with connected_to(valkey_socket) as (connection, _):
        with pytest.raises(ServerError) as raised:
            await connection.send(encode("EVALSHA", "0" * 40, 0), deadline())

    assert raised.value.code == "NOSCRIPT"


async def test_calls_above_the_bound_wait_for_their_turn(valkey_socket: Path) -> None:
    """Calls above the bound on calls in flight are sent in their order as replies free slots."""
    async with connected_to(valkey_socket, in_flight_max=2) as (connection, _):
        calls = [connection.send(encode("ECHO", number), deadline()) for number in range(50)]

        assert connection.in_flight == 2
        assert await asyncio.gather(*calls) == [b"%d" % number for number in range(50)]


async def test_a_cancelled_call_leaves_the_queue(tmp_path: Path) -> None:
    """A call that is cancelled while it waits is never sent, and makes room for another."""
    chunks: list[bytes] = []

    def answer(chunk: bytes) -> bytes:
        chunks.append(chunk)
        return b"+OK\r\n" * chunk.count(b"ECHO")

    bounds = {"in_flight_max": 1, "waiting": WaitingCalls(calls_max=2)}
    async with scripted_server(tmp_path, answer) as path, connected_to(path, **bounds) as (connection, _):
        first, second, third = (connection.send(encode("ECHO", word), deadline()) for word in ("a", "b", "c"))
        with pytest.raises(ConnectionFull):
            connection.send(encode("ECHO", "d"), deadline())
        second.cancel()
        await asyncio.sleep(0)
        fourth = connection.send(encode("ECHO", "e"), deadline())
        fourth.cancel()

        await asyncio.gather(first, third)

    assert [chunk.split(b"\r\n")[-2] for chunk in chunks] == [b"a", b"c"]


async def test_a_call_that_is_cancelled_as_room_comes_is_passed_over() -> None:
    """A cancelled call is not taken out of the queue to be sent, however short ago it was cancelled."""
    waiting, loop = WaitingCalls(), asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    waiting.add(b"a", first, deadline())
    waiting.add(b"b", second, deadline())
    first.cancel()

    call = waiting.next()

    assert call is not None
    assert call[1] is second
    assert waiting.next() is None


async def test_a_call_that_waits_in_vain_was_not_sent(tmp_path: Path) -> None:
    """Without room a call raises ConnectionFull at its deadline, and the connection stays."""
    async with scripted_server(tmp_path, lambda _: b"") as path, connected_to(path, in_flight_max=1) as (connection, _):
        first, second = connection.send(encode("PING"), deadline()), connection.send(encode("PING"), deadline(0.02))

        with pytest.raises(ConnectionFull):
            await second

        assert connection.alive
        assert not first.done()
        first.cancel()


@pytest.mark.parametrize("end", [lambda connection: connection.close(), lambda connection: connection.drain(60)])
async def test_calls_that_wait_when_the_connection_ends_were_not_sent(
    tmp_path: Path, end: Callable[[Connection], None]
) -> None:
    """When the connection is closed or drained, calls that wait raise Unreachable: another connection may send them."""
    async with scripted_server(tmp_path, lambda _: b"") as path, connected_to(path, in_flight_max=1) as (connection, _):
        first, second = connection.send(encode("PING"), deadline()), connection.send(encode("PING"), deadline())

        end(connection)

        with pytest.raises(Unreachable):
            await second
        connection.close()
        with pytest.raises(ConnectionLost):
            await first


async def test_bounds_refuse_before_sending(valkey_socket: Path) -> None:
    """When too many calls or bytes wait, or the connection is closed, it raises ConnectionFull and sends nothing."""
    waiting = WaitingCalls(calls_max=2, bytes_max=100)
    async with connected_to(valkey_socket, in_flight_max=1, waiting=waiting) as (connection, _):
        calls = [connection.send(encode("PING"), deadline()) for _ in range(2)]
        with pytest.raises(ConnectionFull):
            connection.send(encode("ECHO", "x" * 100), deadline())
        calls.append(connection.send(encode("PING"), deadline()))
        with pytest.raises(ConnectionFull):
            connection.send(encode("PING"), deadline())
        await asyncio.gather(*calls)
        connection.close()

        with pytest.raises(ConnectionFull):
            connection.send(encode("PING"), deadline())


async def test_a_call_that_was_given_up_does_not_hide_a_stall(tmp_path: Path) -> None:
    """Cancelled calls count for the stall all the same, and their futures stay cancelled."""
    async with scripted_server(tmp_path, lambda _: b"") as path, connected_to(path, stall_s=0.05) as (connection, lost):
        call = connection.send(encode("PING"), deadline())
        call.cancel()

        await lost.happened.wait()

        assert call.cancelled()
        assert connection.in_flight == 0


async def test_a_server_that_does_not_read_is_not_fed_without_end(tmp_path: Path) -> None:
    """Bytes that wait for the socket are bounded: beyond the bound the connection refuses calls."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        async with connected_to(tmp_path / "s") as (connection, _):
            for _ in range(8):
                await _send_and_forget(connection, encode("ECHO", b"x" * 1_000_000))
            await _send_and_forget(connection, encode("ECHO", b"x" * 1_000_000))

            with pytest.raises(ConnectionFull):
                await _send_and_forget(connection, encode("PING"))


async def _send_and_forget(connection: Connection, frame: bytes) -> None:
    connection.send(frame, deadline()).add_done_callback(lambda future: future.exception())
    await asyncio.sleep(0)


async def test_pushes_go_aside(tmp_path: Path) -> None:
    """A RESP3 push between replies goes to its handler, or nowhere, and never to a caller."""
    pushed: list[object] = []

    def answer(_: bytes) -> bytes:
        return b">2\r\n+invalidate\r\n:1\r\n+OK\r\n"

    async with scripted_server(tmp_path, answer) as path:
        async with connected_to(path, on_push=pushed.append) as (connection, _):
            assert await connection.send(encode("PING"), deadline()) in ("OK", b"OK")
        async with connected_to(path) as (connection, _):
            assert await connection.send(encode("PING"), deadline()) in ("OK", b"OK")

    assert len(pushed) == 1
