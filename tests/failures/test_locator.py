"""Which locator each URL gets, and what locators return before anything was started."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.failures.fake_sentinel import FakeSentinel
from tests.failures.primaries import Primary
from tests.failures.scenes import answering
from tests.processes import children_of
from tests.worlds import SCRIPTS
from tollhouse.errors import StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.primary_history import PrimaryEvent
from tollhouse.stores.embedded.locators import EmbeddedClusterLocator
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
from tollhouse.stores.embedded.server import bundled_binary
from tollhouse.stores.opening import Stores, open_stores
from tollhouse.stores.store import Store
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.redial import ConnectionTiming
from tollhouse.stores.urls import EmbeddedClusterTarget, TcpAddress, UnixAddress, urls_by_store

TAKE = (1, "sliding-window", 1, 1000, 3_600_000, 60, 1, 1)
PATIENCE_S = 30.0

IMPATIENT = ConnectionTiming(connect_s=0.03, wait_s=0.03, start_s=0.03)


@pytest.fixture(scope="module")
async def ready() -> AsyncIterator[Stores]:
    """Stores on a cluster of their own; one start for all tests here."""
    stores = open_stores(urls_by_store("embedded-sentinel://", {}), SCRIPTS, Metrics())
    yield stores
    await stores.aclose()


async def test_stores_of_one_service_share_one_resolver() -> None:
    """Four stores of one Sentinel service open one connection to each Sentinel, and one each to the primary."""
    primary = await Primary().open()
    sentinel = await FakeSentinel(1).open()
    sentinel.watch(primary.host)
    url = f"redis+sentinel://{sentinel.host[0]}:{sentinel.host[1]}/main/0"
    stores = open_stores(urls_by_store(url, {}), {}, Metrics())
    try:
        assert [store.health() is not None for store in stores.all()] == [True] * 4
        await asyncio.gather(*(store.ping() for store in stores.all()))

        healths = [store.health() for store in stores.all()]

        assert {health.generation for health in healths if health is not None} != {None}
        assert len(set(map(repr, healths))) == 1
        assert len(sentinel.listener.connections) == 1
        assert len(primary.connections) >= 4
    finally:
        await stores.aclose()
        await sentinel.listener.close()
        await primary.close()


async def test_a_single_server_has_no_service_health(valkey_socket: Path) -> None:
    """Stores on one server, or in this process, have no Sentinels and so no health."""
    for url in (f"unix://{valkey_socket}", "fake://unwatched", "redis://127.0.0.1:1"):
        stores = open_stores(urls_by_store(url, {}), SCRIPTS, Metrics())

        assert [store.health() for store in stores.all()] == [None] * 4
        await stores.aclose()


async def test_callers_learn_why_a_server_cannot_be_started(tmp_path: Path) -> None:
    """If the embedded server, or cluster, has no program to run, the error of calls names the remedy."""
    for url in ("embedded://", "embedded-sentinel://"):
        stores = open_stores(urls_by_store(url, {}), SCRIPTS, Metrics(), embedded_binary=tmp_path / "missing")

        with pytest.raises(StoreUnavailable, match="name a program that can be run") as raised:
            await stores.limits.ping()

        assert raised.value.outcome == "not-sent"
        await stores.aclose()


async def test_an_unused_embedded_server_is_not_started() -> None:
    """Stores on `embedded://` that are closed unused never started anything."""
    before = children_of(os.getpid())
    stores = open_stores(urls_by_store("embedded://", {}), SCRIPTS, Metrics())

    await stores.aclose()

    assert children_of(os.getpid()) == before


async def test_an_embedded_cluster_that_was_not_started_has_no_state() -> None:
    """Before the first call there is no health, no login and no effect of hints; closing starts nothing."""
    locator = EmbeddedClusterLocator(EmbeddedClusterTarget(), Dialer(), None)
    events: list[PrimaryEvent] = []
    locator.subscribe(events.append)

    locator.suspect(TcpAddress(host="127.0.0.1", port=1), FailoverHint(why="eof"))

    assert (locator.health(), locator.login(), events) == (None, Login(), [])
    await locator.aclose()


async def test_a_slow_start_is_carried_on(tmp_path: Path) -> None:
    """A server that needs longer to start than calls may wait is started once, and later calls reach it."""
    started, slow = tmp_path / "started", tmp_path / "slow"
    slow.write_text(f'#!/bin/sh\necho once >> {started}\nsleep 0.3\nexec {bundled_binary()} "$@"\n')
    slow.chmod(0o755)
    before = children_of(os.getpid())
    stores = open_stores(urls_by_store("embedded://", {}), SCRIPTS, Metrics(), timing=IMPATIENT, embedded_binary=slow)

    with pytest.raises(StoreUnavailable, match="not-sent"):
        await stores.limits.ping()
    await answering(stores)

    assert started.read_text() == "once\n"
    await stores.aclose()
    assert children_of(os.getpid()) == before


async def test_a_start_is_ended_though_no_caller_waits_for_it() -> None:
    """Stores that are closed while their server or cluster starts leave no process behind."""
    before = children_of(os.getpid())
    for url in ("embedded://", "embedded-sentinel://"):
        stores = open_stores(urls_by_store(url, {}), SCRIPTS, Metrics(), timing=IMPATIENT)
        with contextlib.suppress(StoreUnavailable):
            await stores.limits.ping()

        await stores.aclose()

        assert children_of(os.getpid()) == before


@pytest.mark.sentinel
async def test_an_embedded_cluster_starts_with_the_first_call(ready: Stores) -> None:
    """`embedded-sentinel://` starts with the first call; all stores then have health, and a take is durable (C-7)."""
    await answering(ready)

    async with asyncio.timeout(10):
        while (health := ready.limits.health()) is None or (health.sentinels_reachable, health.promotable) != (3, 2):
            await answering(ready)
    key = "tollhouse:rate:{first}:x"
    assert (await ready.limits.run_durably("limits/take", [key], TAKE))[1]
    assert await ready.limits.command("EXISTS", key) == 1


@pytest.mark.sentinel
async def test_a_failover_of_an_embedded_cluster_moves_every_store(ready: Stores) -> None:
    """A coordinated failover of `embedded-sentinel://` moves every store to the new primary, with its data."""
    await answering(ready)
    key = "tollhouse:rate:{moved}:x"
    await ready.limits.run("limits/take", [key], TAKE)
    cluster = ready._shared[0]
    assert isinstance(cluster, EmbeddedClusterLocator)
    inside = await cluster.server.started(cluster)

    command = ("SENTINEL", "FAILOVER", "main", "COORDINATED")
    assert await asyncio.to_thread(inside.call, inside.sentinels[0], *command) == "OK"
    await until(lambda: _generation(ready) == 2)

    for store in ready.all():
        assert (await store.info("replication"))["role"] == "master"
    assert await ready.limits.command("EXISTS", key) == 1


@pytest.mark.sentinel
async def test_a_forced_failover_loses_no_durable_write() -> None:
    """Every take that was answered `durable: true` around a forced failover is on the new primary."""
    cluster = await asyncio.to_thread(SentinelCluster.start)
    stores = open_stores(urls_by_store(cluster.url, {}), SCRIPTS, Metrics())
    limits = stores.limits
    assert isinstance(limits, Store)
    kept: list[str] = []
    answered: Counter[int] = Counter()
    stop = asyncio.Event()

    async def write(worker: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            key = f"tollhouse:rate:{{{worker}.{number}}}:x"
            try:
                _, durable = await limits.run_durably("limits/take", [key], TAKE)
            except StoreUnavailable:
                continue
            answered[number] += 1
            if durable:
                kept.append(key)

    try:
        await limits.ping()
        writers = [asyncio.ensure_future(write(worker)) for worker in range(8)]
        await until(lambda: len(kept) > 100)
        await asyncio.to_thread(cluster.call, cluster.sentinels[0], "SENTINEL", "FAILOVER", "main")
        await until(lambda: _generation(stores) == 2)
        before = answered.total()
        await until(lambda: answered.total() > before + 50)
        stop.set()
        await asyncio.gather(*writers)

        there = [await limits.command("EXISTS", key) for key in kept]

        assert there == [1] * len(kept)
        assert limits.in_flight == 0
    finally:
        await stores.aclose()
        await asyncio.to_thread(cluster.stop)


def _generation(stores: Stores) -> int:
    health = stores.limits.health()
    return 0 if health is None or health.generation is None else health.generation.number


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not happened():  # noqa: ASYNC110 - what happens is at six other processes
            await asyncio.sleep(0.01)


async def test_a_socket_is_an_address(valkey_socket: Path) -> None:
    """A `unix://` store finds its server at the socket, always."""
    stores = open_stores(urls_by_store(f"unix://{valkey_socket}", {}), SCRIPTS, Metrics())
    assert isinstance(stores.limits, Store)

    assert await stores.limits._locator.locate() == UnixAddress(path=str(valkey_socket))

    await stores.aclose()
