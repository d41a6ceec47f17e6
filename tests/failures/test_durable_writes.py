"""Durable writes on real servers: replicas of three priorities, a killed primary, and a file that is synced later."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import tollhouse
from bench.durable import VARIANTS, play
from tests.composed import await_true
from tollhouse.errors import StoreUnavailable
from tollhouse.sessions.outcomes import Issued
from tollhouse.settings import Settings
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
from tollhouse.wiring import Tollhouse

SECRET = b"0123456789abcdef" * 2
SOON_S = 5.0
"""Less than it takes until a dead primary is called down as a replica, or one that lives is made a replica: 8 s."""


@pytest.mark.sentinel
@pytest.mark.parametrize("name", ["spare", "resting", "cascaded", "forced"])
async def test_what_was_durable_outlives_the_primary(name: str) -> None:
    """Creates and revocations that were durable hold after the failover; they are durable if what matters is well."""
    outcome = await play(name)

    assert (outcome.lost, outcome.revived) == (0, 0)
    if VARIANTS[name].promised:
        assert outcome.durable_creates >= outcome.creates - 1
        assert outcome.durable_revocations >= outcome.revocations - 1
    else:
        assert outcome.durable_creates == outcome.durable_revocations == 0


@pytest.mark.sentinel
async def test_writes_are_durable_again_while_the_old_primary_is_one_still() -> None:
    """After a forced failover the replica that follows is enough, although Sentinel lists the old primary beside it."""
    async with _opened_cluster() as (client, cluster):
        old = cluster.nodes[0]
        cluster.call(cluster.sentinels[0], "SENTINEL", "FAILOVER", "main")
        await asyncio.to_thread(await_true, lambda: cluster.primary() not in (None, old))

        assert await _durable_within(client) < SOON_S
        assert await client.cache.invalidate_tags("model:1", durable=True)
        assert cluster.call(old, "ROLE")[0] == "master"


@asynccontextmanager
async def _opened_cluster() -> AsyncIterator[tuple[Tollhouse, SentinelCluster]]:
    cluster = await asyncio.to_thread(SentinelCluster.start)
    try:
        async with tollhouse.open(Settings(url=cluster.url, secret=(SECRET,))) as client:
            await _durable_within(client)
            yield client, cluster
    finally:
        await asyncio.to_thread(cluster.stop)


async def _durable_within(client: Tollhouse) -> float:
    """Create sessions until one is durable, and return how long that took."""
    began_s = time.monotonic()
    async with asyncio.timeout(30):
        while True:
            try:
                if (await _created(client)).durable:
                    return time.monotonic() - began_s
            except StoreUnavailable:
                pass  # while the primary is replaced
            await asyncio.sleep(0.02)


async def _created(client: Tollhouse) -> Issued:
    issued = await client.sessions.create("ada")
    assert isinstance(issued, Issued)
    return issued


async def test_a_create_does_not_wait_for_a_file_that_is_synced_later(tmp_path: Path) -> None:
    """On a server that syncs its file once a second a create takes what it does without a file, and is not durable."""
    times: list[float] = []
    async with tollhouse.open(f"embedded:///{tmp_path}/data") as client:
        assert not (await _created(client)).durable
        for _ in range(20):
            began_s = time.perf_counter()
            assert not (await _created(client)).durable
            times.append(time.perf_counter() - began_s)

    assert statistics.median(times) < 0.03  # WAITAOF would take the 50 ms that it waits, and more


async def test_a_create_on_a_file_that_is_synced_first_is_durable(tmp_path: Path) -> None:
    """With `appendfsync always` the file has a create before it is answered, and WAITAOF says so."""
    async with tollhouse.open(f"embedded:///{tmp_path}/data") as client:
        await client.stores.sessions.command("CONFIG", "SET", "appendfsync", "always")

        assert (await _created(client)).durable


async def test_an_invalidation_of_tags_is_durable_as_a_create_is(tmp_path: Path) -> None:
    """`durable=True` asks for the same confirmation; without it there is none, and nothing to wait for."""
    async with tollhouse.open(f"embedded:///{tmp_path}/later") as client:
        assert not await client.cache.invalidate_tags("model:1", durable=True)
    async with tollhouse.open(f"embedded:///{tmp_path}/first") as client:
        await client.stores.cache.command("CONFIG", "SET", "appendfsync", "always")

        assert await client.cache.invalidate_tags("model:1", durable=True)
        assert not await client.cache.invalidate_tags("model:1")
