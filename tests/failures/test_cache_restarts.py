"""P6 on a real server that loses what was invalidated: it is killed, and starts again from an older snapshot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tollhouse
from tests.caches import Loader
from tests.failures.own_server import RestartedServer, answers

ROUNDS = 12


@pytest.fixture
def server() -> Iterator[RestartedServer]:
    server = RestartedServer()
    server.start()
    yield server
    server.remove()


async def test_a_restart_from_an_old_snapshot_brings_no_invalidated_value_back(server: RestartedServer):
    """P6: the snapshot has the old value and a clock that knows of no invalidation, and yet the new value is loaded."""
    async with tollhouse.open(server.url) as client:
        await answers(client)
        for number in range(ROUNDS):
            key, tags = f"k{number}", [f"t{number}"]
            await client.cache.get_or_load(key, Loader("old"), tags=tags)
            await client.stores.cache.command("SAVE")
            await (client.cache.invalidate_tags(*tags) if number % 2 else client.cache.invalidate(key))

            server.kill()
            server.start()
            await answers(client)

            assert await client.stores.cache.command("DBSIZE") > 0
            found = [await client.cache.fetch(key, Loader("new"), tags=tags) for _ in range(2)]
            assert [(each.value, each.status) for each in found] == [("new", "MISS"), ("new", "HIT")]


async def test_a_load_that_began_before_a_restart_is_not_stored(server: RestartedServer):
    """P6: its lease is in the snapshot, but the invalidation that ended it is not."""
    async with tollhouse.open(server.url) as client:
        await answers(client)

        async def load() -> str:
            await client.stores.cache.command("SAVE")
            await client.cache.invalidate("k")
            server.kill()
            server.start()
            await answers(client)
            return "old"

        assert await client.cache.get_or_load("k", load) == "old"

        assert await client.cache.get_or_load("k", Loader("new")) == "new"
