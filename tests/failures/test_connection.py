"""One lane under cancellation, deadlines, bounds and a server that misbehaves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tollhouse.stores.transport import connection as lane_module
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.errors import ConnectionFull, ConnectionLost, DeadlinePassed, ServerError

SOON_S = 5.0


class Lost:
    def __init__(self) -> None:
        self.times = 0
        self.happened = asyncio.Event()

    def __call__(self) -> None:
        self.times += 1
        self.happened.set()


@asynccontextmanager
async def lane_to(path: Path, **options: object) -> AsyncIterator[tuple[Connection, Lost]]:
    lost = Lost()
    loop = asyncio.get_running_loop()
    _, lane = await loop.create_unix_connection(lambda: Connection(on_lost=lost, **options), str(path))  # type: ignore[arg-type] - any option of a lane
    yield lane, lost
    lane.close()
    await lost.happened.wait()


class Peer(asyncio.Protocol):
    """The server side of one connection: answers each chunk with the bytes that `answer` gives."""

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

    async with scripted_server(tmp_path, answer) as path, lane_to(path) as (lane, _):
        replies = await asyncio.gather(*(lane.send(encode("PING"), deadline()) for _ in range(10)))

    assert replies == ["OK"] * 10 or replies == [b"OK"] * 10
    assert len(chunks) == 1


async def test_a_long_tick_does_not_keep_the_server_waiting(tmp_path: Path) -> None:
    """Of many calls in one tick the first sixteen are with the server before the tick ends, the rest after it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        async with lane_to(tmp_path / "s") as (lane, _):
            server, _ = listener.accept()
            with server:
                server.setblocking(False)

                for number in range(20):
                    lane.send(encode("ECHO", number), deadline()).add_done_callback(lambda future: future.exception())

                assert server.recv(65536).count(b"ECHO") == 16
                await asyncio.sleep(0)
                assert server.recv(65536).count(b"ECHO") == 4


async def test_a_deadline_passes_and_the_lane_stays_in_order(tmp_path: Path) -> None:
    """A call whose reply is late raises DeadlinePassed; the late reply is dropped and the next one is not its own."""
    held: list[bytes] = []

    def answer(chunk: bytes) -> bytes:
        if b"slow" in chunk:
            held.append(b"$4\r\nslow\r\n")
            return b""
        return b"".join(held) + b"$5\r\nquick\r\n"

    async with scripted_server(tmp_path, answer) as path, lane_to(path) as (lane, lost):
        with pytest.raises(DeadlinePassed):
            await lane.send(encode("ECHO", "slow"), deadline(0.03))
        assert lane.in_flight == 1

        assert await lane.send(encode("ECHO", "quick"), deadline()) == b"quick"

        assert lane.in_flight == 0
        assert lost.times == 0


async def test_a_stalled_lane_is_given_up(tmp_path: Path) -> None:
    """A connection that answers nothing for the stall time ends, and its calls raise LaneLost."""
    async with scripted_server(tmp_path, lambda _: b"") as path, lane_to(path, stall_s=0.05) as (lane, _):
        with pytest.raises(ConnectionLost):
            await lane.send(encode("PING"), deadline())

        assert not lane.alive


@pytest.mark.parametrize("noise", [b"?garbage\r\n", b"+unasked\r\n+OK\r\n+more\r\n"])
async def test_what_cannot_be_framed_ends_the_lane(tmp_path: Path, noise: bytes) -> None:
    """Bytes that are no RESP, or a reply that nobody asked for, end the connection rather than the order."""
    async with scripted_server(tmp_path, lambda _: noise) as path, lane_to(path) as (lane, lost):
        answered = await asyncio.gather(lane.send(encode("PING"), deadline()), return_exceptions=True)
        await lost.happened.wait()

        assert answered
        assert not lane.alive


async def test_a_reply_without_end_ends_the_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply of which more than the bound has come, and the end not yet, is not gathered any longer."""
    monkeypatch.setattr(lane_module, "UNREAD_BYTES_MAX", 1_000)
    async with (
        scripted_server(tmp_path, lambda _: b"$9000\r\n" + b"x" * 4_000) as path,
        lane_to(path) as (lane, _),
    ):
        with pytest.raises(ConnectionLost):
            await lane.send(encode("PING"), deadline())


async def test_a_reply_in_pieces_is_one_reply(tmp_path: Path) -> None:
    """A reply that comes in pieces is given when it is whole."""
    async with scripted_server(tmp_path, lambda _: b"$4\r\nab") as path, lane_to(path) as (lane, _):
        call = lane.send(encode("PING"), deadline())
        async with asyncio.timeout(SOON_S):
            while not lane._reader.has_data():  # noqa: ASYNC110 - what the reader holds it tells nobody
                await asyncio.sleep(0)

        lane.data_received(b"cd\r\n")

        assert await call == b"abcd"


async def test_an_error_reply_is_an_exception_with_its_code(valkey_socket: Path) -> None:
    """An error reply raises ServerError, whose code is its first word."""
    async with lane_to(valkey_socket) as (lane, _):
        with pytest.raises(ServerError) as raised:
            await lane.send(encode("EVALSHA", "0" * 40, 0), deadline())

    assert raised.value.code == "NOSCRIPT"


async def test_bounds_refuse_before_sending(valkey_socket: Path) -> None:
    """A lane at its bound on calls in flight, or closed, raises LaneFull and sends nothing."""
    async with lane_to(valkey_socket, in_flight_max=2) as (lane, _):
        first, second = lane.send(encode("PING"), deadline()), lane.send(encode("PING"), deadline())
        with pytest.raises(ConnectionFull, match="2 calls are in flight"):
            lane.send(encode("PING"), deadline())
        await asyncio.gather(first, second)
        lane.close()

        with pytest.raises(ConnectionFull, match="closed"):
            lane.send(encode("PING"), deadline())


async def test_a_call_that_was_given_up_does_not_hide_a_stall(tmp_path: Path) -> None:
    """Calls whose callers have gone count for the stall all the same, and nobody is told twice."""
    async with scripted_server(tmp_path, lambda _: b"") as path, lane_to(path, stall_s=0.05) as (lane, lost):
        call = lane.send(encode("PING"), deadline())
        call.cancel()

        await lost.happened.wait()

        assert call.cancelled()
        assert lane.in_flight == 0


async def test_a_server_that_does_not_read_is_not_fed_without_end(tmp_path: Path) -> None:
    """Bytes that wait for the socket are bounded: beyond the bound the lane refuses."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        async with lane_to(tmp_path / "s") as (lane, _):
            for _ in range(8):
                await _send_and_forget(lane, encode("ECHO", b"x" * 1_000_000))
            await _send_and_forget(lane, encode("ECHO", b"x" * 1_000_000))

            with pytest.raises(ConnectionFull, match="does not read"):
                await _send_and_forget(lane, encode("PING"))


async def _send_and_forget(lane: Connection, frame: bytes) -> None:
    lane.send(frame, deadline()).add_done_callback(lambda future: future.exception())
    await asyncio.sleep(0)


async def test_pushes_go_aside(tmp_path: Path) -> None:
    """A RESP3 push between replies goes to its handler, or nowhere, and never to a caller."""
    pushed: list[object] = []

    def answer(_: bytes) -> bytes:
        return b">2\r\n+invalidate\r\n:1\r\n+OK\r\n"

    async with scripted_server(tmp_path, answer) as path:
        async with lane_to(path, on_push=pushed.append) as (lane, _):
            assert await lane.send(encode("PING"), deadline()) in ("OK", b"OK")
        async with lane_to(path) as (lane, _):
            assert await lane.send(encode("PING"), deadline()) in ("OK", b"OK")

    assert len(pushed) == 1
