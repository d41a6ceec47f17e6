"""Marks of invalidated tags: kept until every entry that they may apply to has expired, then forgotten, never unsafely.

The scripts are cache/invalidate_tags, cache/get_or_lease and cache/fill, which share lib/sweep_marks.lua."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.caches import GatedLoader, Loader, open_cache
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.commands import Commands, LoadLease
from tollhouse.cache.envelope import Envelope, encode
from tollhouse.cache.key_names import KeyNames
from tollhouse.cache.looks import Hit
from tollhouse.cache.ttl import TTL_S_MAX

CLOCK = "tollhouse:@clock:{0}"
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


@pytest.fixture
async def cache(world: World) -> Cache:
    return open_cache(world)


async def marks(world: World) -> int:
    """Return how many tags the clock remembers."""
    fields = await world.command("cache", "HKEYS", CLOCK)
    return sum(field.startswith(b"t:") and field != b"t:*" for field in fields)


async def invalidate(cache: Cache, count: int, name: str = "tag") -> None:
    """Invalidate so many tags, each by a call of its own in the eyes of the clock."""
    for first in range(0, count, 500):
        await cache.invalidate_tags(*(f"{name}:{number}" for number in range(first, min(first + 500, count))))


async def read(cache: Cache, times: int, key: str = "k", ttl_s: int = 60, **options: Any) -> None:
    for _ in range(times):
        await cache.get_or_load(key, Loader("value"), ttl_s=ttl_s, **options)


async def test_marks_are_kept_as_long_as_entries_live(world: World, cache: Cache):
    """While entries live a minute, 3,000 marks are gone after two, swept by reads alone; before that all are there."""
    await read(cache, 1)
    await invalidate(cache, 3_000)
    await world.advance(MINUTE_MS - 1)
    await read(cache, 20)
    kept = await marks(world)

    await world.advance(MINUTE_MS)
    await read(cache, 20)

    assert (kept, await marks(world)) == (3_000, 0)


async def test_marks_are_swept_by_invalidations_too(world: World, cache: Cache):
    """Without any read the clock does not grow either."""
    await read(cache, 1)
    await invalidate(cache, 3_000)
    await world.advance(2 * MINUTE_MS)

    await invalidate(cache, 4_000, "later")

    assert await marks(world) <= 4_000


async def test_an_entry_that_lives_longer_keeps_marks_longer(world: World, cache: Cache):
    """The longest lifetime in use decides, not the latest; a mark hides its entries until they have expired."""
    await read(cache, 1, "long", ttl_s=3_600, tags=["slow"])
    await read(cache, 1)
    await cache.invalidate_tags("slow")
    await world.advance(HOUR_MS - 1)
    await read(cache, 20)
    kept = await marks(world)
    reloaded = await cache.fetch("long", Loader("new"), ttl_s=60)

    await world.advance(10 * MINUTE_MS)
    await read(cache, 20)

    assert (kept, reloaded.status) == (1, "MISS")
    assert await marks(world) == 0


async def test_forgetting_marks_hides_no_entry(world: World, cache: Cache):
    """cache/fill: what was stored after an invalidation outlives its mark, however early its load began.

    The lifetime is not known at the lease here, so that the mark is kept for a minute only.
    """
    names = KeyNames(world.keyring, "tollhouse")
    entry = names.entries("slow")[0]
    commands = Commands(world.stores.cache, names.clock, lease_ms=5_000)
    lease = await commands.get_or_lease(entry)
    assert isinstance(lease, LoadLease)
    await cache.invalidate_tags("other")
    header = Envelope(
        stored_ms=world.now_ms,
        fresh_until_ms=world.now_ms + HOUR_MS,
        load_ms=0,
        epoch=lease.epoch,
        sequence=lease.sequence,
        tags=names.entry_tags(["mine"]),
    )
    assert await commands.fill(entry, lease, encode(header, b"body"), HOUR_MS)
    await world.advance(3 * MINUTE_MS)

    await read(cache, 3)

    assert await marks(world) == 0
    assert isinstance(await commands.get_or_lease(entry), Hit)


async def test_a_load_that_outlives_the_mark_of_its_tag_is_refused(world: World, cache: Cache):
    """P6: a load that began before an invalidation is not stored, even when that is forgotten before it ends."""
    load = GatedLoader("old", "new")
    slow = asyncio.create_task(cache.fetch("slow", load, ttl_s=60, tags=["mine"]))
    await load.began.wait()
    await cache.invalidate_tags("mine")
    for _ in range(5):
        await world.command("cache", "PERSIST", await lease_of(world))  # as its renewals would
        await world.advance(2 * MINUTE_MS)
        await read(cache, 5)
    forgotten = await marks(world)
    load.gate.set()

    assert (await slow).ttl_ms == 0
    assert forgotten == 0
    assert (await cache.fetch("slow", load, ttl_s=60, tags=["mine"])).value == "new"


async def test_a_load_is_stored_though_other_tags_were_forgotten_meanwhile(world: World, cache: Cache):
    """A load that takes less than its value lives, or than a minute, is not refused for the marks of other tags."""
    load = GatedLoader("value")
    slow = asyncio.create_task(cache.fetch("slow", load, ttl_s=3_600, tags=["mine"]))
    await load.began.wait()
    await cache.invalidate_tags("other")
    for _ in range(5):
        await world.command("cache", "PERSIST", await lease_of(world))
        await world.advance(10 * MINUTE_MS)
        await read(cache, 5)
    load.gate.set()

    assert (await slow).ttl_ms == HOUR_MS
    assert (await cache.fetch("slow", Loader("again"))).status == "HIT"


async def lease_of(world: World) -> bytes:
    """Return the name of the one lease."""
    (name,) = await world.command("cache", "KEYS", "tollhouse:@lease:*")
    return name


async def test_all_entries_of_before_are_hidden_by_what_is_forgotten(world: World, cache: Cache):
    """P6: if a clock is a year ahead for a while, marks are forgotten early; what they hid stays hidden."""
    await read(cache, 1, "old", ttl_s=3_600, tags=["mine"])
    await cache.invalidate_tags("mine")
    world.step_back(-365 * DAY_MS)
    for number in range(5):
        await read(cache, 1, f"ahead {number}")
    forgotten = await marks(world)
    world.step_back(365 * DAY_MS)

    assert forgotten == 0
    assert (await cache.fetch("old", Loader("new"), ttl_s=60)).value == "new"


async def test_a_clock_that_was_ahead_does_not_keep_marks(world: World, cache: Cache):
    """Expiries of a clock that was a year ahead are ignored; they would keep every mark for a year."""
    world.step_back(-365 * DAY_MS)
    await read(cache, 1, "ahead")
    await cache.invalidate_tags("ahead")
    world.step_back(365 * DAY_MS)
    await read(cache, 5, "now")
    await cache.invalidate_tags("now")
    await world.advance(3 * MINUTE_MS)

    await read(cache, 5, "later")

    assert await marks(world) == 0


async def test_marks_of_the_former_release_are_understood(world: World, cache: Cache):
    """Marks with the time of their invalidation, as they were, hide what they hid, and are swept."""
    await read(cache, 1, "old", ttl_s=3_600, tags=["mine"])
    await cache.invalidate_tags("mine")
    for field in await world.command("cache", "HKEYS", CLOCK):
        if field.startswith(b"t:"):
            sequence = await world.command("cache", "HGET", CLOCK, field)
            await world.command("cache", "HSET", CLOCK, field, sequence[:12] + b"%013d" % world.now_ms)
    await world.command("cache", "HDEL", CLOCK, "x", "w")
    hidden = await cache.fetch("old", Loader("new"), ttl_s=3_600, tags=["mine"])
    await cache.invalidate_tags("another")
    await world.advance(2 * HOUR_MS)
    await read(cache, 5)

    assert hidden.status == "MISS"
    assert await marks(world) == 0


async def test_a_lost_latest_expiry_costs_hits_only(world: World, cache: Cache):
    """P6: if a failover loses the latest expiry, marks go early and take what was stored before them along."""
    await read(cache, 1, "old", ttl_s=3_600, tags=["mine"])
    await world.command("cache", "HDEL", CLOCK, "x", "w")

    await cache.invalidate_tags("mine")
    await read(cache, 3)

    assert (await cache.fetch("old", Loader("new"), ttl_s=60)).value == "new"


async def test_clearing_makes_all_marks_redundant(world: World, cache: Cache):
    """After a clear the next sweep removes every mark of before, though entries live on."""
    await read(cache, 1)
    await invalidate(cache, 1_000)
    await cache.clear()
    await world.advance(MINUTE_MS + 1_001)
    await read(cache, 1, "new")

    await read(cache, 20)

    assert await marks(world) == 0


async def test_a_sweep_is_bounded_and_costs_nothing_when_it_is_not_due(world: World, cache: Cache):
    """One read forgets about 500 marks; when none is left, reads write no sweep."""
    await read(cache, 1)
    await invalidate(cache, 5_000)
    await world.advance(MINUTE_MS + 1_001)
    await read(cache, 1)
    after_one = await marks(world)
    await read(cache, 20)
    for _ in range(2):
        await world.advance(MINUTE_MS)
        await read(cache, 1)

    assert 4_000 <= after_one <= 4_600
    assert await marks(world) == 0
    assert await world.command("cache", "HMGET", CLOCK, "c", "w") == [None, None]


@pytest.mark.parametrize("count", [5_000, 25_000])
async def test_any_number_of_tags_is_invalidated_by_one_call(world: World, cache: Cache, count: int):
    """S4-06: more tags than Lua unpacks at once; up to 10,000 are one step, and one invalidation in the statistics."""
    tags = [f"tag:{number}" for number in range(count)]
    for number in (0, count // 2, count - 1):
        await cache.get_or_load(f"{number}", Loader("old"), tags=[tags[number]])

    await cache.invalidate_tags(*tags)

    values = [await cache.get_or_load(f"{number}", Loader("new")) for number in (0, count // 2, count - 1)]
    assert values == ["new"] * 3
    assert (await cache.stats()).detail.invalidations == -(-count // 10_000)


async def test_a_foreign_value_among_the_marks_is_swept(world: World, cache: Cache):
    """A field that is no mark of ours stops no read."""
    await read(cache, 1)
    await cache.invalidate_tags("mine")
    await world.command("cache", "HSET", CLOCK, "t:foreign", "no mark")
    await world.advance(3 * MINUTE_MS)

    await read(cache, 3)

    assert await marks(world) == 0


def test_an_entry_may_live_as_long_as_a_time_counts_as_ahead():
    """lib/is_ahead.lua: expiries up to the longest lifetime, and a second, are taken for times to come."""
    assert TTL_S_MAX * 1000 + 1_000 < 31 * DAY_MS
