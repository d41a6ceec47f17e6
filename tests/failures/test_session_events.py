"""Streams of session events over a server that restarts, and over a service that stops."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.failures.own_server import RestartedServer, answers
from tests.failures.test_serve import serve
from tests.http.streams import PATH, PATIENCE_S, messages_of, served_with

STOPS_S = 2.0
"""Less than the time that a service which stops leaves to requests."""


@pytest.fixture
def server() -> Iterator[RestartedServer]:
    server = RestartedServer()
    server.start()
    yield server
    server.remove()


async def test_a_stream_outlives_a_restart_of_its_server(server: RestartedServer) -> None:
    """A stream says that events cannot be read, then that some may be missing, and goes on with new ones."""
    async with served_with(server.url, deadline_ms=1_000) as served:
        await answers(served.tollhouse)
        async with served.stream("?user=ada") as messages:
            await served.tollhouse.sessions.create("ada")
            before = await anext(messages)

            server.kill()
            outage = await anext(messages)
            server.start()
            await answers(served.tollhouse)
            gap = await anext(messages)
            issued = await served.tollhouse.sessions.create("ada")
            after = await anext(messages)

    assert before["event"] == "created"
    assert outage == {"": "events cannot be read now; the stream goes on when they can"}
    assert (gap["event"], gap["data"]) == ("gap", {"reason": "primary"})
    assert (after["event"], after["data"]["sid"]) == ("created", issued.session.sid)


async def test_a_service_that_stops_ends_its_streams(tmp_path: Path) -> None:
    """SIGTERM ends a stream at once and in order, so that `serve` stops as soon as without one."""
    with serve(tmp_path) as service:
        headers = {"X-Api-Key": service.kept["admin_key"][0]}
        async with (
            httpx2.AsyncClient(base_url=service.address, timeout=PATIENCE_S) as client,
            client.stream("GET", PATH, headers=headers) as response,
        ):
            messages = messages_of(response.aiter_lines())
            assert await anext(messages) == {"retry": "2000"}

            began_s = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            rest = [message async for message in messages]
            status = service.process.wait(PATIENCE_S)

    assert (rest, status) == ([], 0)
    assert time.monotonic() - began_s < STOPS_S
    assert "Cancel" not in (tmp_path / "log").read_text()
