"""The cache on a server that hangs: no read waits for it longer than once, and none for a lease left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from tollhouse import scripts
from tollhouse.cache.cache import Cache
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
async def open_cache(server: EmbeddedServer) -> AsyncIterator[tuple[Cache, Callable[[], Any]]]:
    """A cache with the default bounds, and a function that hangs the server for the time of a `with`."""
    metrics = Metrics()
    stores = open_stores(urls_by_store(server.url, {}), scripts.load(), metrics)
    cache = Cache(stores.cache, Keyring(secrets=(b"a secret for tests, 32 bytes or more",)), metrics)
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
