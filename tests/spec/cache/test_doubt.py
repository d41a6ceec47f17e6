"""P6: after an invalidation that could not be sent, no older value is read by this process."""

from __future__ import annotations

import asyncio

import pytest

from tests.caches import GatedLoader, Loader, Seam, open_cache
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


async def test_until_it_is_cleared_one_process_loads_once_at_a_time(cache: Cache, seam: Seam):
    """P7: an outage that an invalidation has met makes no caller load for itself, of one key or of many."""
    seam.failing.add("everything")
    load = GatedLoader("new")
    loads: list[list[str]] = []

    async def load_many(keys: list[str]) -> dict[str, str]:
        loads.append(keys)
        load.gate.set()
        return dict.fromkeys(keys, "of many")

    tasks = [asyncio.create_task(cache.fetch("k", load)) for _ in range(10)]
    await load.began.wait()

    many = await cache.get_many(["k", "other"], load_many)

    assert {(each.value, each.status) for each in await asyncio.gather(*tasks)} == {("new", "BYPASS")}
    assert many == {"k": "new", "other": "of many"}
    assert (load.calls, loads) == (1, [["other"]])


@pytest.mark.parametrize("fresh", [False, True])
async def test_a_load_that_began_before_a_failed_invalidation_is_not_shared(cache: Cache, seam: Seam, *, fresh: bool):
    """P6: while the store is down, a caller that comes after an invalidation of its process loads anew."""
    seam.failing.add("everything")
    old, new = GatedLoader("old"), Loader("new")
    earlier = asyncio.create_task(cache.fetch("k", old))
    await old.began.wait()
    assert await cache.make_up_for(cache.invalidate("k")) is None

    found = await cache.fetch("k", new, fresh=fresh)
    old.gate.set()

    assert (found.value, found.status, (await earlier).value) == ("new", "BYPASS", "old")


async def test_a_doubt_that_arises_meanwhile_is_settled_too(cache: Cache, seam: Seam):
    """An invalidation that fails while the cache is being cleared has it cleared once more."""

    async def fail_again() -> None:
        cache.distrust()

    seam.before[CLEAR] = fail_again

    assert await cache.get("k") is None
    assert seam.calls[CLEAR] == 2
    await cache.aclose()
