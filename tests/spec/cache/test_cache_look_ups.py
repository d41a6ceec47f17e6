"""Look-ups: what is stored, without a load."""

from __future__ import annotations

import asyncio

import pytest

from tests.caches import GatedLoader, Loader, Seam, open_cache, reads
from tests.worlds import World
from tollhouse.errors import StoreRefused


async def test_a_stored_value_is_returned_with_its_age(world: World) -> None:
    """It is a hit, with the lifetime that is left."""
    cache = open_cache(world)
    await cache.get_or_load("k", Loader({"a": 1}), ttl_s=600)
    await world.advance(10_000)

    found = await cache.look_up("k")

    assert found is not None
    assert (found.value, found.status, found.age_ms, found.ttl_ms) == ({"a": 1}, "HIT", 10_000, 590_000)
    assert reads(world.metrics, "cache", "hit") == 1


async def test_without_a_value_nothing_is_loaded(world: World) -> None:
    """The answer is None at once, and the next read loads."""
    cache = open_cache(world)

    assert await cache.look_up("k") is None
    assert (await cache.fetch("k", Loader("text"))).status == "MISS"
    assert reads(world.metrics, "cache", "miss") == 2


async def test_a_load_in_progress_is_not_waited_for(world: World) -> None:
    """Its value is not stored yet; the load goes on, and stores it."""
    cache, load = open_cache(world), GatedLoader("value")
    loading = asyncio.create_task(cache.fetch("k", load))
    await load.began.wait()

    before = await cache.look_up("k")
    load.gate.set()
    await loading
    after = await cache.look_up("k")

    assert before is None
    assert after is not None
    assert after.value == "value"


async def test_an_invalidated_value_is_not_found(world: World) -> None:
    """P6: a look-up returns nothing that was invalidated before it began."""
    cache = open_cache(world)
    await cache.get_or_load("k", Loader(1), tags=("t",))

    await cache.invalidate_tags("t")

    assert await cache.look_up("k") is None


async def test_without_a_store_nothing_is_found(world: World) -> None:
    """While the store is down, and while the cache is off, the answer is None, as if nothing were stored."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)
    await cache.get_or_load("k", Loader(1))

    cache.switch(on=False)
    off = await cache.look_up("k")
    cache.switch(on=None)
    seam.failing.add("everything")
    down = await cache.look_up("k")

    assert (off, down) == (None, None)
    assert reads(world.metrics, "cache", "disabled") == 1


async def test_a_damaged_value_is_not_found(world: World) -> None:
    """It is left to the next read, which loads anew."""
    cache = open_cache(world)
    await cache.get_or_load("k", Loader("text"))
    for name in await world.command("cache", "KEYS", "*"):
        if await world.command("cache", "TYPE", name) == b"string":
            stored = await world.command("cache", "GET", name)
            await world.command("cache", "SET", name, stored[:-1] + b"\xff", "KEEPTTL")

    assert await cache.look_up("k") is None
    assert (await cache.fetch("k", Loader("new"))).value == "new"


async def test_a_value_has_the_type_that_was_asked_for(world: World) -> None:
    """A stored value of another type is not found."""
    cache = open_cache(world)
    await cache.get_or_load("k", Loader("text"))

    found = await cache.look_up("k", type=str)

    assert found is not None
    assert found.value == "text"
    assert await cache.look_up("k", type=int) is None


async def test_the_server_keeps_nothing_for_a_look_up(world: World) -> None:
    """It has neither a lease, for which others would wait, nor a permit; and it leaves those of others."""
    cache = open_cache(world)

    assert await cache.look_up("k") is None
    assert await world.command("cache", "KEYS", "*") == [b"tollhouse:@clock:{0}"]

    assert await cache.get("k") is None
    await cache.look_up("k")
    await world.advance(1_000)
    assert await cache.set("k", "value")


async def test_what_was_found_counts_as_saved(world: World) -> None:
    """A look-up that finds a value has saved the time of its load, as any other hit."""
    cache = open_cache(world)
    load = GatedLoader("value")
    loading = asyncio.create_task(cache.fetch("k", load))
    await load.began.wait()
    await world.advance(2_000)
    load.gate.set()
    await loading

    await cache.look_up("k")

    saved = world.metrics.registry.get_sample_value("tollhouse_cache_saved_seconds_total", {"cache": "cache"})
    assert saved == 2


async def test_a_foreign_key_under_the_name_is_not_found(world: World) -> None:
    """A key of another type cannot be read, as for every read."""
    cache = open_cache(world)
    await cache.get_or_load("k", Loader("old"))
    for name in await world.command("cache", "KEYS", "tollhouse:cache:*"):
        await world.command("cache", "DEL", name)
        await world.command("cache", "LPUSH", name, "foreign")

    assert await cache.look_up("k") is None


async def test_a_refusal_that_only_the_setup_mends_is_raised(world: World):
    """P8: it is no miss: a wrong password would look like an empty cache."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)

    async def refused() -> None:
        raise StoreRefused("cache", "rejected", "wrong password", "give the right one")

    seam.before["cache/get"] = refused

    with pytest.raises(StoreRefused):
        await cache.look_up("k")
