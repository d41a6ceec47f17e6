"""S4-32: get, load, set by callers that load for themselves, and nothing that was invalidated in between is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.caches import FILL, Loader, Seam, open_cache, reads
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.permits import NOTES_MAX
from tollhouse.cache.reading.loader import Bounds
from tollhouse.errors import InvalidInput, StoreUnavailable
from tollhouse.scripts import PRIMARY

KEY = "model:metrics:abc-123"
MISSING = "missing"


@pytest.fixture
async def cache(world: World) -> Cache:
    return open_cache(world)


async def miss(cache: Cache, key: str = KEY) -> None:
    assert await cache.get(key, MISSING) == MISSING


@pytest.mark.parametrize("value", [None, 0, "", [], {}, False, "text", {"a": [1, 2.5]}])
async def test_what_was_set_is_found(cache: Cache, value: Any):
    """S3-14: every value is one, None too; before, and after its lifetime, the default is returned."""
    await miss(cache)

    assert await cache.set(KEY, value)

    assert await cache.get(KEY, MISSING) == value
    assert await cache.get_or_load(KEY, Loader("other")) == value


async def test_a_value_that_was_set_expires(world: World, cache: Cache):
    """S4-60: after its lifetime, an hour unless set, a value is missed."""
    await cache.set("a", 1, ttl_s=60)
    await cache.set("b", 1)
    await world.advance(60_000)

    assert [await cache.get(key) for key in "ab"] == [None, 1]
    assert await world.command("cache", "PTTL", "tollhouse:@clock:{0}") == -1
    await world.advance(3_540_000)
    assert await cache.get("b") is None


async def test_a_value_has_the_type_that_the_caller_gives(cache: Cache):
    """A stored value of another type is a miss, and is removed, so that the caller stores a new one."""
    await cache.set(KEY, [1, 2])

    assert await cache.get(KEY, type=tuple[int, int]) == (1, 2)
    assert await cache.get(KEY, MISSING, type=str) == MISSING
    assert await cache.set(KEY, "text")
    assert await cache.get(KEY, MISSING, type=str) == "text"


INVALIDATIONS: list[Callable[[Cache, World], Awaitable[Any]]] = [
    lambda cache, _: cache.invalidate(KEY),
    lambda cache, _: cache.invalidate_tags("model:abc-123"),
    lambda cache, _: cache.clear(),
    lambda cache, _: cache.clear_all(),
    lambda cache, _: cache.delete_pattern("model:*"),
    lambda _, world: world.command("cache", "DEL", "tollhouse:@clock:{0}"),
    lambda _, world: world.command("cache", "FLUSHDB"),
]


@pytest.mark.parametrize("number", range(len(INVALIDATIONS)))
async def test_what_was_invalidated_after_the_miss_is_not_stored(world: World, cache: Cache, number: int):
    """S4-32, P6: a value that was loaded before its key, a tag or everything was invalidated is refused."""
    await miss(cache)
    await INVALIDATIONS[number](cache, world)

    assert not await cache.set(KEY, "old", tags=["model:abc-123"])

    await miss(cache)
    assert await cache.set(KEY, "new", tags=["model:abc-123"])
    assert await cache.get(KEY) == "new"


async def test_another_primary_refuses_what_was_loaded_before_it(world: World):
    """P6: a failover may have lost an invalidation, so a value of the time before is not stored."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)
    await miss(cache)
    seam.primary = "f" * 40

    assert not await cache.set(KEY, "old")


async def test_other_tags_refuse_nothing(cache: Cache):
    """Only what a value depends on counts."""
    await miss(cache)
    await cache.invalidate_tags("another")
    await cache.invalidate("another")

    assert await cache.set(KEY, "value", tags=["model:abc-123"])


async def test_callers_that_missed_together_may_all_store(world: World, cache: Cache):
    """Callers share the permit of a key; each is refused by itself if a tag was invalidated after its own miss."""
    other = open_cache(world)

    gate, began = asyncio.Event(), asyncio.Semaphore(0)

    async def load_and_set(one: Cache) -> bool:
        await miss(one)
        began.release()
        await gate.wait()
        return await one.set(KEY, "value", tags=["t"])

    async def begin_two() -> list[asyncio.Task[bool]]:
        tasks = [asyncio.create_task(load_and_set(one)) for one in (cache, other)]
        for _ in tasks:
            await began.acquire()
        return tasks

    first = await begin_two()
    await cache.invalidate_tags("t")
    second = await begin_two()
    gate.set()

    assert await asyncio.gather(*first, *second) == [False, False, True, True]


async def test_a_set_without_a_miss_replaces_and_refuses_loads_in_progress(world: World):
    """A value that the caller knows to be the newest is stored, and neither a load nor a permit overwrites it."""
    seam = Seam(world.stores.cache)
    cache, other = open_cache(world, seam), open_cache(world)

    async def set_meanwhile() -> None:
        assert await other.set(KEY, "newest")

    seam.before[FILL] = set_meanwhile
    slow = await cache.fetch(KEY, Loader("old"))
    assert (slow.value, slow.ttl_ms, await cache.get(KEY)) == ("old", 0, "newest")

    await other.invalidate(KEY)
    await miss(cache)
    await asyncio.create_task(other.set("another", 1))
    await asyncio.create_task(_set(other, KEY, "newer"))

    assert not await cache.set(KEY, "old")
    assert await cache.get(KEY) == "newer"


async def _set(cache: Cache, key: str, value: Any) -> bool:
    return await cache.set(key, value)


async def test_a_set_belongs_to_the_last_get(cache: Cache):
    """After a hit, and after its first set, a key is no miss of this caller any more."""
    await miss(cache)
    assert await cache.set(KEY, 1)
    assert await cache.invalidate(KEY)

    assert await cache.set(KEY, 2)
    assert await cache.get(KEY) == 2
    assert await cache.invalidate(KEY)
    assert await cache.set(KEY, 3)


async def test_nothing_is_stored_after_a_get_that_the_store_did_not_answer(world: World):
    """P6: without the state of the clock at the miss, a value may be outdated by now."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)
    seam.failing.add("everything")
    with pytest.raises(StoreUnavailable):
        await cache.get(KEY)
    seam.failing.clear()

    assert not await cache.set(KEY, "old")
    assert await cache.set(KEY, "new")


async def test_nothing_is_stored_under_a_hold(world: World, cache: Cache):
    """What was read while an invalidation keeps loads out may lag behind; it is not stored after the hold either."""
    await cache.invalidate(KEY, hold_ms=60_000)
    await miss(cache)
    assert not await cache.set(KEY, "lagging")
    await miss(cache)
    await world.advance(60_000)

    assert not await cache.set(KEY, "lagging")
    await miss(cache)
    await cache.invalidate(KEY, hold_ms=60_000)
    assert not await cache.set(KEY, "lagging")
    assert await cache.set(KEY, "written")
    assert await cache.get(KEY) == "written"


async def test_misses_are_noted_within_a_bound(cache: Cache):
    """P10: of a caller that misses very many keys the eldest are refused; none is taken for a value of now."""
    for number in range(NOTES_MAX + 1):
        await miss(cache, f"key:{number}")

    assert not await cache.set("key:0", "old")
    assert await cache.set("key:1", "value")
    assert not await cache.set("never missed", "value")


async def test_after_the_bound_a_context_recovers(world: World, cache: Cache):
    """Ten minutes after a miss was forgotten, no load that began at it can still be stored by its permit."""
    for number in range(NOTES_MAX + 2):
        await miss(cache, f"key:{number}")
    await world.advance(600_000)

    assert await cache.set("never missed", "value")


async def test_a_permit_expires(world: World, cache: Cache):
    """S4-60, P10: permits have an expiry, of ten minutes, and of one minute once a caller has stored."""
    await miss(cache)
    (name,) = await world.command("cache", "KEYS", "tollhouse:@permit:*")
    unused_ms = await world.command("cache", "PTTL", name)
    await cache.set(KEY, "value")

    assert 590_000 < unused_ms <= 600_000
    assert 50_000 < await world.command("cache", "PTTL", name) <= 60_000


async def test_a_value_above_the_bound_is_not_stored_and_replaces_the_old_one(world: World):
    """S0-20: it is False; the older value is gone unless the caller had missed it."""
    cache = open_cache(world, bounds=Bounds(entry_bytes=200))
    await cache.set(KEY, "old")

    assert not await cache.set(KEY, "x" * 300)
    assert await cache.get(KEY, MISSING) == MISSING
    assert not await cache.set(KEY, "x" * 300)


async def test_a_cache_that_is_off_stores_nothing(world: World):
    """S1-39: a get misses, a set is False, and the store is not used."""
    cache = open_cache(world, enabled=False)

    assert [await cache.get(KEY, MISSING), await cache.set(KEY, 1)] == [MISSING, False]
    assert await world.command("cache", "DBSIZE") == 0
    assert not cache.is_available


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"key": 7}, "key"),
        ({"value": object()}, "value"),
        ({"ttl_s": 1.5}, "ttl_s"),
        ({"tags": "model:1"}, "tags"),
    ],
)
async def test_wrong_input_is_told(cache: Cache, options: dict[str, Any], field: str):
    """InvalidInput names the field; nothing is stored."""
    with pytest.raises(InvalidInput) as refused:
        await cache.set(**{"key": KEY, "value": 1, **options})

    assert refused.value.field == field


async def test_hits_and_misses_are_counted(world: World, cache: Cache):
    """S3-21: by the first word of the key, and on the server like reads that load."""
    await miss(cache)
    await cache.set(KEY, 1)
    await cache.get(KEY)

    assert (reads(world.metrics, "model", "miss"), reads(world.metrics, "model", "hit")) == (1, 1)
    stats = (await cache.stats()).stats
    assert (stats.hits, stats.misses) == (1, 1)


async def test_clear_all_counts_and_leaves_nothing(world: World, cache: Cache):
    """S4-31, S4-41: at once for readers, then entries are removed and counted; what is stored meanwhile stays."""
    seam = Seam(world.stores.cache)
    for number in range(1_100):
        await cache.set(f"f:{number}", number)
    await cache.set("plain", 1)

    async def store_meanwhile() -> None:
        assert await cache.get("f:1", MISSING) == MISSING
        assert await cache.set("f:1", "newer")

    seam.before["cache/sweep"] = store_meanwhile
    assert await open_cache(world, seam).clear_all() == 1_100

    assert await cache.get("f:1") == "newer"
    assert len(await world.command("cache", "KEYS", "tollhouse:f:*")) == 1


async def test_clear_all_leaves_other_caches_alone(world: World, cache: Cache):
    """S0-15, S4-31: another prefix keeps its values."""
    other = open_cache(world, prefix="chitram")
    await other.set(KEY, 1)
    await cache.set(KEY, 1)

    assert await cache.clear_all() == 1
    assert await other.get(KEY) == 1


async def test_invalidations_after_a_commit(cache: Cache):
    """Tags and keys that a block names are invalidated when it ends."""
    for key in ("a", "b", "c"):
        await cache.set(key, "old", tags=[f"tag:{key}"])

    async with cache.after_commit() as pending:
        pending.tags("tag:a", "tag:x")
        pending.keys("b", "y")
        assert await cache.get("a") == "old"

    assert [await cache.get(key) for key in ("a", "b", "c")] == [None, None, "old"]


@pytest.mark.parametrize(("tags", "keys", "left"), [(["t"], [], ["b"]), ([], ["b"], ["a"]), ([], [], ["a", "b"])])
async def test_a_block_may_name_tags_or_keys_alone(cache: Cache, tags: list[str], keys: list[str], left: list[str]):
    """Nothing but what the block names is invalidated."""
    await cache.set("a", "old", tags=["t"])
    await cache.set("b", "old")

    async with cache.after_commit() as pending:
        pending.tags(*tags)
        pending.keys(*keys)

    assert [key for key in ("a", "b") if await cache.get(key) is not None] == left


async def test_a_value_that_is_stored_while_an_unusable_one_is_removed_is_left(world: World):
    """The caller has a miss, and stores nothing over what another one has stored."""
    seam = Seam(world.stores.cache)
    cache, other = open_cache(world, seam), open_cache(world)
    await cache.set(KEY, "text")

    async def store() -> None:
        await other.set(KEY, "newer")

    seam.after["cache/invalidate"] = store

    assert await cache.get(KEY, MISSING, type=int) == MISSING
    assert not await cache.set(KEY, 7)
    assert await other.get(KEY) == "newer"


async def test_a_block_that_raises_invalidates_nothing(cache: Cache):
    """A transaction that was rolled back has changed nothing."""
    await cache.set("a", "old", tags=["t"])

    async def roll_back() -> None:
        async with cache.after_commit() as pending:
            pending.tags("t")
            pending.keys("a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await roll_back()

    assert await cache.get("a") == "old"


async def test_a_block_that_is_cancelled_invalidates(cache: Cache):
    """P6: the commit may have been on its way, and an invalidation too many costs a miss."""
    await cache.set("a", "old")
    began = asyncio.Event()

    async def commit() -> None:
        async with cache.after_commit() as pending:
            pending.keys("a")
            began.set()
            await asyncio.Event().wait()

    committing = asyncio.create_task(commit())
    await began.wait()
    committing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await committing

    assert await cache.get("a") is None


async def test_an_invalidation_after_a_commit_that_could_not_be_sent_is_made_up_for(
    world: World, caplog: pytest.LogCaptureFixture
):
    """P6: what the block has committed stays, so nothing raises; this process reads nothing older, and logs it."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)
    await cache.set("a", "old")

    async with cache.after_commit() as pending:
        pending.keys("a")
        seam.failing.add("everything")
    seam.failing.clear()

    assert await cache.get("a") is None
    assert [message.startswith("cache not invalidated") for message in caplog.messages] == [True]


async def test_a_caller_that_leaves_after_its_commit_does_not_stop_the_invalidation(world: World):
    """P6: a request that is cancelled while its block ends has changed its data."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)
    await cache.set("a", "old", tags=["t"])
    reached, gate = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await gate.wait()

    async def commit() -> None:
        async with cache.after_commit() as pending:
            pending.tags("t")

    seam.before["cache/invalidate_tags"] = wait
    caller = asyncio.create_task(commit())
    await reached.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.set()
    await cache.aclose()

    assert await cache.get("a") is None


async def test_a_block_may_name_patterns(cache: Cache):
    """Patterns of whole words, and a key in place of one, are invalidated at the end; a part of a word is refused."""
    for key in ("model:metrics:1", "model:metrics:2", "model:other:1", "image:1"):
        await cache.set(key, "old")

    async with cache.after_commit() as pending:
        pending.patterns("model:metrics:*", "image:1")
        with pytest.raises(InvalidInput):
            pending.patterns("model:met*")

    left = [key for key in ("model:metrics:1", "model:metrics:2", "model:other:1", "image:1") if await cache.get(key)]
    assert left == ["model:other:1"]


async def test_a_late_copy_of_a_get_brings_no_permit_back(world: World):
    """P6, cache/get: a call that is repeated after an invalidation grants another permit than it did before."""
    keys = ("tollhouse:a:{0}:e", "tollhouse:@lease:{0}:a:e", "tollhouse:@permit:{0}:a:e", "tollhouse:@clock:{0}")
    run = world.stores.cache.run
    _, now_ms, sequence, _, epoch, token = await run("cache/get", keys, (PRIMARY, "a" * 24, 60_000))
    await run("cache/invalidate", (keys[3], *keys[:3]), (0,))

    await run("cache/get", keys, (PRIMARY, "a" * 24, 60_000))

    assert await run(
        "cache/set", (keys[0], *keys[2:]), (PRIMARY, token, epoch, sequence, now_ms, 60_000, b"00body")
    ) == [0]


async def test_a_set_that_arrives_late_stores_nothing_that_was_invalidated(world: World):
    """P6, cache/take_permit: a set without a miss that was given up is refused after a later invalidation."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)

    async def give_up() -> None:
        raise StoreUnavailable("cache", "ambiguous", "no reply in time")

    seam.before["cache/set"] = give_up
    with pytest.raises(StoreUnavailable):
        await cache.set(KEY, "old", tags=["t"])
    await open_cache(world).invalidate(KEY)
    for call in seam.given_up:
        await world.stores.cache.run(*call)

    assert await cache.get_or_load(KEY, Loader("new")) == "new"


async def test_a_set_that_is_not_stored_leaves_nothing_older(world: World):
    """What it would have replaced is not served any more: the caller has changed it."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)
    await cache.set(KEY, "old")
    seam.rejecting.add("cache/set")

    with pytest.raises(StoreUnavailable):
        await cache.set(KEY, "new")

    assert await cache.look_up(KEY) is None


async def test_a_load_does_not_get_its_lease_back_after_a_set(world: World):
    """P6: a copy of its lookup that arrives when the value has expired grants another lease."""
    keys = (
        "tollhouse:cache:{0}:e",
        "tollhouse:@lease:{0}:cache:e",
        "tollhouse:@permit:{0}:cache:e",
        "tollhouse:@clock:{0}",
    )
    run = world.stores.cache.run
    lookup = "cache/get_or_lease", (keys[0], keys[1], keys[3]), (PRIMARY, "a" * 24, 60_000, "", 0)
    *_, first = await run(*lookup)

    await run("cache/take_permit", keys, (PRIMARY, "b" * 24, 60_000))
    *_, again = await run(*lookup)

    assert first != again


async def test_a_permit_of_the_script_is_shared(world: World):
    """cache/get, cache/set, cache/sweep: two callers get one token; a body without its permit is refused."""
    keys = ("tollhouse:a:{0}:e", "tollhouse:@lease:{0}:a:e", "tollhouse:@permit:{0}:a:e", "tollhouse:@clock:{0}")
    run = world.stores.cache.run

    state, now_ms, sequence, cause, epoch, token = await run("cache/get", keys, (PRIMARY, "a" * 24, 60_000))
    again = await run("cache/get", keys, (PRIMARY, "b" * 24, 60_000))
    (refused,) = await run(
        "cache/set", (keys[0], *keys[2:]), (PRIMARY, "b" * 24 + "0" * 12, epoch, sequence, now_ms, 60_000, b"00body")
    )
    (stored,) = await run(
        "cache/set", (keys[0], *keys[2:]), (PRIMARY, token, epoch, sequence, now_ms, 60_000, b"00body")
    )
    (swept,) = await run("cache/sweep", (keys[3], keys[0]), (PRIMARY,))

    assert (state, cause, token, again[5]) == (2, 1, b"a" * 24 + b"0" * 12, token)
    assert (refused, stored, swept) == (0, 1, 0)
    assert (await run("cache/get", keys, (PRIMARY, "c" * 24, 60_000)))[0] == 1
