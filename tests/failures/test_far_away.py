"""Servers with a round trip of 400 ms: longer than the default times of discovery, and named in the settings."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

import tollhouse
from tests.failures.fake_sentinel import FakeSentinel, FakeServer
from tests.failures.primaries import Primary
from tests.failures.slow_link import far_away
from tollhouse.errors import StoreUnavailable
from tollhouse.settings import Settings
from tollhouse.stores.discovery.timing import ResolverTiming, resolver_timing
from tollhouse.stores.transport.redial import TIMING, connection_timing
from tollhouse.stores.urls import format_host

ROUND_TRIP_S = 0.4
FAR = {"round_trip_ms": 400, "deadline_ms": 5_000}


async def sentinel_url(stack: AsyncExitStack) -> str:
    """Open a Sentinel and the primary that it names, both far away; return the URL that maps one to the other."""
    primary = await Primary().open()
    sentinel = await FakeSentinel(1).open()
    stack.push_async_callback(primary.close)
    stack.push_async_callback(sentinel.listener.close)
    sentinel.watch(primary.host)
    slow_sentinel, slow_primary = [
        await stack.enter_async_context(far_away(host, ROUND_TRIP_S)) for host in (sentinel.host, primary.host)
    ]
    mapped = f"{format_host(primary.host)}={format_host(slow_primary)}"
    return f"redis+sentinel://{format_host(slow_sentinel)}/main?address_map={mapped}"


async def list_url(stack: AsyncExitStack) -> str:
    """Open a primary and a replica, both far away; return the URL that lists them."""
    primary, replica = await Primary().open(), await FakeServer().open()
    replica.follows = primary.host
    stack.push_async_callback(primary.close)
    stack.push_async_callback(replica.listener.close)
    slow = [await stack.enter_async_context(far_away(host, ROUND_TRIP_S)) for host in (replica.host, primary.host)]
    return f"redis://{','.join(map(format_host, slow))}"


@pytest.mark.parametrize("make_url", [sentinel_url, list_url])
async def test_far_servers_are_used_when_the_settings_say_how_far(make_url) -> None:
    """With `round_trip_ms` the first call and those after it are answered, by Sentinel and by list."""
    async with AsyncExitStack() as stack:
        settings = Settings(url=await make_url(stack), **FAR)
        async with tollhouse.open(settings) as th:
            assert await th.stores.limits.ping() >= ROUND_TRIP_S * 1000
            assert await asyncio.gather(*(th.stores.limits.command("PING") for _ in range(3))) == [1] * 3
            assert th.stores.limits.health().reason == ""


async def test_without_the_setting_the_reason_names_it() -> None:
    """Servers farther away than the default times are not used, and the reason names the setting."""
    async with AsyncExitStack() as stack:
        settings = Settings(url=await list_url(stack), deadline_ms=5_000)
        async with tollhouse.open(settings) as th:
            with pytest.raises(StoreUnavailable, match="set round_trip_ms"):
                await th.stores.limits.ping()


def test_times_are_never_shorter_than_the_defaults() -> None:
    """On a fast network the times are the defaults; on a slow one they grow with the round trip."""
    assert (connection_timing(1), resolver_timing(100)) == (TIMING, ResolverTiming())
    assert connection_timing(200).connect_s == 2 * TIMING.connect_s
    assert resolver_timing(200).timeout_s == 2 * ResolverTiming().timeout_s
