"""How long a client may take, and how many may come: connections of the served protocol, on raw sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.http.client import settings_at
from tests.http.sockets import Client, connection_to, listening

HEAD = b"POST /%s HTTP/1.1\r\nHost: x\r\n"
QUICK = {"head_timeout_ms": 200, "body_timeout_ms": 200, "idle_timeout_ms": 200}
PATIENCE_S = 10.0


class Application:
    """Answers when its test says so: at once, when the body is there, or with more than a socket takes."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._answer(scope["path"], receive, send)
        finally:
            self.ended.set()

    async def _answer(self, path: str, receive: Any, send: Any) -> None:
        if path == "/slow":
            await self.may_answer.wait()
        if path == "/body":
            while (await receive()).get("more_body"):
                pass
        content = b"x" * (30_000_000 if path == "/large" else 2)
        headers = [(b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


@asynccontextmanager
async def served(**changes: Any) -> AsyncGenerator[tuple[int, Application]]:
    app = Application()
    async with listening(app, settings_at("fake://", **changes)) as port:
        yield port, app


async def ended(client: Client, within_s: float = PATIENCE_S) -> list[int]:
    """Wait until the server has ended the connection; give the statuses of what it sent."""
    async with asyncio.timeout(within_s):
        await client.ended.wait()
    return [answer.status for answer in client.answers()]


#   what a client sends before it falls silent, and the answers that it gets until the end
SILENT: dict[str, tuple[bytes, list[int]]] = {
    "nothing": (b"", []),
    "empty lines": (b"\r\n\r\n", []),
    "a part of a head": (HEAD % b"body", [408]),
    "a part of a line": (b"POST /body HT", [408]),
    "a part of a body": (HEAD % b"body" + b"Content-Length: 5\r\n\r\nhel", [408]),
    "a part of a chunk": (HEAD % b"body" + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", [408]),
    "a request": (HEAD % b"" + b"\r\n", [200]),
    "a request that is answered before its body is there": (HEAD % b"" + b"Content-Length: 5\r\n\r\nhel", [200]),
    "a request and a part of a head": (HEAD % b"" + b"\r\n" + HEAD % b"", [200, 408]),
}


@pytest.mark.parametrize(("sent", "statuses"), SILENT.values(), ids=list(SILENT))
async def test_a_silent_client_is_left(sent: bytes, statuses: list[int]) -> None:
    """A connection ends when its client takes too long, with 408 if that leaves a request without an answer."""
    async with served(**QUICK) as (port, _), connection_to(port) as client:
        client.write(sent)

        assert await ended(client) == statuses


@pytest.mark.parametrize(
    "start", [b"POST /body HTTP/1.1\r\nHost: x\r\nX: ", HEAD % b"body" + b"Content-Length: 9999\r\n\r\n"]
)
async def test_a_trickle_is_no_progress(start: bytes) -> None:
    """A head and a body have one deadline each, however many pieces they come in."""
    async with served(**QUICK) as (port, _), connection_to(port) as client:
        client.write(start)
        async with asyncio.timeout(PATIENCE_S):
            while not client.ended.is_set():
                client.write(b"a")
                await asyncio.sleep(0.01)

        assert [answer.status for answer in client.answers()] == [408]


async def test_a_late_body_lets_the_connection_be_idle_no_longer() -> None:
    """A connection whose body arrives after the response ends as any other that is idle."""
    async with served(**QUICK) as (port, _), connection_to(port) as client:
        client.write(HEAD % b"" + b"Content-Length: 5\r\n\r\n")
        await client.arrived.wait()
        client.write(b"hello")

        assert await ended(client) == [200]


async def test_a_client_that_does_not_read_is_left() -> None:
    """A response that its client does not read holds no connection and no task for ever."""
    async with served(**QUICK) as (port, app), connection_to(port) as client:
        client.pause()
        client.write(HEAD % b"large" + b"\r\n" + HEAD % b"large" + b"\r\n")

        async with asyncio.timeout(PATIENCE_S):
            await app.ended.wait()


async def test_a_slow_application_has_its_time() -> None:
    """No timeout counts while the application has the request, nor for what a client pipelines behind it."""
    async with served(**QUICK) as (port, app), connection_to(port) as client:
        client.write(HEAD % b"slow" + b"\r\n" + HEAD % b"slow")
        await asyncio.sleep(0.6)
        assert not client.ended.is_set()
        app.may_answer.set()
        client.write(b"Connection: close\r\n\r\n")

        assert await ended(client) == [200, 200]


LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_connections_above_the_bound_get_503() -> None:
    """The newest connection above connections_max is refused with 503, and it may ask whether the service lives."""
    async with served(connections_max=1) as (port, _), connection_to(port) as first:
        first.write(LIVE)
        async with connection_to(port) as second, connection_to(port) as third:
            second.write(HEAD % b"" + b"\r\n")
            third.write(LIVE)
            assert await ended(second) == [503]
            assert await ended(third) == [200]
        (refusal,) = second.answers()

        assert refusal.headers["retry-after"] == "1"
        assert refusal.headers["connection"] == "close"
        first.write(LIVE)
        first.write(LIVE[:-2] + b"Connection: close\r\n\r\n")
        assert await ended(first) == [200, 200, 200]
        async with connection_to(port) as fourth:
            fourth.write(LIVE[:-2] + b"Connection: close\r\n\r\n")
            assert await ended(fourth) == [200]


async def test_a_silent_connection_above_the_bound_ends_soon() -> None:
    """Above the bound a connection has a second for its one request; those beyond the reserve are refused unasked."""
    async with served(connections_max=1) as (port, _):
        several = [connection_to(port) for _ in range(40)]
        clients = [await one.__aenter__() for one in several]
        found = await asyncio.gather(*(ended(client) for client in clients[1:]))
        for one in several:
            await one.__aexit__(None, None, None)

    assert found == [[]] * 32 + [[503]] * 7
