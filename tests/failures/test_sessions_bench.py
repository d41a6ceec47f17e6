"""The benchmark of sessions: what it says of the cost of a verify is true on every run, and it runs to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import redis.asyncio as redis

from bench.our_sessions import NAME, TOUCHED
from bench.session_library import SessionLibrary, check
from bench.session_peers import flask_session, litestar
from bench.sessions import Scale, measured
from bench.sessions_report import chart, document
from tollhouse.stores.embedded.server import EmbeddedServer

SMALL = Scale(
    concurrencies=(50,),
    rounds=1,
    seconds=0.01,
    warm_up_s=0.01,
    sessions=60,
    requests=60,
    revoked=(1, 3),
    profiles=("owasp",),
)


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    started = EmbeddedServer.start()
    yield started
    started.stop()


@asynccontextmanager
async def peers(url: str, concurrency: int) -> AsyncIterator[list[SessionLibrary]]:
    """Open the peers whose packages are there without the extra `bench`."""
    client = redis.Redis.from_url(url, max_connections=concurrency)
    try:
        yield [litestar(client), flask_session(client)]
    finally:
        await client.aclose()


async def test_a_verify_is_one_command_and_writes_nothing_until_a_touch_is_due(server: EmbeddedServer) -> None:
    """A verify is one command, which changes nothing; with a touch due it is two, and peers change data each time."""
    report = await measured(server, SMALL, peers)

    costs = {one.name: one.each for one in report.costs}
    own, touched = costs.pop(NAME), costs.pop(TOUCHED)
    assert (own.sent, own.changes, own.replicated_bytes) == (1, 0, 0)
    assert touched.sent == 2
    assert touched.changes > 0
    assert touched.replicated_bytes > 0
    assert [(one.sent, one.changes) for one in costs.values()] == [(2, 1), (2, 1)]
    assert [one.sessions for one in report.revocations] == [1, 3]
    assert "## Logins" in document(report)
    assert chart("Sessions", report).startswith("<svg")


async def test_a_library_that_keeps_no_sessions_is_not_measured(server: EmbeddedServer) -> None:
    """The check before a race raises for a library whose logout ends nothing."""
    client = redis.Redis.from_url(server.url)

    async def end(sid: str) -> None:
        del sid

    forgetful = SessionLibrary(name="none", create=litestar(client).create, verify=litestar(client).verify, end=end)
    with pytest.raises(RuntimeError, match="none keeps no sessions"):
        await check(forgetful)
    await client.aclose()
