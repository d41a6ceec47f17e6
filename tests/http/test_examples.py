"""The examples: each runs as its first line says."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from examples.litestar_app import app
from tests.asgi import connect
from tests.structured_fields import parse_list
from tests.worlds import embedded_world

STARTED_S = 20


@asynccontextmanager
async def served() -> AsyncIterator[httpx2.AsyncClient]:
    """Serve the Litestar example with uvicorn, on a free port of loopback."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve([listener]))
        try:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                yield client
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def started(example: str, **variables: str) -> AsyncIterator[tuple[httpx2.AsyncClient, list[str]]]:
    """Run an example as a user does, in a process of its own; yield a client, and what it logs until it has ended."""
    log: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", example, "--fd", str(listener.fileno())),
            env={**os.environ, **variables},
            pass_fds=[listener.fileno()],
            stderr=asyncio.subprocess.PIPE,
        )
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert process.stderr is not None
    reading: asyncio.Task[Any] | None = None
    try:
        async with asyncio.timeout(STARTED_S):
            while "startup complete" not in "".join(log[-1:]):
                assert process.returncode is None
                log.append((await process.stderr.readline()).decode())
        reading = asyncio.create_task(process.stderr.read())
        async with httpx2.AsyncClient(base_url=base_url, timeout=STARTED_S) as client:
            yield client, log
    finally:
        process.terminate()
        await process.wait()
        if reading is not None:
            log.extend((await reading).decode().splitlines())


@asynccontextmanager
async def run(example: str, valkey_socket: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Run an example with the server of this run."""
    async with started(example, TOLLHOUSE_URL=f"unix://{valkey_socket}") as (client, _):
        yield client


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


async def test_the_fastapi_example_limits_routes_functions_and_logins(valkey_socket: Path) -> None:
    """Middleware, dependencies and functions share one server; each route is limited as it says."""
    async with embedded_world(valkey_socket), run("examples.fastapi_app:app", valkey_socket) as client:
        index = await client.get("/")
        reports = [await client.get("/report/2026", headers={"X-Api-Key": key}) for key in ("a", "a", "a", "b")]
        polite = [await client.post("/login/ada", headers={"X-Word": "please"}) for _ in range(5)]
        guesses = [await client.post("/login/ada") for _ in range(4)]
        health = await client.get("/health")

    assert index.headers["ratelimit-policy"] == '"site";q=100;w=60'
    assert [answer.status_code for answer in reports] == [200, 200, 429, 200]
    assert reports[0].json() == {"year": 2026, "pages": 26}
    assert [quota for _, quota in parse_list(reports[0].headers["ratelimit-policy"])] == [
        {"q": 100, "w": 60},
        {"q": 2, "w": 60},
        {"q": 20, "w": 3600},
        {"q": 10, "w": 10},
    ]
    assert reports[2].headers["content-type"] == "application/problem+json"
    assert [answer.status_code for answer in polite] == [200] * 5
    assert [answer.status_code for answer in guesses] == [401, 401, 401, 429]
    assert "ratelimit" not in health.headers


async def test_the_fastapi_example_counts_messages() -> None:
    """Its websocket is counted when it connects, and message by message."""
    from examples.fastapi_app import app as fastapi_app

    sent = await connect(fastapi_app, [str(number) for number in range(12)], path="/echo")

    assert b'"site"' in dict(sent[0]["headers"])[b"ratelimit"]
    assert [message["type"] for message in sent].count("websocket.send") == 10
    assert (sent[-1]["type"], sent[-1]["code"]) == ("websocket.close", 1013)


async def test_the_django_example_limits_views_of_both_kinds(valkey_socket: Path) -> None:
    """Views, async or not, are limited inside Django, and what they refuse is answered 429 around it."""
    async with embedded_world(valkey_socket), run("examples.django_app:application", valkey_socket) as client:
        index = await client.get("/")
        forecasts = [await client.get("/forecast/Oslo/") for _ in range(3)]
        reports = [await client.get("/report/", headers={"X-Team": team}) for team in ("a", "a", "b")]
        health = await client.get("/health/")

    assert index.headers["ratelimit-policy"] == '"site";q=100;w=60'
    assert [answer.status_code for answer in forecasts] == [200, 200, 429]
    assert [answer.status_code for answer in reports] == [200, 429, 200]
    for refused in (forecasts[2], reports[1]):
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) >= 1
        assert len(parse_list(refused.headers["ratelimit"])) == 2
    assert "ratelimit" not in health.headers
