"""Several requests of one connection: how many may wait, and what ends it without a loss of answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tests.http.client import settings_at
from tests.http.sockets import connection_to, exchange, listening, service_with_a_policy
from tests.http.test_framing import GET, KEY, LAST, POST, SMUGGLED, TAKE, chunked, with_length

FIRST = b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n"
EXPECT = b"Expect: 100-Continue\r\n"
WAITING_MAX = 32
SMALLEST = b"GET / HTTP/1.1\r\nHost:\r\n\r\n"


@pytest.fixture(scope="module")
async def port() -> AsyncGenerator[int]:
    """The port of the service, which has a policy `api`."""
    async with service_with_a_policy() as port:
        yield port


class Gate:
    """An application that answers when its test says so."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.entered.set()
        await self.may_answer.wait()
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("request_", [SMALLEST, b"POST / HTTP/1.1\r\nHost: x\r\n" + with_length(b"hello")])
async def test_few_requests_wait(request_: bytes) -> None:
    """A client that pipelines thousands of requests gets the first 33 answers, and then the end."""
    gate = Gate()
    async with listening(gate, settings_at("fake://")) as port, connection_to(port) as client:
        client.write(request_ * 5000)
        async with asyncio.timeout(10):
            await gate.entered.wait()
            gate.may_answer.set()
            await client.ended.wait()

        assert [answer.status for answer in client.answers()] == [200] * (1 + WAITING_MAX)


async def test_as_many_as_may_wait_are_served() -> None:
    """A client that pipelines no more than may wait keeps its connection."""
    gate = Gate()
    gate.may_answer.set()
    several = SMALLEST * WAITING_MAX
    async with listening(gate, settings_at("fake://")) as port:
        found = await exchange(port, [several + SMALLEST[:10], SMALLEST[10:] + LAST])

    assert [answer.status for answer in found] == [200] * (WAITING_MAX + 2)


async def test_a_segment_with_several_messages_is_no_long_message() -> None:
    """The bound of a message counts its own bytes, not those of others in the same segment."""
    gate = Gate()
    gate.may_answer.set()
    request = b"POST / HTTP/1.1\r\nHost: x\r\n" + with_length(b"a" * 1000)
    async with listening(gate, settings_at("fake://", body_bytes=1000, head_bytes=1024)) as port:
        found = await exchange(port, [request * 30 + LAST])

    assert [answer.status for answer in found] == [200] * 31


@pytest.mark.parametrize("before", [b"", SMALLEST], ids=["the first", "the second"])
async def test_a_message_has_a_bound(before: bytes) -> None:
    """A body whose chunks are all overhead ends the connection soon after its bound, wherever its head came."""
    gate = Gate()
    gate.may_answer.set()
    settings = settings_at("fake://", body_bytes=1000, head_bytes=1024)
    async with listening(gate, settings) as port, connection_to(port) as client, asyncio.timeout(10):
        client.write(before + b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;")
        for _ in range(1000):
            client.write(b"a" * 1000)
            await asyncio.sleep(0)
        await client.ended.wait()

        assert [answer.status for answer in client.answers()] == [200] * bool(before)


@pytest.mark.parametrize("before", [b"", SMALLEST], ids=["the first", "the second"])
@pytest.mark.parametrize("waiting", [b"", SMALLEST, SMALLEST * 3], ids=["none", "one", "three"])
async def test_a_request_learns_that_its_client_left(before: bytes, waiting: bytes) -> None:
    """The request that is served gets `http.disconnect` when its client leaves, also if others wait behind it."""
    entered, told = asyncio.Event(), asyncio.Event()
    gate = Gate()
    gate.may_answer.set()

    async def listener(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/first":
            await gate(scope, receive, send)
            return
        entered.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        told.set()

    async with listening(listener, settings_at("fake://")) as port, asyncio.timeout(10):
        async with connection_to(port) as client:
            client.write(before + FIRST + waiting)
            await entered.wait()
        await told.wait()


async def test_a_segment_that_ends_several_heads_is_no_long_head() -> None:
    """The bound of a head counts its own bytes, wherever a segment with several requests begins and ends."""
    gate = Gate()
    gate.may_answer.set()
    request = b"GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"a" * 1000)
    several = request * 30
    async with listening(gate, settings_at("fake://")) as port:
        found = await exchange(port, [several[:10], several[10:-10], several[-10:] + LAST])

    assert [answer.status for answer in found] == [200] * 31


@pytest.mark.parametrize("garbage", [b"\x00", b"GET / HTTP/1.1\r\n\r\n", b"GET /" + b"a" * 20_000])
async def test_no_earlier_answer_is_lost(port: int, garbage: bytes) -> None:
    """All requests before what cannot be read are answered, and the connection ends with the last of them."""
    take = POST + with_length(TAKE)

    found = await exchange(port, [take + take + GET + b"\r\n" + garbage])

    assert [answer.status for answer in found] == [200, 200, 200]


@pytest.mark.parametrize("framed", [with_length(LAST), chunked(LAST)])
async def test_a_body_that_may_not_come_is_waited_for_no_longer(port: int, framed: bytes) -> None:
    """A request with an expectation that is refused before its body is read ends the connection.

    Its client may send the body or the next request: no server on the way can know, and one of them is mistaken.
    """
    anonymous = POST.replace(KEY, b"") + EXPECT + framed

    for cut in (anonymous.index(b"\r\n\r\n") + 4, len(anonymous)):
        (answer,) = await exchange(port, [anonymous[:cut], anonymous[cut:] + LAST])

        assert answer.status == 401
        assert answer.headers["connection"] == "close"


async def test_a_body_that_is_read_is_asked_for(port: int) -> None:
    """A client that waits for 100 gets it when its body is wanted, and keeps its connection."""
    async with connection_to(port) as client, asyncio.timeout(10):
        client.write(POST + EXPECT + b"Content-Length: %d\r\n\r\n" % len(TAKE))
        await client.arrived.wait()
        assert bytes(client.received) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.received.clear()
        client.write(TAKE + LAST)
        await client.ended.wait()

        assert [answer.status for answer in client.answers()] == [200, 200]


async def test_http_1_0_is_never_asked_for_a_body(port: int) -> None:
    """A client of HTTP/1.0 knows no 100, and would take it for its answer (RFC 9110 10.1.1)."""
    request = POST.replace(b"HTTP/1.1", b"HTTP/1.0") + EXPECT + with_length(SMUGGLED)
    async with connection_to(port) as client, asyncio.timeout(10):
        client.write(request[:-5])
        await asyncio.sleep(0)
        client.write(request[-5:])
        await client.ended.wait()

        assert bytes(client.received).startswith(b"HTTP/1.1 400 ")
