"""Streams of session events: the service on a socket, and a client that reads what is streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec

from tests.http.client import ADMIN, settings_at
from tests.http.sockets import listening
from tollhouse import wiring
from tollhouse.app import create_app, serve_quickly
from tollhouse.http.api_keys import ApiKeys
from tollhouse.http.sessions.event_stream import EventStreams, Pace
from tollhouse.wiring import Tollhouse

PATIENCE_S = 10
PATH = "/v1/admin/events"
QUICK = Pace(poll_s=0.01, heartbeat_s=60)


class Served:
    """The service on a socket of loopback, with a client for it."""

    def __init__(self, tollhouse: Tollhouse, streams: EventStreams, client: httpx2.AsyncClient) -> None:
        self.tollhouse = tollhouse
        self.streams = streams
        self.client = client

    @asynccontextmanager
    async def stream(self, query: str = "", **headers: str) -> AsyncGenerator[AsyncIterator[dict[str, Any]]]:
        """Open a stream that has begun; give its messages."""
        sent = {**ADMIN, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.client.stream("GET", PATH + query, headers=sent) as response, asyncio.timeout(PATIENCE_S):
            assert response.status_code == 200
            messages = messages_of(response.aiter_lines())
            assert await anext(messages) == {"retry": "2000"}
            yield messages


async def messages_of(lines: AsyncIterator[str]) -> AsyncGenerator[dict[str, Any]]:
    """Take a stream apart as the HTML standard says; the text of a comment is under "", data is decoded."""
    fields: dict[str, Any] = {}
    async for line in lines:
        name, _, value = line.partition(":")
        if line:
            fields[name] = msgspec.json.decode(value) if name == "data" else value.removeprefix(" ")
        elif fields:
            yield fields
            fields = {}


@asynccontextmanager
async def served_with(
    url: str = "fake://", *, most: int = 8, pace: Pace = QUICK, **changes: Any
) -> AsyncGenerator[Served]:
    """Serve on a store, by default one with data of its own."""
    tollhouse = wiring.open(settings_at(url, **changes))
    keys, streams = ApiKeys(tollhouse), EventStreams(tollhouse.metrics, most=most, pace=pace)
    app = create_app(tollhouse, keys=keys, streams=streams)
    async with (
        app.lifespan(),
        listening(serve_quickly(app, tollhouse, keys), tollhouse.settings) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client,
    ):
        yield Served(tollhouse, streams, client)
