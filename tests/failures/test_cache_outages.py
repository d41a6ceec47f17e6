"""P6, P7, P8 under load: a server that is killed, frozen or full costs an app its hits, and nothing else."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from tests.failures.cache_load import READERS, AppUnderLoad, app_under_load
from tests.failures.own_server import RestartedServer, answers

DOWN_S = 0.9
"""Longer than a call waits for a connection."""
FROZEN_S = 1.5
"""Longer than the deadline of a call."""
SLACK_S = 0.7
"""What a busy machine may add."""
SLOWEST_S = {"get_or_load": 1.0, "rcached": 1.0, "manager": 2.0, "ai": 2.0}
"""A second for each call of the store: a `get` and its `set`, a limit and the output of a model."""
RECOVERED_S = 3.0

Outage = Callable[[RestartedServer, AppUnderLoad], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def killed(server: RestartedServer, app: AppUnderLoad) -> AsyncGenerator[None]:
    """It comes back empty."""
    server.kill()
    yield
    server.start()


@asynccontextmanager
async def set_back(server: RestartedServer, app: AppUnderLoad) -> AsyncGenerator[None]:
    """It comes back with the values of an older snapshot."""
    await app.client.stores.cache.command("SAVE")
    await app.writes_more(3)
    server.kill()
    yield
    server.start()


@asynccontextmanager
async def rolled_back(server: RestartedServer, app: AppUnderLoad) -> AsyncGenerator[None]:
    """It comes back with a log of writes that ends before the last of them."""
    earlier = server.data.with_name("earlier")
    await app.client.stores.cache.command("CONFIG", "SET", "appendfsync", "always", "appendonly", "yes")
    await app.writes_more(3)
    shutil.copytree(server.data, earlier)
    await app.writes_more(3)
    server.kill()
    shutil.rmtree(server.data)
    earlier.rename(server.data)
    yield
    server.start()


@asynccontextmanager
async def frozen(server: RestartedServer, app: AppUnderLoad) -> AsyncGenerator[None]:
    """It does nothing for a while, and then all that it was sent."""
    server.freeze()
    await asyncio.sleep(FROZEN_S - DOWN_S)
    yield
    server.thaw()


@asynccontextmanager
async def full(server: RestartedServer, app: AppUnderLoad) -> AsyncGenerator[None]:
    """It answers, and stores nothing."""
    await app.client.stores.cache.command("CONFIG", "SET", "maxmemory", "1")
    yield
    await app.client.stores.cache.command("CONFIG", "SET", "maxmemory", "0")


@pytest.mark.parametrize("outage", [killed, set_back, rolled_back, frozen, full], ids=lambda outage: outage.__name__)
async def test_an_outage_costs_hits_and_nothing_else(outage: Outage):
    """Every call is answered in time, by its loader if need be, with nothing that was invalidated before; then by hits.

    While the server is away, a process loads a key once at a time, and once more after a write; callers of `get` and
    `set` load for themselves. No restart is needed.
    """
    server = RestartedServer()
    server.start()
    try:
        async with app_under_load(server.url) as app:
            await answers(app.client)
            await app.hits()
            app.begin()
            async with outage(server, app):
                await asyncio.sleep(DOWN_S)
                answered = {name: sum(road.sources.values()) for name, road in app.roads.items()}
            app.restored()
            await app.hits()
            await app.writes_more(2)
    finally:
        server.remove()

    for name, road in app.roads.items():
        assert road.stale == [], name
        assert answered[name] > READERS, name
        assert road.slowest_s < SLOWEST_S[name] + SLACK_S, name
        assert road.most_loads <= (READERS if name == "manager" else 2), name
        assert road.first_hit_s < RECOVERED_S, name
