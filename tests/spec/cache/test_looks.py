"""Looks that meet in one tick go out as one call, and each of them is answered as if it had gone out alone."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from tests.caches import GET_OR_LEASE, LOOK_UP, GatedLoader, Loader, Seam, open_cache
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.key_names import EntryKeys
from tollhouse.cache.looks import ALONE_MAX, LARGE_BYTES, LOOKS_MAX, ROOM_BYTES, Looks
from tollhouse.cache.reading.loader import Bounds
from tollhouse.errors import StoreRefused, StoreUnavailable
from tollhouse.scripts import PRIMARY, Argument

CLOCK = "tollhouse:@clock:{0}"
GET = "cache/get"
CROWD = ALONE_MAX + LOOKS_MAX
MISSING = "missing"


class Calls(Seam):
    """A store that notes how many entries each call looks at."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.looks: list[int] = []

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        if script in (GET, GET_OR_LEASE, LOOK_UP):
            self.looks.append(len(keys) - 1 if script == LOOK_UP else 1)
        return await super().run(script, keys, args)


@pytest.fixture
def seam(world: World) -> Calls:
    return Calls(world.stores.cache)


@pytest.fixture
async def cache(world: World, seam: Calls) -> Cache:
    return open_cache(world, seam)


@pytest.fixture
async def crowded(world: World, seam: Calls) -> Cache:
    """A cache in which every two looks of one tick go out together."""
    return open_cache(world, seam, bounds=Bounds(alone_max=0))


async def store(cache: Cache, seam: Calls, keys: Sequence[str], value: Any = None, **options: Any) -> None:
    """Store the values of keys, each its key unless one is given, and forget the calls for that."""
    for key in keys:
        await cache.set(key, key if value is None else value, **options)
    seam.looks.clear()


def numbered(count: int, word: str = "k") -> list[str]:
    return [f"{word}:{number}" for number in range(count)]


@pytest.mark.parametrize("read", ["get", "get_or_load", "look_up", "get_many"])
async def test_looks_of_one_tick_go_out_as_one_call(cache: Cache, seam: Calls, read: str):
    """The first ones go out at once, and what comes while they are under way goes together, at most 32 in a call."""
    keys = numbered(CROWD + 2)
    await store(cache, seam, keys)

    if read == "get_many":
        found = list((await cache.get_many(keys, Loader())).values())
    elif read == "get_or_load":
        found = await asyncio.gather(*(cache.get_or_load(key, Loader()) for key in keys))
    elif read == "get":
        found = await asyncio.gather(*(cache.get(key) for key in keys))
    else:
        found = [each and each.value for each in await asyncio.gather(*(cache.look_up(key) for key in keys))]

    assert found == keys
    assert sorted(seam.looks) == [1] * ALONE_MAX + [2, LOOKS_MAX]


async def test_a_look_alone_goes_out_at_once(crowded: Cache, seam: Calls):
    """One look in its tick is the call that it was before, whether others are under way or not; so is a miss."""
    await store(crowded, seam, ["k:1"])

    assert await crowded.get("k:1") == "k:1"
    assert await crowded.get("k:2", MISSING) == MISSING
    assert (await crowded.fetch("k:3", Loader(3))).status == "MISS"

    assert seam.looks == [1, 1, 1]
    assert seam.calls[LOOK_UP] == 0


async def test_each_look_is_answered_on_its_own(world: World, crowded: Cache, seam: Calls):
    """P6: hits beside misses of every cause; each is counted, once, under its cause."""
    await store(crowded, seam, ["k:hit", "k:tagged", "foreign"], tags=["kept"])
    await store(crowded, seam, ["k:marked"], tags=["kept", "gone"])
    await store(crowded, seam, ["k:short"], ttl_s=1)
    (foreign,) = await world.command("cache", "KEYS", "tollhouse:cache:*")
    await world.command("cache", "SET", foreign, "foreign")
    await crowded.invalidate_tags("gone")
    await world.advance(1_000)
    before = await causes(world)

    keys = ["k:hit", "k:marked", "k:tagged", "k:short", "k:none", "foreign", "k:hit"]
    found = await asyncio.gather(*(crowded.look_up(key) for key in keys))
    after = await causes(world)

    assert [each and each.value for each in found] == ["k:hit", None, "k:tagged", None, None, None, "k:hit"]
    assert seam.looks == [7]
    assert after - before == Counter(hit=3, absent=2, invalidated=1, unusable=1)


async def causes(world: World) -> Counter[str]:
    """Return how many looks the server has counted, by their outcome."""
    fields: dict[bytes, bytes] = await world.command("cache", "HGETALL", CLOCK)
    return Counter({name[2:].decode(): int(count) for name, count in fields.items() if name.startswith(b"n:")})


async def test_a_miss_goes_on_to_its_own_call(crowded: Cache, seam: Calls):
    """P7: of callers of one key that miss together, one loads; each key gets its own value."""
    loads = {key: Loader(key) for key in numbered(3)}

    found = await asyncio.gather(*(crowded.get_or_load(key, loads[key]) for key in loads for _ in range(5)))

    assert found == [key for key in loads for _ in range(5)]
    assert [load.calls for load in loads.values()] == [1, 1, 1]
    assert seam.calls[LOOK_UP] == 1


async def test_a_get_that_misses_with_others_has_a_permit(world: World, crowded: Cache, seam: Calls):
    """P6: its `set` is stored, and is refused after an invalidation that came between."""
    keys = numbered(3)

    async def get_and_set(key: str, *, invalidated: bool) -> bool:
        assert await crowded.get(key, MISSING) == MISSING
        if invalidated:
            await crowded.invalidate(key)
        return await crowded.set(key, "value")

    stored = await asyncio.gather(*(get_and_set(key, invalidated=key == keys[1]) for key in keys))

    assert stored == [True, False, True]
    assert seam.calls[LOOK_UP] == 1


async def test_what_is_invalidated_before_the_call_is_not_returned(crowded: Cache, seam: Calls):
    """P6: a value that is invalidated when the looks are gathered, and before they are run, is loaded anew."""
    await store(crowded, seam, numbered(2), "old", tags=["t"])
    seam.before[LOOK_UP] = lambda: crowded.invalidate_tags("t")

    found = await asyncio.gather(*(crowded.get_or_load(key, Loader("new")) for key in numbered(2)))

    assert found == ["new", "new"]


async def test_a_caller_that_leaves_changes_nothing_for_the_others(crowded: Cache, seam: Calls):
    """A caller that is cancelled before the call, or while it is under way, is the only one without an answer."""
    await store(crowded, seam, keys := numbered(4))
    tasks = [asyncio.create_task(crowded.get(key)) for key in keys]
    await asyncio.sleep(0)
    tasks[0].cancel()

    async def leave() -> None:
        tasks[1].cancel()

    seam.after[LOOK_UP] = leave
    found = await asyncio.gather(*tasks, return_exceptions=True)

    assert [isinstance(each, asyncio.CancelledError) for each in found] == [True, True, False, False]
    assert found[2:] == keys[2:]
    assert seam.looks == [3]


async def test_nothing_is_sent_for_callers_that_all_left(crowded: Cache, seam: Calls):
    """Looks of which every caller was cancelled before they went out need no call."""
    tasks = [asyncio.create_task(crowded.get(key)) for key in numbered(2)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()

    await asyncio.gather(*tasks, return_exceptions=True)
    await seam.until_quiet()

    assert seam.looks == []


async def test_a_store_that_is_down_fails_each_look(crowded: Cache, seam: Calls):
    """P8: a read loads without the store after one call that failed; a `get` raises; a look-up finds nothing."""
    await store(crowded, seam, keys := numbered(2))
    seam.failing.add(LOOK_UP)

    read = await asyncio.gather(*(crowded.fetch(key, Loader("loaded")) for key in keys))
    got = await asyncio.gather(*(crowded.get(key) for key in keys), return_exceptions=True)
    looked_up = await asyncio.gather(*(crowded.look_up(key) for key in keys))

    assert [(each.value, each.status) for each in read] == [("loaded", "BYPASS")] * 2
    assert [type(each) for each in got] == [StoreUnavailable] * 2
    assert looked_up == [None, None]
    assert seam.looks == [2, 2, 2]


async def test_a_call_that_is_cancelled_leaves_no_caller_waiting(crowded: Cache, seam: Calls):
    """When a process ends, and cancels its tasks, the callers of a call under way end as well, and later ones start."""
    await store(crowded, seam, keys := numbered(2))

    async def cancelled() -> None:
        raise asyncio.CancelledError

    seam.before[LOOK_UP] = cancelled
    found = await asyncio.gather(*(crowded.get(key) for key in keys), return_exceptions=True)

    assert [type(each) for each in found] == [asyncio.CancelledError] * 2
    assert await asyncio.gather(*(crowded.get(key) for key in keys)) == keys


async def test_large_values_are_looked_up_apart(crowded: Cache, seam: Calls):
    """Those beyond the room of a reply are found by calls of their own; large ones, and only they, from then on."""
    large, small = numbered(5, "large"), numbered(5, "small")
    value = os.urandom(LARGE_BYTES)
    await store(crowded, seam, large, value)
    await store(crowded, seam, small)

    first = await asyncio.gather(*(crowded.get(key) for key in [*large, *small]))
    first_looks = seam.looks.copy()
    seam.looks.clear()
    again = await asyncio.gather(*(crowded.get(key) for key in [*large, *small]))

    assert first == again == [*[value] * 5, *small]
    assert 5 * len(value) > ROOM_BYTES
    assert first_looks == [10, 1, 1]
    assert sorted(seam.looks) == [1, 1, 1, 1, 1, 5]


async def test_a_look_of_one_caller_waits_for_no_load(crowded: Cache, seam: Calls):
    """A key that is being loaded does not keep a hit of the same tick from its caller."""
    await store(crowded, seam, ["k:hit"])
    load = GatedLoader("slow")
    slow, hit = (asyncio.create_task(crowded.get_or_load(key, load)) for key in ("k:slow", "k:hit"))

    assert await hit == "k:hit"
    load.gate.set()
    assert await slow == "slow"


async def look_up(world: World, names: Sequence[str], room: int = ROOM_BYTES, finals: str = "") -> list[Any]:
    args = PRIMARY, room, finals or "0" * len(names)
    return await world.stores.cache.run(LOOK_UP, (CLOCK, *names), args)


async def test_the_script_leaves_nothing_of_a_miss_but_its_count(world: World):
    """cache/look_up: a miss that is final is counted, another is not; neither begins a clock or grants anything."""
    reply = await look_up(world, ["tollhouse:cache:{0}:a", "tollhouse:cache:{0}:b"], finals="01")

    assert reply == [world.now_ms, 1, 1]
    assert await world.command("cache", "KEYS", "*") == [CLOCK.encode()]
    assert await world.command("cache", "HGETALL", CLOCK) == {b"n:absent": b"1"}


async def test_the_script_returns_what_the_reply_has_room_for(world: World, cache: Cache):
    """cache/look_up: an envelope beyond the room is 0, and is no hit yet; a smaller one behind it is returned."""
    await cache.set("small", "s")
    await cache.set("large", os.urandom(1_000))
    found = await world.command("cache", "KEYS", "tollhouse:cache:*")
    sizes = {name.decode(): await world.command("cache", "STRLEN", name) for name in found}
    small, large = sorted(sizes, key=sizes.__getitem__)

    _, first, second, third = await look_up(world, [large, small, small], room=sizes[small])

    assert (first, len(second), third) == (0, sizes[small], 0)
    assert await world.command("cache", "HGET", CLOCK, "n:hit") == b"1"


async def test_looks_together_sweep_marks_as_others_do(world: World, crowded: Cache, seam: Calls):
    """cache/look_up: marks that are over are forgotten also if all that the cache does is to find values together."""
    await store(crowded, seam, numbered(2), ttl_s=86_400)
    await crowded.invalidate_tags("a", "b")
    marked = await marks(world)
    await world.advance(86_400_000 - 60_000)  # the values are there, and a sweep is due, twice in that time

    await asyncio.gather(*(crowded.get(key) for key in numbered(2)))
    await world.advance(120_000)
    await asyncio.gather(*(crowded.get(key) for key in numbered(2)))
    await world.advance(86_400_000)
    await asyncio.gather(*(crowded.look_up(key) for key in numbered(2)))

    assert seam.calls[LOOK_UP] == 3
    assert (marked, await marks(world)) == (2, 0)


async def marks(world: World) -> int:
    """Return how many tags have a mark."""
    fields = await world.command("cache", "HKEYS", CLOCK)
    return sum(field.startswith(b"t:") and field != b"t:*" for field in fields)


async def test_a_closed_cache_waits_for_its_looks(crowded: Cache, seam: Calls):
    """Looks that are under way when the cache is closed are answered before it is."""
    await store(crowded, seam, keys := numbered(2))
    tasks = [asyncio.create_task(crowded.get(key)) for key in keys]
    for _ in range(3):
        await asyncio.sleep(0)

    await crowded.aclose()

    assert seam.looks == [2]
    assert await asyncio.gather(*tasks) == keys


async def test_large_entries_are_remembered_up_to_a_bound(world: World) -> None:
    """The eldest is forgotten, and looked at together with others again."""
    looks = Looks(world.stores.cache, CLOCK, alone_max=0, large_max=2)
    first, second, third = (
        EntryKeys(entry=name, lease=name, permit=name, digest=name, family="f") for name in ("a", "b", "c")
    )

    for entry in (first, second, third):
        looks.note_size(entry, LARGE_BYTES + 1)

    assert [looks.meet(entry) for entry in (first, second, third)] == [True, False, False]


async def test_looks_that_meet_tell_of_a_store_that_refuses(crowded: Cache, seam: Calls) -> None:
    """P8: a mistake in the setup is no outage for those that share a call either: nothing is loaded."""

    async def refuse() -> None:
        raise StoreRefused("cache", "rejected", "wrong password", "give the right one")

    seam.before[LOOK_UP] = refuse
    load = Loader("new")

    found = await asyncio.gather(*(crowded.get_or_load(key, load) for key in ("a", "b")), return_exceptions=True)

    assert [type(error) for error in found] == [StoreRefused, StoreRefused]
    assert load.calls == 0
