"""P6: after an invalidation that could not be sent, no older value is read by this process."""

from __future__ import annotations

import asyncio

import pytest

from tests.caches import Loader, Seam, open_cache
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.errors import StoreUnavailable

CLEAR = "cache/invalidate_tags"


@pytest.fixture
async def seam(world: World) -> Seam:
    return Seam(world.stores.cache)


@pytest.fixture
async def cache(world: World, seam: Seam) -> Cache:
    cache = open_cache(world, seam)
    await cache.set("k", "old")
    cache.distrust()
    return cache


async def test_the_cache_is_cleared_before_the_next_read(cache: Cache, seam: Seam):
    """A cache that was distrusted is cleared once, before its next read of any kind."""
    assert await cache.get("k") is None
    assert (await cache.fetch("k", Loader("new"))).status == "MISS"

    assert seam.calls[CLEAR] == 1


async def test_concurrent_reads_clear_it_once(cache: Cache, seam: Seam):
    """Readers wait for one step, and all read after it."""
    found = await asyncio.gather(*(cache.fetch("k", Loader("new")) for _ in range(10)))

    assert {each.value for each in found} == {"new"}
    assert seam.calls[CLEAR] == 1


async def test_until_it_is_cleared_nothing_is_read_or_stored(cache: Cache, seam: Seam):
    """While the clearing fails, values are loaded, a get raises, and its set is refused."""
    seam.failing.add(CLEAR)

    assert (await cache.fetch("k", Loader("new"))).status == "BYPASS"
    with pytest.raises(StoreUnavailable):
        await cache.get("k")
    assert not await cache.set("k", "old again")

    seam.failing.clear()
    assert await cache.get("k") is None


async def test_a_doubt_that_arises_meanwhile_is_settled_too(cache: Cache, seam: Seam):
    """An invalidation that fails while the cache is being cleared has it cleared once more."""

    async def fail_again() -> None:
        cache.distrust()

    seam.before[CLEAR] = fail_again

    assert await cache.get("k") is None
    assert seam.calls[CLEAR] == 2
    await cache.aclose()
