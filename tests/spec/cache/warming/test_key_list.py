"""`cache.warm`: the values of a list of keys are there before they are asked for (S2-30, S4-62)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import pytest

from tests.asgi import blamed
from tests.caches import GET_OR_LEASE, PATIENCE_S, Loader, Seam, open_cache
from tests.worlds import World
from tollhouse.cache.warming.bounded import AT_ONCE_MAX
from tollhouse.cache.warming.key_list import LOOK_UPS_MAX, PORTION
from tollhouse.cache.warming.report import FAILURES_MAX
from tollhouse.errors import ConfigurationError, InvalidInput, OutOfBounds, StoreUnavailable
from tollhouse.scripts import Argument


class Rows:
    """A source of rows by key, which counts how it is asked; a key with `bad` in it fails, one with `none` has none."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.running = self.most_running = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._began = asyncio.Event()

    async def __call__(self, keys: list[str]) -> Mapping[str, Any]:
        self.calls.append(sorted(keys))
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        self._began.set()
        await self.gate.wait()
        self.running -= 1
        if any("bad" in key for key in keys):
            raise ConnectionError("no such row")
        return {key: key.upper() for key in keys if "none" not in key}

    async def until_running(self, calls: int) -> None:
        """Wait until so many calls are in progress."""
        async with asyncio.timeout(PATIENCE_S):
            while self.running < calls:
                self._began.clear()
                await self._began.wait()


class CountedStore:
    """A store that knows how many look-ups were in progress at most."""

    def __init__(self, store: Any) -> None:
        self.running = self.most_running = 0
        self.is_available = True
        self._store = store

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script, and count it meanwhile if it is a look-up."""
        self.running += script == GET_OR_LEASE
        self.most_running = max(self.running, self.most_running)
        try:
            return await self._store.run(script, keys, args)
        finally:
            self.running -= script == GET_OR_LEASE


async def test_what_is_not_stored_of_a_list_is_loaded_at_once(world: World):
    """S4-62: keys of a list that are stored are left alone, the others are loaded by one call and found by reads."""
    cache, rows = open_cache(world), Rows()
    await cache.get_or_load("row:1", Loader("old"))

    report = await cache.warm(["row:1", "row:2", "row:3", "row:none", "row:2"], rows, tags=lambda row: [row])

    assert (report.present, report.loaded, report.unstored, report.failed, report.failures) == (1, 2, 1, 0, ())
    assert rows.calls == [["row:2", "row:3", "row:none"]]
    assert await cache.get_or_load("row:2", Loader("unused")) == "ROW:2"
    await cache.invalidate_tags("ROW:2")
    assert await cache.get_or_load("row:2", Loader("anew")) == "anew"


async def test_a_load_that_fails_is_that_of_its_keys_alone(world: World):
    """Stored keys and those of other calls count as ever; the report names positions and errors, and a wrong key."""
    cache, rows = open_cache(world), Rows()
    await cache.get_or_load("row:0", Loader("old"))
    first = ["row:0", "row:bad", *(f"row:{number}" for number in range(1, PORTION - 1))]

    report = await cache.warm([*first, "row:last", ""], rows)

    assert (report.present, report.loaded, report.failed) == (1, 1, PORTION)
    assert len(report.failures) == FAILURES_MAX == PORTION
    assert {failure.position for failure in report.failures} == {*range(1, PORTION), PORTION + 1}
    kinds = {failure.position: type(failure.error) for failure in report.failures}
    assert (kinds[1], kinds[PORTION + 1]) == (ConnectionError, OutOfBounds)


async def test_two_warmings_of_one_list_load_each_key_once(world: World):
    """S2-30: over processes a key is loaded by one of them; to the other it is present."""
    rows, stores = Rows(), world.stores
    rows.gate.clear()
    one, other = open_cache(world), open_cache(world, stores.cache)
    keys = [f"row:{number}" for number in range(20)]

    warmings = [asyncio.create_task(cache.warm(keys, rows)) for cache in (one, other)]
    await rows.until_running(1)
    rows.gate.set()
    reports = await asyncio.gather(*warmings)

    assert sorted(key for call in rows.calls for key in call) == sorted(keys)
    assert [sum(report.loaded for report in reports), sum(report.present for report in reports)] == [20, 20]


async def test_a_long_list_is_read_as_it_is_worked_on(world: World):
    """Of a list without end no more is taken than is loaded: `at_once` calls of a hundred keys."""
    stores = world.open_stores()
    cache, rows = open_cache(world, stores.cache), Rows()
    rows.gate.clear()
    taken = 0

    def keys() -> Iterator[str]:
        nonlocal taken
        for taken in range(1, 501):
            yield f"row:{taken}"

    warming = asyncio.create_task(cache.warm(keys(), rows, at_once=2))
    await rows.until_running(2)
    was_taken = taken
    rows.gate.set()

    assert (await warming).loaded == 500
    assert was_taken <= 3 * PORTION
    assert rows.most_running == 2


async def test_no_more_is_looked_up_than_can_be_answered_in_time(world: World):
    """However many loads may run, a bounded number of keys waits for the store: the last one of many would be late."""
    store = CountedStore(world.stores.cache)
    keys = [f"row:{number}" for number in range(LOOK_UPS_MAX + 2 * PORTION)]

    report = await open_cache(world, store).warm(keys, Rows(), at_once=AT_ONCE_MAX)

    assert report.loaded == len(keys)
    assert PORTION < store.most_running <= LOOK_UPS_MAX


async def test_keys_that_wait_for_a_load_keep_none_from_being_looked_up(world: World):
    """A load does not take part in the bound of look-ups: more calls run than have their keys looked up at once."""
    rows = Rows()
    rows.gate.clear()
    calls = LOOK_UPS_MAX // PORTION + 1
    keys = [f"row:{number}" for number in range(calls * PORTION)]

    warming = asyncio.create_task(open_cache(world).warm(keys, rows, at_once=AT_ONCE_MAX))
    await rows.until_running(calls)
    rows.gate.set()

    assert (await warming).loaded == len(keys)


async def test_a_list_may_be_asynchronous(world: World):
    """Keys may come one after the other from a source that is awaited."""

    async def keys() -> AsyncIterator[str]:
        for number in range(3):
            await asyncio.sleep(0)
            yield f"row:{number}"

    assert (await open_cache(world).warm(keys(), Rows())).loaded == 3


async def test_nothing_is_loaded_while_nothing_can_be_stored(world: World):
    """With a store that is down, and a cache that is off, every item fails, and the source is not asked."""
    seam, rows = Seam(world.stores.cache), Rows()
    seam.failing.add("everything")

    for cache in (open_cache(world, seam), open_cache(world, enabled=False)):
        report = await cache.warm(["row:1", "row:2"], rows)

        assert (report.loaded, report.failed, rows.calls) == (0, 2, [])
        assert {type(failure.error) for failure in report.failures} == {StoreUnavailable}


async def test_a_warming_that_is_cancelled_ends_its_loads(world: World):
    """A caller that leaves leaves no load behind."""
    cache, rows = open_cache(world), Rows()
    rows.gate.clear()
    warming = asyncio.create_task(cache.warm(["row:1"], rows))
    await rows.until_running(1)

    warming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await warming
    await cache.aclose()

    assert await open_cache(world).get("row:1") is None


async def test_an_error_of_the_setup_ends_a_warming(world: World):
    """What every item would fail with is raised once."""

    async def wrong(keys: list[str]) -> Mapping[str, str]:
        raise ConfigurationError("rows", keys[0], "name the table")

    with pytest.raises(ConfigurationError):
        await open_cache(world).warm(["row:1", "row:2"], wrong)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("keys", {"keys": "row:1"}),
        ("load_many", {"load_many": None}),
        ("at_once", {"at_once": 0}),
        ("at_once", {"at_once": AT_ONCE_MAX + 1}),
        ("ttl_s", {"ttl_s": 1.5}),
        ("tags", {"tags": "model:1"}),
    ],
)
async def test_a_wrong_argument_is_named_before_anything_is_loaded(world: World, field: str, given: dict[str, Any]):
    """InvalidInput names the argument, as for `get_many`."""
    rows = Rows()

    with pytest.raises(InvalidInput) as refused:
        await open_cache(world).warm(**({"keys": ["row:1"], "load_many": rows} | given))

    assert blamed(refused.value) == field
    assert rows.calls == []
