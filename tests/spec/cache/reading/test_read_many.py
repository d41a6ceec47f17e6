"""Reads of many keys: one lookup and one load for all, each entry on its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from tests.caches import FILL, GET_OR_LEASE, PATIENCE_S, GatedLoader, Loader, Seam, Timeline, open_cache, reads
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.reading.read_many import Batches
from tollhouse.errors import InvalidInput, LoadFailed
from tollhouse.scripts import Argument


class Rows:
    """A table that is read with one call for many keys; waits for its gate if it has one."""

    def __init__(self, rows: Mapping[str, Any], *, waits: bool = False) -> None:
        self.rows = rows
        self.calls: list[list[str]] = []
        self.began = asyncio.Event()
        self.gate = asyncio.Event()
        self.cancelled = 0
        if not waits:
            self.gate.set()

    async def __call__(self, keys: list[str]) -> dict[str, Any]:
        self.calls.append(list(keys))
        self.began.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return {key: self.rows[key] for key in keys if key in self.rows}


@pytest.fixture
async def seam(world: World) -> Seam:
    return Seam(world.stores.cache)


@pytest.fixture
async def cache(world: World, seam: Seam) -> AsyncIterator[Cache]:
    cache = open_cache(world, seam)
    yield cache
    await cache.aclose()


async def test_missing_keys_are_loaded_together(world: World, cache: Cache):
    """The loader is called once, with the keys that are not stored; afterwards it is not called."""
    await cache.get_or_load("b", Loader(2))
    rows = Rows({"a": 1, "b": 20, "c": 3})

    loaded = await cache.get_many(["c", "b", "a", "c"], rows)
    found = await cache.get_many(["a", "b", "c"], rows)

    assert list(loaded.items()) == [("c", 3), ("b", 2), ("a", 1)]
    assert found == {"a": 1, "b": 2, "c": 3}
    assert rows.calls == [["c", "a"]]
    assert (reads(world.metrics, "cache", "hit"), reads(world.metrics, "cache", "miss")) == (4, 3)


class Gathering(Seam):
    """A store that answers lookups when so many of them are under way."""

    def __init__(self, store: Any, lookups: int) -> None:
        super().__init__(store)
        self._missing = lookups
        self._complete = asyncio.Event()

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        if script == GET_OR_LEASE:
            self._missing -= 1
            if self._missing <= 0:
                self._complete.set()
            await self._complete.wait()
        return await super().run(script, keys, args)


async def test_all_keys_are_looked_up_before_the_first_answer(world: World):
    """S0-21: no lookup waits for another, so that all travel in one round trip."""
    cache = open_cache(world, Gathering(world.stores.cache, lookups=50))
    keys = [str(number) for number in range(50)]

    async with asyncio.timeout(PATIENCE_S):
        assert await cache.get_many(keys, Rows(dict.fromkeys(keys, 1))) == dict.fromkeys(keys, 1)


async def test_keys_are_the_ones_of_single_reads(cache: Cache):
    """Values that were read together are found one by one, and invalidated by key and by tags of the value."""
    rows = Rows({"rows:a": {"owner": "ada"}, "rows:b": {"owner": "bob"}})
    await cache.get_many(["rows:a", "rows:b"], rows, tags=lambda row: [f"user:{row['owner']}"], ttl_s=60)

    found = [await cache.fetch(key, Loader("new")) for key in ("rows:a", "rows:b")]
    await cache.invalidate("rows:a")
    await cache.invalidate_tags("user:bob")

    assert [(each.value, each.status, each.ttl_ms) for each in found] == [
        ({"owner": "ada"}, "HIT", 60_000),
        ({"owner": "bob"}, "HIT", 60_000),
    ]
    await cache.get_many(["rows:a", "rows:b"], rows)
    assert rows.calls == [["rows:a", "rows:b"], ["rows:a", "rows:b"]]


async def test_keys_without_a_value_are_left_out_and_not_stored(cache: Cache):
    """A key that is not in the answer is not in the result, and is asked for again; None is a value."""
    rows = Rows({"a": None})

    found = [await cache.get_many(["a", "b"], rows) for _ in range(2)]

    assert found == [{"a": None}] * 2
    assert rows.calls == [["a", "b"], ["b"]]
    assert (await cache.fetch("b", Loader("own"))).status == "MISS"


async def test_no_keys_are_no_call(seam: Seam, cache: Cache):
    """Without keys neither the store nor the loader is called."""
    rows = Rows({})

    assert await cache.get_many([], rows) == {}
    assert (rows.calls, seam.calls[GET_OR_LEASE]) == ([], 0)


async def test_values_have_the_type_that_the_caller_gives(cache: Cache):
    """With `type` each value is decoded as one, loaded or found."""
    rows = Rows({"a": (1, 2)})

    assert [await cache.get_many(["a"], rows, type=tuple[int, int]) for _ in range(2)] == [{"a": (1, 2)}] * 2


async def test_keys_that_others_load_are_waited_for(cache: Cache):
    """A key that a single read is loading is not loaded again; and a single read joins a key of a call for many."""
    single, rows = GatedLoader("single"), Rows({"b": "many", "c": "many"}, waits=True)
    first = asyncio.create_task(cache.fetch("a", single))
    await single.began.wait()
    many = asyncio.create_task(cache.get_many(["a", "b", "c"], rows))
    await rows.began.wait()
    late = asyncio.create_task(cache.fetch("b", Loader("own")))
    other = asyncio.create_task(cache.get_many(["b", "c"], Rows({})))
    await asyncio.sleep(0)

    rows.gate.set()
    single.gate.set()

    assert await many == {"a": "single", "b": "many", "c": "many"}
    assert rows.calls == [["b", "c"]]
    assert ((await late).value, (await late).status, (await first).value) == ("many", "COALESCED", "single")
    assert await other == {"b": "many", "c": "many"}


async def test_a_single_read_loads_a_key_that_a_call_for_many_found_without_a_value(cache: Cache):
    """That the other's loader has no value for a key says nothing about the caller's own."""
    rows = Rows({}, waits=True)
    many = asyncio.create_task(cache.get_many(["a"], rows))
    await rows.began.wait()
    single = asyncio.create_task(cache.fetch("a", Loader("own")))
    await asyncio.sleep(0)

    rows.gate.set()

    assert (await many, (await single).value) == ({}, "own")


async def test_keys_that_another_process_loaded_in_vain_are_loaded_together(world: World, cache: Cache):
    """The keys whose leases come later are loaded by one more call, not by one each."""
    timeline = Timeline(world)
    waiting = open_cache(world, sleep=timeline.sleep)
    theirs = Rows({}, waits=True)
    held = asyncio.create_task(cache.get_many(["a", "b"], theirs))
    await theirs.began.wait()
    rows = Rows({"a": 1, "b": 2, "c": 3})
    many = asyncio.create_task(waiting.get_many(["a", "b", "c"], rows))
    await timeline.until_asleep(3)

    theirs.gate.set()
    await held
    await cache.aclose()
    await timeline.drive(many)

    assert many.result() == {"a": 1, "b": 2, "c": 3}
    assert [sorted(call) for call in rows.calls] == [["c"], ["a", "b"]]


async def test_a_later_batch_waits_for_the_keys_of_which_the_store_is_asked():
    """The answers of one moment arrive one after the other; the loads that they make due are one call all the same."""
    rows = Rows({"a": 1, "b": 2})
    batches = Batches(rows, ["a"], "family")
    batches.answered("a")

    with batches.asking():
        first = asyncio.create_task(batches.load("a"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert rows.calls == []
    second = asyncio.create_task(batches.load("b"))

    assert (await first, await second) == (1, 2)
    assert rows.calls == [["a", "b"]]


@pytest.mark.parametrize("state", ["down", "off"])
async def test_without_a_store_all_keys_are_loaded_by_one_call(seam: Seam, cache: Cache, state: str):
    """P8: while the store is down, or the cache is disabled, values are loaded and not stored."""
    if state == "down":
        seam.failing.add("everything")
    cache.switch(on=state != "off")
    rows = Rows({"a": 1, "b": 2})

    assert await cache.get_many(["a", "b", "c"], rows) == {"a": 1, "b": 2}
    assert rows.calls == [["a", "b", "c"]]


async def test_an_error_of_the_loader_is_raised_as_it_is(world: World, cache: Cache):
    """The caller gets the error, no group of errors; keys that are not loaded are free for the next reader."""
    await cache.get_or_load("a", Loader(1))

    async def fail(keys: list[str]) -> dict[str, Any]:
        raise KeyError("table")

    with pytest.raises(KeyError):
        await cache.get_many(["a", "b", "c"], fail)

    assert (await cache.fetch("b", Loader("own"))).status == "MISS"
    assert reads(world.metrics, "cache", "error") == 3


async def test_one_value_that_cannot_be_stored_fails_the_call(cache: Cache):
    """A value that has no encoding is LoadFailed, as in a single read."""
    with pytest.raises(LoadFailed):
        await cache.get_many(["a", "b"], Rows({"a": object(), "b": 1}))


async def test_a_caller_that_leaves_ends_the_load(cache: Cache):
    """The loader is cancelled, and its leases are free."""
    rows = Rows({}, waits=True)
    many = asyncio.create_task(cache.get_many(["a", "b"], rows))
    await rows.began.wait()

    many.cancel()
    await asyncio.wait([many])
    for _ in range(5):
        await asyncio.sleep(0)

    assert (many.cancelled(), rows.cancelled) == (True, 1)
    assert [(await cache.fetch(key, Loader("own"))).status for key in ("a", "b")] == ["MISS"] * 2


async def test_a_caller_that_leaves_leaves_the_load_to_those_who_joined(cache: Cache):
    """A single read that joined one of the keys has its value."""
    rows = Rows({"a": 1, "b": 2}, waits=True)
    many = asyncio.create_task(cache.get_many(["a", "b"], rows))
    await rows.began.wait()
    joined = asyncio.create_task(cache.fetch("b", Loader("own")))
    await asyncio.sleep(0)

    many.cancel()
    await asyncio.wait([many])
    rows.gate.set()

    assert ((await joined).value, rows.cancelled) == (2, 0)


@pytest.mark.parametrize("read", ["a", "c"])
async def test_a_loader_of_many_that_reads_one_of_its_keys_fails(cache: Cache, read: str):
    """Also such a load cannot wait for itself, whichever of its keys it reads."""

    async def load(keys: list[str]) -> dict[str, Any]:
        return {key: await cache.get_or_load(read, Loader("never")) for key in keys}

    with pytest.raises(LoadFailed):
        async with asyncio.timeout(PATIENCE_S):
            await cache.get_many(["a", "b", "c"], load)


async def test_an_invalidated_key_is_not_stored_and_others_are(world: World, cache: Cache):
    """P6: each entry has a lease of its own."""
    rows = Rows({"a": 1, "b": 2}, waits=True)
    many = asyncio.create_task(cache.get_many(["a", "b"], rows))
    await rows.began.wait()

    await cache.invalidate("a")
    rows.gate.set()

    assert await many == {"a": 1, "b": 2}
    assert [(await cache.fetch(key, Loader("new"))).value for key in ("a", "b")] == ["new", 2]


async def test_a_full_server_confirms_each_key(seam: Seam, cache: Cache):
    """P7: callers that joined share the values of one call, though nothing is stored."""
    seam.rejecting.add(FILL)
    rows = Rows({"a": 1, "b": 2}, waits=True)
    calls = [asyncio.create_task(cache.get_many(["a", "b"], rows)) for _ in range(5)]
    await rows.began.wait()
    await seam.until_quiet()

    rows.gate.set()

    assert await asyncio.gather(*calls) == [{"a": 1, "b": 2}] * 5
    assert rows.calls == [["a", "b"]]


@pytest.mark.parametrize(
    ("field", "keys", "load"),
    [
        ("keys", "abc", Rows),
        ("keys", [str(number) for number in range(1_001)], Rows),
        ("keys", None, Rows),
        ("keys", [["a"]], Rows),
        ("key", [""], Rows),
        ("key", [5], Rows),
        ("load_many", ["a"], None),
        ("load_many", ["a"], dict.fromkeys),
    ],
)
async def test_wrong_arguments_are_refused_by_name(cache: Cache, field: str, keys: Any, load: Any):
    """InvalidInput names the argument; one text is no list of keys."""
    with pytest.raises(InvalidInput) as refused:
        await cache.get_many(keys, Rows({}) if load is Rows else load)

    assert refused.value.field == field


async def test_an_answer_that_is_no_mapping_is_a_failure(cache: Cache):
    """A list in the place of a mapping is LoadFailed."""

    async def load(keys: list[str]) -> Any:
        return [1]

    with pytest.raises(LoadFailed):
        await cache.get_many(["a"], load)
