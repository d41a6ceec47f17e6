"""Holds (cache/invalidate): for a while no load is stored, because what it read may lag behind the invalidation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.caches import CONFIRM, RENEW, GatedLoader, Loader, Seam, Timeline, open_cache
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.ttl import HOLD_MS_MAX
from tollhouse.errors import InvalidInput

HOLD_MS = 30_000


@pytest.fixture
async def cache(world: World) -> Cache:
    return open_cache(world)


async def test_a_load_from_a_replica_that_lags_is_not_stored(world: World, cache: Cache):
    """P6: a load that begins after the invalidation reads an old value still; later loads read the new one."""
    load = Loader("old", "old", "old", "new")
    await cache.get_or_load("k", load)

    assert await cache.invalidate("k", hold_ms=HOLD_MS)
    lagging = [await cache.fetch("k", load) for _ in range(2)]
    await world.advance(HOLD_MS)
    after = [await cache.fetch("k", load) for _ in range(2)]

    assert [(each.value, each.status, each.ttl_ms) for each in lagging] == [("old", "MISS", 0)] * 2
    assert [(each.value, each.status) for each in after] == [("new", "MISS"), ("new", "HIT")]


async def test_during_a_hold_callers_of_a_process_share_a_load(world: World):
    """P7: a hold stores nothing, but the store confirms what was loaded, so that those who joined have it too."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)
    await cache.invalidate("k", hold_ms=HOLD_MS)
    load = GatedLoader("value")
    tasks = [asyncio.create_task(cache.fetch("k", load)) for _ in range(20)]
    await load.began.wait()
    await seam.until_quiet()

    load.gate.set()
    found = await asyncio.gather(*tasks)

    assert load.calls == 1
    assert {each.value for each in found} == {"value"}


async def test_during_a_hold_another_invalidation_refuses_loads_of_before(world: World):
    """P6: each hold has a name of its own; those who joined a load of the former one ask again."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)
    await cache.invalidate("k", hold_ms=HOLD_MS)
    load = GatedLoader("old", "new")
    first, joined = (asyncio.create_task(cache.fetch("k", load)) for _ in range(2))
    await load.began.wait()
    await asyncio.sleep(0)
    await cache.invalidate("k", hold_ms=HOLD_MS)

    load.gate.set()

    assert ((await first).value, (await joined).value) == ("old", "new")


@pytest.mark.parametrize("later_ms", [0, 1_000])
async def test_a_hold_is_not_shortened_by_a_later_invalidation(world: World, cache: Cache, later_ms: int):
    """The replica that one writer waits for lags still, whatever another writer invalidates."""
    await cache.invalidate("k", hold_ms=HOLD_MS)
    await cache.invalidate("k", hold_ms=later_ms)

    await world.advance(HOLD_MS - 5_000)

    assert (await cache.fetch("k", Loader("old"))).ttl_ms == 0
    await world.advance(5_000)
    assert (await cache.fetch("k", Loader("new"))).ttl_ms > 0


async def test_a_load_that_was_under_way_is_refused(world: World, cache: Cache):
    """P6: a hold takes the place of the lease of a load in progress."""
    load = GatedLoader("old")
    task = asyncio.create_task(cache.fetch("k", load))
    await load.began.wait()

    await cache.invalidate("k", hold_ms=HOLD_MS)
    load.gate.set()

    assert (await task).ttl_ms == 0
    assert (await cache.fetch("k", Loader("new"))).value == "new"


async def test_a_load_that_begins_in_a_hold_and_outlasts_it_is_refused(world: World, cache: Cache):
    """P6: what was read during the hold is not stored after it either."""
    await cache.invalidate("k", hold_ms=HOLD_MS)
    load = GatedLoader("old")
    task = asyncio.create_task(cache.fetch("k", load))
    await load.began.wait()

    await world.advance(HOLD_MS)
    load.gate.set()

    assert (await task).ttl_ms == 0
    assert (await cache.fetch("k", Loader("new"))).value == "new"


async def test_a_hold_is_neither_renewed_nor_released(world: World):
    """A hold ends at its time: a load under it changes nothing, whether it takes long, fails or succeeds."""
    timeline, seam = Timeline(world), Seam(world.stores.cache)
    cache = open_cache(world, seam, sleep=timeline.sleep)
    await cache.invalidate("k", hold_ms=HOLD_MS)
    load = GatedLoader("value")
    task = asyncio.create_task(cache.fetch("k", load))
    await load.began.wait()
    await timeline.until_asleep(1)
    await timeline.advance(4_000)
    load.gate.set()
    await task
    await _fail(cache)
    await cache.aclose()

    (lease,) = await world.command("cache", "KEYS", "tollhouse:@lease:*")

    assert seam.calls[RENEW] == 0
    assert seam.calls[CONFIRM] == 1
    assert HOLD_MS - 6_000 < await world.command("cache", "PTTL", lease) <= HOLD_MS - 4_000


async def _fail(cache: Cache) -> None:
    async def load() -> Any:
        raise RuntimeError("no value")

    with pytest.raises(RuntimeError):
        await cache.fetch("k", load)


async def test_a_hold_begins_a_lost_clock_anew(world: World, cache: Cache):
    """A load under a hold has an epoch, also when the clock was lost; it is confirmed."""
    await cache.invalidate("k", hold_ms=HOLD_MS)
    await world.command("cache", "DEL", "tollhouse:@clock:{0}")
    seam = Seam(world.stores.cache)

    found = await open_cache(world, seam).fetch("k", Loader("value"))

    assert (found.value, found.status, seam.calls[CONFIRM]) == ("value", "MISS", 1)
    assert await world.command("cache", "HEXISTS", "tollhouse:@clock:{0}", "e") == 1


@pytest.mark.parametrize("hold_ms", [-1, HOLD_MS_MAX + 1, 1.5, "1000", True, None])
async def test_a_wrong_hold_is_refused_by_name(cache: Cache, hold_ms: Any):
    """hold_ms is whole milliseconds, ten minutes at most; nothing is invalidated."""
    await cache.get_or_load("k", Loader("value"))

    with pytest.raises(InvalidInput) as refused:
        await cache.invalidate("k", hold_ms=hold_ms)

    assert refused.value.field == "hold_ms"
    assert (await cache.fetch("k", Loader("new"))).status == "HIT"


async def test_an_invalidation_of_tags_says_whether_it_is_durable(world: World):
    """With `durable` the store is asked whether a failover would keep it, for each portion; without, it is not."""
    seam = Durable(world.stores.cache, [True, True, True, False])
    cache = open_cache(world, seam)

    plain = await cache.invalidate_tags("a")
    durable = await cache.invalidate_tags("a", durable=True)
    in_portions = await cache.invalidate_tags(*(f"{n}" for n in range(10_001)), durable=True)

    assert (plain, durable, in_portions) == (False, True, True)
    assert await cache.invalidate_tags("a", durable=True) is False
    assert await open_cache(world).invalidate_tags("a", durable=True) is False


class Durable(Seam):
    """A store that confirms as it is told."""

    def __init__(self, store: Any, confirms: list[bool]) -> None:
        super().__init__(store)
        self._confirms = confirms

    async def run_durably(self, *call: Any) -> tuple[list[Any], bool]:
        reply, _ = await super().run_durably(*call)
        return reply, self._confirms.pop(0)


async def test_a_fresh_load_during_a_hold_is_not_stored(world: World, cache: Cache):
    """cache/take_lease: a hold stays, also for a load that is to replace what is stored."""
    await cache.invalidate("k", hold_ms=HOLD_MS)

    fresh = await cache.fetch("k", Loader("lagging"), fresh=True)
    await world.advance(HOLD_MS)

    assert (fresh.value, fresh.status, fresh.ttl_ms) == ("lagging", "MISS", 0)
    assert (await cache.fetch("k", Loader("new"))).value == "new"
