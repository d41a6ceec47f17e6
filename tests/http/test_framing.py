"""The end of one request and the beginning of the next: on raw sockets, in every segmentation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.client import SERVICE_KEY, settings_at
from tests.http.sockets import connection_to, exchange, listening, service_with_a_policy

KEY = f"X-Api-Key: {SERVICE_KEY}\r\n".encode()
TAKE = b'{"policy": "api", "key": "ada"}'
POST = b"POST /v1/limits/take HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + KEY
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
LAST = GET + b"Connection: close\r\n\r\n"
SMUGGLED = POST + b"Content-Length: %d\r\n\r\n" % len(TAKE) + TAKE
"""A body that is a request: its answer would reach the client whose request comes next."""


def with_length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes, trailers: bytes = b"") -> bytes:
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (body[:half], body[half:]))
    return b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailers + b"\r\n"


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
#   how clients offer another protocol
OFFERS = {
    "java": OFFER,
    "two lines, any case": b"connection: keep-alive\r\nCONNECTION: uPgRaDe\r\nUPGRADE: websocket\r\n",
    "upgrade first": b"Upgrade: TLS/1.0, foo\r\nConnection:keep-alive,upgrade\r\n",
    "to a proxy": b"Proxy-Connection: upgrade\r\nUpgrade: h2c\r\n",
}
#   what follows the offer, and the status of its answer
BODIES = {
    "a length": (POST, with_length(TAKE), 200),
    "chunks": (POST, chunked(TAKE), 200),
    "a length around a request": (POST, with_length(SMUGGLED), 400),
    "chunks around a request": (POST, chunked(SMUGGLED), 400),
    "no body": (GET, b"\r\n", 200),
}


@pytest.fixture(scope="module")
async def port() -> AsyncGenerator[int]:
    """The port of the service, which has a policy `api`."""
    async with service_with_a_policy() as port:
        yield port


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what arrived."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    content = msgspec.json.encode({"path": scope["path"], "headers": headers, "body": body.decode("latin-1")})
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]}
    await send(start)
    await send({"type": "http.response.body", "body": content})


@pytest.fixture(scope="module")
async def echo_port() -> AsyncGenerator[int]:
    async with listening(echo, settings_at("fake://")) as port:
        yield port


async def statuses(port: int, *segments: bytes) -> list[int]:
    return [answer.status for answer in await exchange(port, segments)]


@pytest.mark.parametrize(("head", "rest", "status"), BODIES.values(), ids=list(BODIES))
async def test_an_offer_to_upgrade_changes_no_framing(port: int, head: bytes, rest: bytes, status: int) -> None:
    """A request that offers another protocol is served as without the offer, wherever its bytes are cut in two."""
    request = head + OFFER + rest

    for cut in range(1, len(request)):
        assert await statuses(port, request[:cut], request[cut:] + LAST) == [status, 200], cut


@pytest.mark.parametrize("offer", OFFERS.values(), ids=list(OFFERS))
@pytest.mark.parametrize(("head", "rest", "status"), BODIES.values(), ids=list(BODIES))
async def test_an_offer_may_come_byte_by_byte(port: int, offer: bytes, head: bytes, rest: bytes, status: int) -> None:
    """However an offer is spelled, and if every byte comes alone, one request is one answer."""
    request = head + offer + rest

    assert await statuses(port, *(request[at : at + 1] for at in range(len(request))), LAST) == [status, 200]


async def test_offers_may_be_pipelined(echo_port: int) -> None:
    """Requests with offers in one segment are answered in order, each with its own body."""
    several = [
        b"POST /%d HTTP/1.1\r\nHost: x\r\n" % number + OFFER + with_length(b"%d" % number) for number in range(30)
    ]

    found = await exchange(echo_port, [b"".join(several) + LAST])

    echoed = [msgspec.json.decode(answer.body) for answer in found]
    assert [(one["path"], one["body"]) for one in echoed[:-1]] == [(f"/{number}", str(number)) for number in range(30)]
    assert echoed[-1]["path"] == "/livez"


async def test_an_offer_of_http_1_0_is_framed_too(port: int) -> None:
    """HTTP/1.0 has no upgrade; its body is framed by its length, and the connection ends after the answer."""
    request = POST.replace(b"HTTP/1.1", b"HTTP/1.0") + OFFER + with_length(SMUGGLED)

    assert await statuses(port, request) == [400]
    assert await statuses(port, request[:-50], request[-50:] + LAST) == [400]


@pytest.mark.parametrize(
    "framed", [b"Transfer-Encoding: xchunked\r\n\r\n", b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"]
)
async def test_an_offer_excuses_no_framing(port: int, framed: bytes) -> None:
    """A request that offers another protocol is refused for its framing as any other, and nothing behind it is read."""
    assert await statuses(port, POST + OFFER + framed + SMUGGLED) == [501]


async def test_a_tunnel_is_refused(port: int) -> None:
    """CONNECT is 501, and the bytes behind it are no request."""
    assert await statuses(port, b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n" + SMUGGLED) == [501]


async def test_a_credential_in_a_trailer_is_none(port: int) -> None:
    """An API key in the trailer of a request with chunks does not authenticate it."""
    anonymous = POST.replace(KEY, b"")

    assert await statuses(port, anonymous + chunked(TAKE, KEY) + LAST) == [401, 200]
    assert await statuses(port, anonymous + chunked(TAKE, KEY)[:-20], chunked(TAKE, KEY)[-20:] + LAST) == [401, 200]


async def test_trailers_are_dropped(echo_port: int) -> None:
    """No trailer is merged into the headers, of its request or of the next one, wherever the bytes are cut."""
    trailers = b"X-Forwarded-For: 10.0.0.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nX-Api-Key: abc\r\n"
    request = b"POST / HTTP/1.1\r\nHost: x\r\n" + chunked(b"hello", trailers)

    for cut in range(1, len(request)):
        first, second = [
            msgspec.json.decode(answer.body)
            for answer in await exchange(echo_port, [request[:cut], request[cut:] + LAST])
        ]
        assert first["headers"] == [["host", "x"], ["transfer-encoding", "chunked"]]
        assert first["body"] == "hello"
        assert second["headers"] == [["host", "x"], ["connection", "close"]]


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[list[tuple[str, bytes]], list[bytes]]:
    """Several requests, as path and body, and the segments in which their bytes come."""
    wanted: list[tuple[str, bytes]] = []
    sent = b""
    for number in range(draw(st.integers(1, 4))):
        body = draw(st.sampled_from([b"", b"hello", SMUGGLED, b"0\r\n\r\n", b"\r\n" + LAST]))
        offer = draw(st.sampled_from([b"", *OFFERS.values()]))
        trailers = draw(st.sampled_from([b"", KEY + b"Connection: upgrade\r\nUpgrade: h2c\r\n"]))
        framed = chunked(body, trailers) if body and draw(st.booleans()) else with_length(body)
        wanted.append((f"/{number}", body))
        sent += b"POST /%d HTTP/1.1\r\nHost: x\r\n" % number + offer + framed
    wanted.append(("/livez", b""))
    sent += LAST
    cuts = sorted(draw(st.sets(st.integers(1, len(sent) - 1), max_size=5)))
    return wanted, [sent[start:end] for start, end in pairwise([0, *cuts, len(sent)])]


@given(pipelines())
async def test_segments_mean_nothing(echo_port: int, pipeline: tuple[list[tuple[str, bytes]], list[bytes]]) -> None:
    """Requests with offers, trailers and bodies that look like requests are read alike in all segmentations."""
    wanted, segments = pipeline

    echoed = [msgspec.json.decode(answer.body) for answer in await exchange(echo_port, segments)]

    assert [(one["path"], one["body"].encode("latin-1")) for one in echoed] == wanted
    assert all({name for name, _ in one["headers"]}.isdisjoint({"x-api-key", "upgrade"}) for one in echoed)


#   a request that RFC 9112 does not let through, and the status of its refusal
REFUSED = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
    "two hosts of HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: x\r\nhost: y\r\n\r\n", 400),
    "a host with a path": (b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    "a host with user information": (b"GET / HTTP/1.1\r\nHost: a@x\r\n\r\n", 400),
    "a port that is none": (b"GET / HTTP/1.1\r\nHost: x:y\r\n\r\n", 400),
    "a target of another host": (b"GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a target with user information": (b"GET http://a@x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    "a list of lengths": (POST + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    "a signed length": (POST + b"Content-Length: +5\r\n\r\nhello", 400),
    "a length on the next line": (POST + b"Content-Length:\r\n 5\r\n\r\nhello", 400),
    "an empty length": (POST + b"Content-Length:\r\n\r\n", 400),
    "a length and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks and a length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "chunks of HTTP/1.0": (POST.replace(b"1.1", b"1.0") + chunked(TAKE), 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked first": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "an unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "two codings": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "two lines of codings": (POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    "a control character before chunked": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "whitespace before the colon": (POST + b"Content-Length : 5\r\n\r\nhello", 400),
    "a tab before the colon": (POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400),
    "a folded line": (b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n", 400),
    "a space before the first header": (b"GET / HTTP/1.1\r\n X: y\r\nHost: x\r\n\r\n", 400),
    "a bare LF after the request line": (b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
    "a bare LF after a header": (b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400),
    "a bare LF at the end": (b"GET / HTTP/1.1\r\nHost: x\r\n\n", 400),
    "a bare CR": (b"GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", 400),
    "NUL in a value": (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400),
    "a name that is no token": (b"GET / HTTP/1.1\r\nHost: x\r\nX\xff: y\r\n\r\n", 400),
    "HTTP/2 by prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "another version": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "no version": (b"GET /\r\n\r\n", 505),
    "another version that lives on": (b"GET / HTTP/2.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", 505),
    "HTTP/0.9 with headers": (b"GET / HTTP/0.9\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", 505),
    "a target with a fragment": (b"GET /livez#/metrics HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a target without a path": (b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a port above all": (b"GET http://x:99999/ HTTP/1.1\r\nHost: x:99999\r\n\r\n", 400),
}
#   the rest of a request with chunks whose framing is damaged
DAMAGED_CHUNKS = {
    "a bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "a bare LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "a size with a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size with a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "a size with a space": b"5 \r\nhello\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a chunk that is longer than its size": b"5\r\nhello!\r\n0\r\n\r\n",
    "a length as a trailer": b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a coding as a trailer": b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize(("request_", "status"), REFUSED.values(), ids=list(REFUSED))
async def test_an_ambiguous_head_is_refused(port: int, request_: bytes, status: int) -> None:
    """What two servers could read differently is problem details, and the connection ends with them."""
    (answer,) = await exchange(port, [request_ + SMUGGLED])

    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert "date" in answer.headers
    assert await statuses(port, *(request_[at : at + 1] for at in range(len(request_)))) == [status]


@pytest.mark.parametrize("rest", [b"Host: y\r\n\r\n", b"X: " + b"a" * 20_000, b"Transfer-Encoding: chunked\r\n\r\nx"])
async def test_a_refusal_of_head_has_no_content(port: int, rest: bytes) -> None:
    """The answer to HEAD ends with its head, a refusal too: content would pass for the next answer (RFC 9110 9.3.2)."""
    async with connection_to(port) as client, asyncio.timeout(10):
        client.write(b"HEAD /livez HTTP/1.1\r\nHost: x\r\n" + rest)
        await client.ended.wait()

        assert bytes(client.received).startswith(b"HTTP/1.1 4")
        assert bytes(client.received).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("chunks", DAMAGED_CHUNKS.values(), ids=list(DAMAGED_CHUNKS))
async def test_damaged_chunks_are_refused(port: int, chunks: bytes) -> None:
    """A body with chunks that are not exactly as RFC 9112 has them is 400, and nothing behind it is read."""
    assert await statuses(port, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + SMUGGLED) == [400]


#   unusual requests that every server reads alike
SERVED = {
    "an empty host": b"GET /livez HTTP/1.1\r\nHost:\r\n",
    "an address as the host": b"GET /livez HTTP/1.1\r\nHost: [::1]:8000\r\n",
    "a host with whitespace around it": b"GET /livez HTTP/1.1\r\nHost: \t x:80 \t\r\n",
    "no host of HTTP/1.0": b"GET /livez HTTP/1.0\r\n",
    "an absolute target": b"GET http://X:80/livez HTTP/1.1\r\nHost: x:80\r\n",
    "empty lines before it": b"\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n",
}


@pytest.mark.parametrize("head", SERVED.values(), ids=list(SERVED))
async def test_an_unusual_head_is_served(port: int, head: bytes) -> None:
    """What is unusual but clear is served."""
    assert await statuses(port, head + b"Connection: close\r\n\r\n") == [200]


async def test_chunk_extensions_are_ignored(port: int) -> None:
    """An extension of a chunk changes nothing (RFC 9112 7.1.1)."""
    extended = b'Transfer-Encoding: chunked\r\n\r\n%x;a=b;c="d"\r\n%s\r\n0;e\r\n\r\n' % (len(TAKE), TAKE)

    assert await statuses(port, POST + extended + LAST) == [200, 200]


@pytest.mark.parametrize("garbage", [b"\x00", b"GET / HTTP/1.1\r\n\r\n", b"GET /" + b"a" * 20_000])
async def test_a_refusal_takes_no_place_of_another_answer(port: int, garbage: bytes) -> None:
    """What cannot be read behind a request never is the answer to that request: it gets its own, and then the end."""
    assert await statuses(port, POST + with_length(TAKE) + garbage) == [200]
