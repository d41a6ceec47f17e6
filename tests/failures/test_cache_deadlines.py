"""The cache beside what hangs or is full: no read waits longer than once for a server, or than its bound for a load."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from tests.failures.own_server import own_server
from tollhouse import scripts
from tollhouse.cache.cache import Cache
from tollhouse.cache.reading.loader import DEFAULT_BOUNDS, Bounds
from tollhouse.keyring import Keyring
from tollhouse.metrics import Metrics
from tollhouse.stores.embedded.server import EmbeddedServer
from tollhouse.stores.opening import open_stores
from tollhouse.stores.urls import urls_by_store

SLACK_S = 0.5
"""What a busy machine may add."""


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    server = EmbeddedServer.start()
    yield server
    server.stop()


@asynccontextmanager
async def open_cache(
    server: EmbeddedServer, bounds: Bounds = DEFAULT_BOUNDS
) -> AsyncIterator[tuple[Cache, Callable[[], Any]]]:
    """A cache, and a function that hangs the server for the time of a `with`."""
    metrics = Metrics()
    stores = open_stores(urls_by_store(server.url, {}), scripts.load(), metrics)
    cache = Cache(stores.cache, Keyring(secrets=(b"a secret for tests, 32 bytes or more",)), metrics, bounds=bounds)
    process = int((await stores.cache.info("server"))["process_id"])

    @contextmanager
    def hung() -> Iterator[None]:
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)

    yield cache, hung
    await cache.aclose()
    await stores.aclose()


@pytest.mark.parametrize("state", ["up", "down"])
async def test_a_caller_that_joined_waits_no_longer_than_its_bound(server: EmbeddedServer, state: str):
    """P8: callers that joined a load that hangs load for themselves after `wait_ms`, once for all of them."""
    hanging, loads = asyncio.Event(), 0

    async def hang() -> str:
        hanging.set()
        await asyncio.Event().wait()
        return "never"

    async def load() -> str:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.05)
        return "own"

    async with open_cache(server, Bounds(wait_ms=200)) as (cache, _):
        if state == "down":
            server.stop()
        first = asyncio.create_task(cache.fetch("k", hang))
        await hanging.wait()
        began_s = time.monotonic()
        found = await asyncio.gather(*(cache.fetch("k", load) for _ in range(50)))
        waited_s = time.monotonic() - began_s
        first.cancel()

    assert {(each.value, each.status) for each in found} == {("own", "BYPASS")}
    assert 0.2 <= waited_s < 0.25 + SLACK_S
    assert loads == 1


async def test_a_caller_that_waits_twice_in_vain_loads_alone(server: EmbeddedServer):
    """P8: if the load that impatient callers share hangs as well, each ends that wait after `wait_ms` too."""

    async def hang() -> str:
        await asyncio.Event().wait()
        return "never"

    async with open_cache(server, Bounds(wait_ms=100)) as (cache, _):
        for key in ("a", "b"):  # the second time, other loads without a lease were made before
            hanging = [asyncio.create_task(cache.fetch(key, hang)) for _ in range(2)]
            await asyncio.sleep(0.02)
            began_s = time.monotonic()
            found = await cache.fetch(key, _loader("own"))
            waited_s = time.monotonic() - began_s
            for each in hanging:
                each.cancel()

            assert (found.value, found.status) == ("own", "BYPASS")
            assert waited_s < 0.2 + SLACK_S


async def test_callers_beside_a_full_server_share_one_load():
    """P7: thirty callers of a process load once, though nothing can be stored."""
    loads = 0

    async def load() -> str:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.1)
        return "value"

    async with own_server("--maxmemory", "100kb", "--maxmemory-policy", "noeviction") as url:
        metrics = Metrics()
        stores = open_stores(urls_by_store(url, {}), scripts.load(), metrics)
        cache = Cache(stores.cache, Keyring(secrets=(b"a secret for tests, 32 bytes or more",)), metrics)
        began_s = time.monotonic()
        found = await asyncio.gather(*(cache.fetch("k", load) for _ in range(30)))
        waited_s = time.monotonic() - began_s
        await cache.aclose()
        await stores.aclose()

    assert {(each.value, each.ttl_ms) for each in found} == {("value", 0)}
    assert loads == 1
    assert waited_s < 0.1 + SLACK_S


@pytest.mark.parametrize("value", ["small", b"large" * 50_000], ids=["small", "large"])
async def test_a_server_that_hangs_during_a_load_costs_the_bound_of_the_fill(server: EmbeddedServer, value: Any):
    """P8: the caller has its value 0.25 s after it was loaded, and the next reader loads at once when all is well."""
    async with open_cache(server) as (cache, hung):
        await cache.fetch("warm", _loader(value))
        loaded_s = 0.0

        async def load() -> Any:
            nonlocal loaded_s
            hanging.__enter__()
            loaded_s = time.monotonic()
            return value

        hanging = hung()
        found = await cache.fetch("k", load)
        waited_s = time.monotonic() - loaded_s
        hanging.__exit__(None, None, None)
        again = await _until_answered(cache, "k", value)

    assert found.value == value
    assert waited_s < 0.25 + SLACK_S
    assert again < SLACK_S


async def test_callers_that_gave_up_leave_no_lease_that_others_wait_for(server: EmbeddedServer):
    """P8: leases that a server grants after its callers left do not keep later readers of the process waiting."""
    async with open_cache(server) as (cache, hung):
        await cache.fetch("warm", _loader(1))
        with hung():
            callers = [asyncio.create_task(cache.fetch("k", _loader(2))) for _ in range(20)]
            callers += [asyncio.create_task(asyncio.wait_for(cache.fetch("k", _loader(2)), 0.2)) for _ in range(20)]
            began_s = time.monotonic()
            await asyncio.gather(*callers[20:], return_exceptions=True)
            ended_s = time.monotonic() - began_s
            await asyncio.gather(*callers[:20])
        waited_s = await _until_answered(cache, "k", 3)

    assert ended_s < 0.2 + SLACK_S
    assert waited_s < SLACK_S


def _loader(value: Any) -> Callable[[], Any]:
    async def load() -> Any:
        return value

    return load


async def _until_answered(cache: Cache, key: str, value: Any) -> float:
    """Return the longest time of a read, up to the first one that the store answered."""
    longest_s = 0.0
    async with asyncio.timeout(20):
        while True:
            began_s = time.monotonic()
            found = await cache.fetch(key, _loader(value))
            longest_s = max(longest_s, time.monotonic() - began_s)
            if found.status != "BYPASS":
                return longest_s
            await asyncio.sleep(0.01)
