"""P8: while the store is down the cache is bypassed; each process loads a key once at a time and stores nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.caches import (
    FILL,
    GET_OR_LEASE,
    PATIENCE_S,
    RELEASE,
    GatedLoader,
    Loader,
    Seam,
    Timeline,
    open_cache,
    reads,
)
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.errors import StoreUnavailable


@pytest.fixture
async def seam(world: World) -> Seam:
    return Seam(world.stores.cache)


@pytest.fixture
async def cache(world: World, seam: Seam) -> Cache:
    return open_cache(world, seam)


async def test_while_the_store_is_down_values_are_loaded(world: World, seam: Seam, cache: Cache):
    """S0-05, S0-11, S1-17, S1-48: no error, the value is loaded each time (BYPASS), and counted."""
    seam.failing.add("everything")
    load = Loader("first", "second")

    found = [await cache.fetch("k", load), await cache.fetch("k", load)]

    assert [(each.value, each.status, each.ttl_ms) for each in found] == [
        ("first", "BYPASS", 0),
        ("second", "BYPASS", 0),
    ]
    assert reads(world.metrics, "cache", "bypass") == 2
    assert await world.command("cache", "DBSIZE") == 0


async def test_while_the_store_is_down_one_process_loads_once_at_a_time(seam: Seam, cache: Cache):
    """Callers that arrive during a load wait for it."""
    seam.failing.add("everything")
    load = GatedLoader("value")
    tasks = [asyncio.create_task(cache.fetch("k", load)) for _ in range(10)]
    await load.began.wait()

    load.gate.set()
    found = await asyncio.gather(*tasks)

    assert load.calls == 1
    assert {(each.value, each.status) for each in found} == {("value", "BYPASS")}


async def test_while_the_store_is_down_no_load_of_before_an_invalidation_is_shared(seam: Seam, cache: Cache):
    """P6: an invalidation that reached the store between two outages is not undone by a load that began before it."""
    seam.failing.add(GET_OR_LEASE)
    old, new = GatedLoader("old"), Loader("new")
    earlier = asyncio.create_task(cache.fetch("k", old))
    await old.began.wait()
    await cache.invalidate_tags("t")

    found = await asyncio.wait_for(cache.fetch("k", new), PATIENCE_S)
    old.gate.set()

    assert (found.value, (await earlier).value) == ("new", "old")


async def test_the_loaders_own_store_error_is_not_taken_for_an_outage_of_the_cache(cache: Cache):
    """An error of the loader passes through, even if it is a StoreError."""
    error = StoreUnavailable("sessions", "not-sent", "elsewhere")

    async def fail() -> None:
        raise error

    with pytest.raises(StoreUnavailable) as raised:
        await cache.get_or_load("k", fail)

    assert raised.value is error


async def test_a_store_that_goes_down_during_the_load_only_prevents_the_fill(seam: Seam, cache: Cache):
    """The caller gets the value; it is not stored, and the lease expires."""
    seam.failing |= {FILL, RELEASE}

    found = await cache.fetch("k", Loader("value"))

    assert (found.value, found.status, found.ttl_ms) == ("value", "MISS", 0)


async def test_waiters_for_another_process_load_themselves_when_the_store_goes_down(world: World):
    """A waiter whose lookup fails loads without the store, once for all callers that waited with it."""
    timeline, seam = Timeline(world), Seam(world.stores.cache)
    holder, waiter = open_cache(world), open_cache(world, seam, sleep=timeline.sleep)
    theirs, own = GatedLoader("theirs"), Loader("own")
    held = asyncio.create_task(holder.get_or_load("k", theirs))
    await theirs.began.wait()
    tasks = [asyncio.create_task(waiter.fetch("k", own)) for _ in range(3)]
    await timeline.until_asleep(1)

    seam.failing.add(GET_OR_LEASE)
    await timeline.advance(25)
    found = await asyncio.gather(*tasks)
    theirs.gate.set()

    assert {(each.value, each.status) for each in found} == {("own", "BYPASS")}
    assert (await held, own.calls) == ("theirs", 1)


async def test_callers_that_wait_for_a_fill_that_fails_load_once_more_for_all(seam: Seam, cache: Cache):
    """P7: a store that refuses every fill, for want of memory, costs the callers that joined one load, not one each."""
    seam.failing |= {FILL, RELEASE}
    first, load = GatedLoader("first"), Loader("own")
    leader = asyncio.create_task(cache.fetch("k", first))
    await first.began.wait()
    tasks = [asyncio.create_task(cache.fetch("k", load)) for _ in range(10)]
    await asyncio.sleep(0)

    first.gate.set()
    found = await asyncio.gather(*tasks)

    assert {(each.value, each.status) for each in found} == {("own", "BYPASS")}
    assert ((await leader).value, load.calls) == ("first", 1)


@pytest.mark.parametrize("call", ["invalidate", "invalidate_tags", "clear", "delete_pattern"])
async def test_an_invalidation_that_could_not_be_sent_is_an_error(seam: Seam, cache: Cache, call: str):
    """P6: the caller gets an error, because the old value may still be served."""
    seam.failing.add("everything")
    arguments = [] if call == "clear" else ["x"]

    with pytest.raises(StoreUnavailable):
        await getattr(cache, call)(*arguments)


async def test_a_body_that_cannot_be_used_is_stepped_over_while_it_cannot_be_removed(
    world: World, seam: Seam, cache: Cache
):
    """A damaged value is not returned, even while the store refuses to remove it."""
    await cache.get_or_load("k", Loader("old"))
    (name,) = await world.command("cache", "KEYS", "tollhouse:cache:*")
    stored = await world.command("cache", "GET", name)
    await world.command("cache", "SETRANGE", name, len(stored) - len(b"\xa3old") - 1, b"?")
    seam.failing.add("cache/invalidate")

    assert (await cache.fetch("k", Loader("new"))).status == "BYPASS"
    assert seam.calls[GET_OR_LEASE] == 2


async def test_a_foreign_key_under_the_name_does_not_fail_the_read(world: World, cache: Cache):
    """If a key of another type is in the way, the script fails, and the value is loaded without the store."""
    await cache.get_or_load("k", Loader("old"))
    (name,) = await world.command("cache", "KEYS", "tollhouse:cache:*")
    await world.command("cache", "DEL", name)
    await world.command("cache", "LPUSH", name, "foreign")

    assert (await cache.fetch("k", Loader("new"))).status == "BYPASS"


async def test_a_failover_hides_every_earlier_entry(world: World, seam: Seam, cache: Cache):
    """S2-12: an invalidation that the old primary lost brings no value back: under a new one all is loaded again."""
    load = Loader("old", "new")
    await cache.get_or_load("k", load)

    seam.primary = "f" * 40
    found: list[Any] = [await cache.fetch("k", load), await cache.fetch("k", load)]

    assert [(each.value, each.status) for each in found] == [("new", "MISS"), ("new", "HIT")]
