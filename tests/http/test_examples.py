"""The examples: each runs as its first line says."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import uvicorn

from examples.litestar_app import app


@asynccontextmanager
async def served() -> AsyncIterator[httpx2.AsyncClient]:
    """Serve the example with uvicorn, on a free port of loopback."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve([listener]))
        try:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                yield client
        finally:
            server.should_exit = True
            await task


async def test_the_litestar_example_limits_and_caches_on_an_embedded_server() -> None:
    """One application, no server to install: a route is limited by its own policy, and its value is loaded once."""
    async with served() as client:
        index = await client.get("/")
        answers = [await client.get("/forecast/Oslo") for _ in range(3)]
        health = await client.get("/health")

    assert index.headers["ratelimit-policy"] == '"site";q=100;w=60'
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].json() == answers[1].json() == {"city": "Oslo", "forecast": "sun"}
    assert "ratelimit" not in health.headers
