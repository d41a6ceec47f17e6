"""`cache.write_through`: the source first, then the value for readers, and no older value afterwards (S4-65, P6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.caches import TAKE_LEASE, GatedLoader, Loader, Seam, open_cache
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.reading.loader import Bounds
from tollhouse.errors import LoadFailed, StoreRefused, StoreUnavailable
from tollhouse.keyring import Keyring

WRITE = "cache/write"
INVALIDATE = "cache/invalidate"
KEY = "row:1"


@pytest.fixture
def seam(world: World) -> Seam:
    return Seam(world.stores.cache)


@pytest.fixture
async def cache(world: World, seam: Seam) -> Cache:
    cache = open_cache(world, seam)
    await cache.set(KEY, "old", tags=["table"])
    return cache


async def test_the_value_is_written_to_the_source_and_found_by_readers(cache: Cache, world: World):
    """S4-65: what the write returns is stored with its lifetime and tags, and is the result."""
    assert await cache.write_through(KEY, Loader("new"), ttl_s=60, tags=lambda row: [f"state:{row}"]) == "new"

    assert await cache.get_or_load(KEY, Loader("unused")) == "new"
    assert await cache.invalidate_tags("state:new") is False
    assert await cache.get_or_load(KEY, Loader("anew")) == "anew"


async def test_the_lifetime_of_none_is_its_own(cache: Cache):
    """A row that the write has removed is kept as None, or not at all."""
    await cache.write_through(KEY, Loader(None), none_ttl_s=0)

    assert await cache.get(KEY, "missing") == "missing"


async def test_readers_have_the_old_value_until_the_source_is_written(cache: Cache):
    """The source is written first: nothing is shown that it does not have."""
    write = GatedLoader("new")
    writing = asyncio.create_task(cache.write_through(KEY, write))
    await write.began.wait()

    assert await cache.get_or_load(KEY, Loader("unused")) == "old"
    write.gate.set()
    await writing
    assert await cache.get_or_load(KEY, Loader("unused")) == "new"


@pytest.mark.parametrize("error", [ConnectionError(), asyncio.CancelledError()])
async def test_a_write_that_fails_leaves_nothing_that_may_be_outdated(cache: Cache, error: BaseException):
    """The source may have been written all the same, so the next read loads; the error passes through."""

    async def fail() -> None:
        raise error

    with pytest.raises((ConnectionError, LoadFailed)):
        await cache.write_through(KEY, fail)

    assert await cache.get_or_load(KEY, Loader("loaded")) == "loaded"


async def test_a_write_that_is_cancelled_leaves_nothing_that_may_be_outdated(cache: Cache):
    """A caller that leaves during the write leaves an invalidation, which `aclose` waits for."""
    write = GatedLoader("new")
    writing = asyncio.create_task(cache.write_through(KEY, write))
    await write.began.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await cache.aclose()

    assert await cache.get(KEY) is None


async def test_a_value_that_cannot_be_stored_is_not_there(cache: Cache, world: World, seam: Seam):
    """What cannot be encoded, is above the bound or finds a full server was written, and the old value is gone."""
    with pytest.raises(LoadFailed):
        await cache.write_through(KEY, Loader(object()))
    assert await cache.get(KEY) is None

    small = open_cache(world, bounds=Bounds(entry_bytes=200))
    await small.set(KEY, "old")
    assert len(await small.write_through(KEY, Loader("x" * 300))) == 300
    assert await small.get(KEY) is None

    await cache.set(KEY, "old")
    seam.rejecting.add(WRITE)
    assert await cache.write_through(KEY, Loader("new")) == "new"
    assert await cache.get(KEY) is None


async def _write_again(cache: Cache) -> None:
    await cache.write_through(KEY, Loader("newer"))


async def _invalidate(cache: Cache) -> None:
    await cache.invalidate(KEY)


async def _invalidate_tag(cache: Cache) -> None:
    await cache.invalidate_tags("table")


async def _hold(cache: Cache) -> None:
    await cache.invalidate(KEY, hold_ms=60_000)


async def _clear(cache: Cache) -> None:
    await cache.clear()


async def _refresh(cache: Cache) -> None:
    await cache.get_or_load(KEY, Loader("what the source said"), fresh=True)


@pytest.mark.parametrize("meanwhile", [_write_again, _invalidate, _invalidate_tag, _hold, _clear, _refresh])
async def test_a_value_is_not_stored_if_something_happened_to_its_key_meanwhile(
    cache: Cache, world: World, meanwhile: Callable[[Cache], Awaitable[None]]
):
    """cache/write: of two writes it is not known which the source has, and an invalidation has the last word."""
    write = GatedLoader("new")
    writing = asyncio.create_task(cache.write_through(KEY, write, tags=["table"]))
    await write.began.wait()
    await meanwhile(open_cache(world))
    write.gate.set()

    assert await writing == "new"
    assert await cache.get(KEY) is None


async def test_no_value_is_stored_under_a_hold(cache: Cache):
    """A hold that was there before is one of all writers: none stores, and the hold stays."""
    await cache.invalidate(KEY, hold_ms=60_000)

    await cache.write_through(KEY, Loader("new"))

    assert await cache.get(KEY) is None
    assert await cache.get_or_load(KEY, Loader("loaded")) == "loaded"
    assert await cache.get(KEY) is None


async def test_a_load_that_began_before_the_write_is_not_stored(cache: Cache, world: World):
    """P6: what a slow reader found in the source before is given to it alone."""
    other, load = open_cache(world), GatedLoader("old row")
    await cache.invalidate(KEY)
    reading = asyncio.create_task(other.get_or_load(KEY, load))
    await load.began.wait()

    await cache.write_through(KEY, Loader("new"))
    load.gate.set()

    assert await reading == "old row"
    assert await cache.get(KEY) == "new"


async def test_a_caller_that_missed_before_the_write_stores_nothing(cache: Cache):
    """P6: `get`, load and `set` around a write do not put the old value in its place."""
    await cache.invalidate(KEY)
    assert await cache.get(KEY) is None

    await cache.write_through(KEY, Loader("new"))

    assert await cache.set(KEY, "old row") is False
    assert await cache.get(KEY) == "new"


async def test_while_the_store_is_down_the_write_stands_and_the_cache_is_distrusted(cache: Cache, seam: Seam):
    """The source is written; the process clears the cache before it reads again."""
    seam.failing.add("everything")
    write = Loader("new")

    assert await cache.write_through(KEY, write) == "new"

    assert write.calls == 1
    assert cache.is_distrusted
    seam.failing.clear()
    assert await cache.get_or_load(KEY, Loader("loaded")) == "loaded"
    assert not cache.is_distrusted


async def test_a_store_that_is_back_after_the_write_is_told(cache: Cache, seam: Seam):
    """Without a lease the value is not stored, and an invalidation takes its place."""
    seam.failing.add(TAKE_LEASE)

    await cache.write_through(KEY, Loader("new"))

    assert (seam.calls[WRITE], seam.calls[INVALIDATE]) == (0, 1)
    assert not cache.is_distrusted
    assert await cache.get(KEY) is None


async def test_an_answer_that_is_lost_is_made_up_for(cache: Cache, seam: Seam):
    """If it is not known whether a value was stored, it is removed."""
    seam.outcome = "ambiguous"
    seam.failing.add(WRITE)

    await cache.write_through(KEY, Loader("new"))

    assert await cache.get(KEY) is None


async def test_a_wrong_setup_is_raised_before_the_source_is_written(cache: Cache, seam: Seam):
    """With `strict` a refusal of the server is no outage."""

    async def refuse() -> None:
        raise StoreRefused("cache", "rejected", "wrong password", "set the right one")

    seam.before[TAKE_LEASE] = refuse
    write = Loader("new")

    with pytest.raises(StoreRefused):
        await cache.write_through(KEY, write)

    assert write.calls == 0


async def test_a_cache_that_is_off_stores_nothing_and_tells_the_others(cache: Cache, world: World):
    """Processes whose cache is on do not serve the old value."""
    off = open_cache(world, enabled=False)

    assert await off.write_through(KEY, Loader("new")) == "new"

    assert await cache.get(KEY) is None
    off.switch(on=True)
    await off.write_through(KEY, Loader("newer"))
    assert await cache.get(KEY) == "newer"


async def test_entries_under_an_older_secret_are_removed(world: World):
    """A process that has not the new secret yet serves no old value either."""
    old, new = b"an old secret of 32 bytes or more....", b"a new secret of 32 bytes or more....."
    before = Cache(world.stores.cache, Keyring(secrets=(old,)), world.metrics)
    await before.set(KEY, "old")
    after = Cache(world.stores.cache, Keyring(secrets=(new, old)), world.metrics)

    await after.write_through(KEY, Loader("new"))

    assert await before.get(KEY) is None
    assert await after.get(KEY) == "new"


async def test_an_invalidation_that_fails_in_the_end_is_remembered(cache: Cache, seam: Seam):
    """A store that goes down during the write leaves a doubt."""
    write = GatedLoader("new")
    writing = asyncio.create_task(cache.write_through(KEY, write))
    await write.began.wait()
    seam.failing.add("everything")
    write.gate.set()

    assert await writing == "new"
    assert cache.is_distrusted
    with pytest.raises(StoreUnavailable):
        await cache.get(KEY)
