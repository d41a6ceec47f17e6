"""Loads: what ends them, and how their values are kept."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.caches import CONFIRM, FILL, GatedLoader, Loader, Seam, open_cache
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.reading.loader import Bounds
from tollhouse.errors import InvalidInput, LoadFailed


@pytest.fixture
async def seam(world: World) -> Seam:
    return Seam(world.stores.cache)


@pytest.fixture
async def cache(world: World, seam: Seam) -> Cache:
    return open_cache(world, seam)


class Cancelling:
    """A loader that raises CancelledError by its own code."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.gate = asyncio.Event()

    async def __call__(self) -> Any:
        self.began.set()
        await self.gate.wait()
        raise asyncio.CancelledError


@pytest.mark.parametrize("state", ["up", "down", "off"])
async def test_a_cancellation_that_a_loader_raises_is_a_failure(cache: Cache, seam: Seam, state: str):
    """Callers that were not cancelled get LoadFailed, each its own; so no TaskGroup ends without its answers."""
    if state == "down":
        seam.failing.add("everything")
    cache.switch(on=state != "off")
    load = Cancelling()
    tasks = [asyncio.create_task(cache.get_or_load("k", load)) for _ in range(3)]
    await load.began.wait()
    load.gate.set()

    errors = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(error) for error in errors] == [LoadFailed] * 3
    assert len({id(error) for error in errors}) == 3
    assert {type(error.__cause__) for error in errors if isinstance(error, LoadFailed)} == {asyncio.CancelledError}


@pytest.mark.parametrize("use_cache", [True, False])
async def test_a_callers_own_cancellation_is_one(cache: Cache, use_cache: bool):
    """A caller that is cancelled ends as cancelled, and so does its load."""
    load = GatedLoader("never")
    task = asyncio.create_task(cache.fetch("k", load, use_cache=use_cache))
    await load.began.wait()

    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)

    assert (task.cancelled(), load.cancelled) == (True, 1)


async def test_a_loader_that_raises_stop_iteration_fails(cache: Cache):
    """A plain function in the place of the loader may raise it; no caller hangs."""

    def load() -> Any:
        raise StopIteration

    errors = await asyncio.gather(*(cache.get_or_load("k", load) for _ in range(2)), return_exceptions=True)

    assert [type(error) for error in errors] == [RuntimeError] * 2


async def test_every_caller_has_an_error_of_its_own(cache: Cache):
    """Callers that share a load that fails do not share the exception object."""
    gate = asyncio.Event()

    async def fail() -> None:
        await gate.wait()
        raise KeyError("row")

    tasks = [asyncio.create_task(cache.get_or_load("k", fail)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)

    assert [repr(error) for error in errors] == ["KeyError('row')"] * 3
    assert len({id(error) for error in errors}) == 3


async def shared(seam: Seam, cache: Cache, load: GatedLoader, times: int = 10) -> list[Any]:
    """Return the results of callers of one load."""
    tasks = [asyncio.create_task(cache.fetch("k", load)) for _ in range(times)]
    await load.began.wait()
    await seam.until_quiet()
    load.gate.set()
    return await asyncio.gather(*tasks)


async def test_a_value_that_a_full_server_refuses_is_shared(seam: Seam, cache: Cache):
    """P7: the store refuses the fill and confirms the value, so all callers of the process have it by one load."""
    seam.rejecting.add(FILL)
    load = GatedLoader("value")

    found = await shared(seam, cache, load)

    assert load.calls == 1
    assert {(each.value, each.ttl_ms) for each in found} == {("value", 0)}
    assert sorted(each.status for each in found) == ["COALESCED"] * 9 + ["MISS"]
    assert (await cache.fetch("k", Loader("next"))).status == "MISS"


async def test_a_value_that_was_invalidated_is_not_confirmed(world: World, seam: Seam, cache: Cache):
    """P6: callers that joined do not share a value that was invalidated before the confirmation, full server or not."""
    seam.rejecting.add(FILL)
    load = GatedLoader("old")
    first = asyncio.create_task(cache.fetch("k", load))
    await load.began.wait()
    second = asyncio.create_task(cache.fetch("k", Loader("new")))
    await asyncio.sleep(0)

    await open_cache(world).invalidate("k")
    load.gate.set()

    assert ((await first).value, (await second).value) == ("old", "new")


async def test_a_fill_that_may_have_run_is_not_confirmed(seam: Seam, cache: Cache):
    """Only a fill that certainly did not run is followed by another call."""
    seam.failing.add(FILL)

    await cache.fetch("k", Loader("value"))

    assert seam.calls[CONFIRM] == 0


async def test_a_value_above_the_bound_is_confirmed_without_its_body(world: World, seam: Seam):
    """S0-20: the store is not sent what it shall not store."""
    cache = open_cache(world, seam, bounds=Bounds(entry_bytes=1_000))

    found = await cache.fetch("k", Loader("x" * 2_000))

    assert (found.status, found.ttl_ms) == ("MISS", 0)
    assert (seam.calls[FILL], seam.calls[CONFIRM]) == (0, 1)


async def test_tags_may_depend_on_the_value(cache: Cache):
    """A function of the value gives its tags; invalidating one removes the value."""

    async def load() -> dict[str, str]:
        return {"owner": "ada"}

    await cache.get_or_load("k", load, tags=lambda value: [f"user:{value['owner']}"])
    await cache.invalidate_tags("user:bob")
    kept = await cache.fetch("k", load)

    await cache.invalidate_tags("user:ada")

    assert kept.status == "HIT"
    assert (await cache.fetch("k", load)).status == "MISS"


async def test_a_tag_of_the_value_that_is_invalidated_during_the_load_refuses_it(cache: Cache):
    """P6: the tags of a value are compared with the state before its load, though they are only known after it."""
    load = GatedLoader("old")
    task = asyncio.create_task(cache.fetch("k", load, tags=lambda value: [f"is:{value}"]))
    await load.began.wait()

    await cache.invalidate_tags("is:old")
    load.gate.set()

    assert (await task).ttl_ms == 0
    assert (await cache.fetch("k", Loader("new"))).value == "new"


async def test_a_function_of_tags_that_fails_ends_the_read(cache: Cache):
    """Its error passes through, nothing is stored, and the next reader loads at once."""
    with pytest.raises(InvalidInput):
        await cache.get_or_load("k", Loader("value"), tags=lambda _: [""])
    with pytest.raises(KeyError):
        await cache.get_or_load("k", Loader({}), tags=lambda value: [value["owner"]])

    assert (await cache.fetch("k", Loader("value"))).status == "MISS"


@pytest.mark.parametrize(
    ("value", "none_ttl_s", "ttl_ms"), [(None, 5, 5_000), (0, 5, 60_000), (None, None, 60_000), (None, 0, 0)]
)
async def test_none_may_have_a_lifetime_of_its_own(cache: Cache, value: Any, none_ttl_s: int | None, ttl_ms: int):
    """None is kept for `none_ttl_s` if that is given, and not at all for 0; other values are kept for `ttl_s`."""
    found = await cache.fetch("k", Loader(value), ttl_s=60, none_ttl_s=none_ttl_s)

    again = await cache.fetch("k", Loader("again"), ttl_s=60)

    assert found.ttl_ms == ttl_ms
    assert again.status == ("HIT" if ttl_ms else "MISS")


@pytest.mark.parametrize(("jitter", "ttl_ms"), [(0, 100_000), (0.1, 90_000), (0.5, 50_000)])
async def test_the_caller_chooses_the_jitter(world: World, jitter: float, ttl_ms: int):
    """A lifetime is shorter by at most the part that is given."""
    cache = open_cache(world, uniform=lambda: 0.999_999_999)

    assert (await cache.fetch("k", Loader(1), ttl_s=100, jitter=jitter)).ttl_ms == ttl_ms


@pytest.mark.parametrize(
    ("field", "given"),
    [
        *(("jitter", given) for given in (-0.1, 0.51, float("nan"), True, "0.1")),
        *(("none_ttl_s", given) for given in (-1, 30 * 86_400 + 1)),
    ],
)
async def test_values_out_of_bounds_are_refused_before_the_load(cache: Cache, field: str, given: Any):
    """InvalidInput names the field, and nothing is loaded."""
    load = Loader(1)
    options: dict[str, Any] = {field: given}

    with pytest.raises(InvalidInput) as refused:
        await cache.get_or_load("k", load, **options)

    assert (refused.value.field, load.calls) == (field, 0)


@pytest.mark.parametrize("why", ["too large", "none is kept", "the server is full"])
async def test_a_fresh_value_that_is_not_stored_leaves_nothing_older(cache: Cache, seam: Seam, why: str):
    """A stored value is not served any more when a newer one was loaded, whether or not that could take its place."""
    await cache.get_or_load("k", Loader("old"))
    if why == "the server is full":
        seam.rejecting.add(FILL)
    value: Any = {"too large": random.randbytes(1_100_000), "none is kept": None}.get(why, "new")

    await cache.get_or_load("k", Loader(value), fresh=True, none_ttl_s=0)

    assert await cache.look_up("k") is None
