"""Joined writes: what a server writes arrives whole and in order, and a response is one write if it can be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from httptools import HttpParserCallbackError
from hypothesis import given
from hypothesis import strategies as st

from tests.http.client import settings_at
from tests.http.twins import Line, Wire
from tollhouse.serving import ServingConfig
from tollhouse.serving.joined_writes import JoinedWrites

Send = Callable[[Any], Awaitable[None]]
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
EXPECTING = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def line_to(app: Callable[[Any, Send], Awaitable[None]]) -> Line:
    """Return a connection to an application that is given `receive` and `send`."""

    async def served(_: Any, receive: Any, send: Any) -> None:
        await app(receive, send)

    config = ServingConfig(lambda: served, settings_at("fake://"))
    config.load()
    return Line(config)


async def start(send: Send, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def body(send: Send, content: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": more})


async def hello(_: Any, send: Send) -> None:
    await start(send, (b"content-length", b"5"))
    await body(send, b"hello")


async def empty(_: Any, send: Send) -> None:
    await start(send, status=204)
    await body(send, b"")


async def in_chunks(_: Any, send: Send) -> None:
    await start(send)
    await body(send, b"hel", more=True)
    await body(send, b"lo")


async def cut_off(_: Any, send: Send) -> None:
    await start(send, (b"content-length", b"5"))


OK = b"HTTP/1.1 200 OK\r\n"
#   the application, the request, and what is written for it; a response that is left open ends its connection
WRITES: dict[str, tuple[Any, bytes, list[bytes]]] = {
    "a body": (hello, GET, [OK + b"content-length: 5\r\n\r\nhello"]),
    "two requests": (hello, GET + GET, [OK + b"content-length: 5\r\n\r\nhello"] * 2),
    "no content": (empty, GET, [b"HTTP/1.1 204 No Content\r\n\r\n"]),
    "the answer to HEAD": (hello, HEAD, [OK + b"content-length: 5\r\n\r\n"]),
    "HEAD, and a request behind it": (hello, HEAD + GET, [OK + b"content-length: 5\r\n\r\n", b"hello"]),
    "chunks": (in_chunks, GET, [OK + b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n", b"2\r\nlo\r\n0\r\n\r\n"]),
    "a body that never comes": (cut_off, GET, [OK + b"content-length: 5\r\n\r\n"]),
}


@pytest.mark.parametrize(("app", "request_", "writes"), WRITES.values(), ids=list(WRITES))
async def test_a_response_is_one_write(app: Any, request_: bytes, writes: list[bytes]) -> None:
    """The head leaves with what comes next, alone if nothing does, and before its connection ends."""
    line = line_to(app)

    await line.send([request_])

    if request_ == HEAD + GET:
        head, content = writes
        assert b"".join(line.wire.writes) == head + head + content
    else:
        assert line.wire.writes == writes
    assert line.wire.is_closed == (app is cut_off)
    await line.end()


async def test_the_head_of_a_stream_does_not_wait_for_its_first_event() -> None:
    """A client of a stream gets the head at once, and each event when it is sent, however late."""
    has_event = asyncio.Event()

    async def stream(_: Any, send: Send) -> None:
        await start(send)
        await has_event.wait()
        await body(send, b"event", more=True)
        await body(send, b"")

    line = line_to(stream)
    await line.receive(GET)
    assert line.wire.writes == [OK + b"transfer-encoding: chunked\r\n\r\n"]

    has_event.set()
    await line.rest()
    assert line.wire.writes[1:] == [b"5\r\nevent\r\n", b"0\r\n\r\n"]
    await line.end()


async def test_a_client_that_waits_for_100_gets_it_before_it_sends_its_body() -> None:
    """100 (Continue) is not held back until there is a response."""

    async def reads(receive: Any, send: Send) -> None:
        message = await receive()
        await start(send, (b"content-length", b"2"))
        await body(send, message["body"])

    line = line_to(reads)
    await line.receive(EXPECTING)
    assert line.wire.writes == [CONTINUE]

    await line.send([b"hi"])
    assert line.wire.writes == [CONTINUE, OK + b"content-length: 2\r\n\r\nhi"]
    await line.end()


async def test_a_client_that_left_is_written_nothing() -> None:
    """A head that was held back when its client left is dropped."""
    line = line_to(hello)
    line.protocol.transport.write(OK + b"\r\n")

    await line.end()
    await asyncio.sleep(0)

    assert line.wire.writes == []


class Lingering(Wire):
    """A connection that sends what is written after its close, as uvloop does while it has bytes to send."""

    is_ending = False

    def close(self) -> None:
        self.is_ending = True

    def is_closing(self) -> bool:
        return self.is_ending


async def test_a_body_never_leaves_without_its_head() -> None:
    """A head that was held back when its connection began to close is sent, because its body is."""
    wire = Lingering(("127.0.0.1", 1))
    joined = JoinedWrites(wire, asyncio.get_running_loop())

    joined.write(OK + b"\r\n")
    wire.close()
    await asyncio.sleep(0)
    joined.write(b"body")

    assert b"".join(wire.writes) == OK + b"\r\nbody"


async def test_a_mistake_of_ours_is_no_mistake_of_the_client() -> None:
    """An unexpected error of a route goes to the event loop, which logs it and ends the connection: no 400."""

    class Mistaken:
        async def __call__(self, *_: object) -> None: ...

        def fast_connection(self) -> Mistaken:
            return self

        def repeated(self, *_: object) -> None: ...

        def route(self, *_: object) -> Mistaken:
            return self

        def start(self, *_: object) -> None:
            raise ZeroDivisionError

    config = ServingConfig(Mistaken, settings_at("fake://"))
    config.load()
    line = Line(config)

    with pytest.raises(HttpParserCallbackError):
        line.protocol.data_received(GET)

    assert line.wire.writes == []
    await line.end()


async def test_an_abort_writes_nothing() -> None:
    """What was held back is dropped when a connection is aborted."""
    wire = Wire(("127.0.0.1", 1))
    joined = JoinedWrites(wire, asyncio.get_running_loop())

    joined.write(OK + b"\r\n")
    joined.abort()
    await asyncio.sleep(0)

    assert wire.writes == []


PARTS = st.sampled_from([OK + b"\r\n", CONTINUE, b"body", b"", b"3\r\nabc\r\n", b"0\r\n\r\n", b"\r\n\r\n", None])


@given(st.lists(PARTS))
async def test_bytes_keep_their_order(parts: list[bytes | None]) -> None:
    """Whatever is written, and whenever the loop turns (None), the same bytes leave, the last of them with close."""
    wire = Wire(("127.0.0.1", 1))
    joined = JoinedWrites(wire, asyncio.get_running_loop())

    for part in parts:
        if part is None:
            await asyncio.sleep(0)
        else:
            joined.write(part)
    joined.close()

    assert b"".join(wire.writes) == b"".join(part for part in parts if part is not None)
    assert wire.is_closed
