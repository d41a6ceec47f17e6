"""Loads that wait for themselves: an error at once, whatever the way round."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.caches import PATIENCE_S, GatedLoader, Loader, Seam, open_cache
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.errors import LoadFailed

Load = Callable[[], Awaitable[Any]]


@pytest.fixture
async def seam(world: World) -> Seam:
    return Seam(world.stores.cache)


@pytest.fixture
async def cache(world: World, seam: Seam) -> Cache:
    return open_cache(world, seam)


def reading(cache: Cache, key: str, load: Callable[[], Load], **options: Any) -> Load:
    """Return a loader that reads a key."""

    async def run() -> Any:
        return await cache.get_or_load(key, load(), **options)

    return run


async def ends(read: Awaitable[Any]) -> Any:
    """Return the result of a read that must not hang."""
    async with asyncio.timeout(PATIENCE_S):
        return await read


@pytest.mark.parametrize("options", [{}, {"fresh": True}], ids=["read", "fresh"])
@pytest.mark.parametrize("state", ["up", "down", "off"])
async def test_a_loader_that_reads_its_own_key_fails(cache: Cache, seam: Seam, state: str, options: dict[str, Any]):
    """The read raises LoadFailed at once, also while the store is down and while the cache is disabled."""
    if state == "down":
        seam.failing.add("everything")
    cache.switch(on=state != "off")

    def load() -> Load:
        return reading(cache, "model:k", load, **options)

    with pytest.raises(LoadFailed, match="'model'"):
        await ends(cache.get_or_load("model:k", load(), **options))

    cache.switch(on=None)
    seam.failing.clear()
    assert await cache.get_or_load("model:k", Loader("value")) == "value"


async def test_a_loader_that_reads_its_own_key_over_another_fails(cache: Cache):
    """A circle over two keys is found too; the error names both families."""
    back = reading(cache, "one:a", lambda: Loader("never"))
    forth = reading(cache, "two:b", lambda: back)

    with pytest.raises(LoadFailed, match="'one' and 'two'"):
        await ends(cache.get_or_load("one:a", forth))


async def test_a_loader_that_reads_its_own_key_in_a_task_fails(cache: Cache):
    """Tasks of a loader belong to its load."""

    async def load() -> Any:
        return await asyncio.gather(cache.get_or_load("other", Loader(1)), cache.get_or_load("k", Loader("never")))

    with pytest.raises(LoadFailed):
        await ends(cache.get_or_load("k", load))


async def test_two_loads_that_wait_for_each_other_fail(cache: Cache):
    """Two callers began the two loads: both get LoadFailed, and so do those that joined them."""
    began = [asyncio.Event(), asyncio.Event()]

    def load(own: int, other: str) -> Load:
        async def run() -> Any:
            began[own].set()
            await began[1 - own].wait()
            return await cache.get_or_load(other, Loader("never"))

        return run

    calls = [cache.get_or_load("a", load(0, "b")), cache.get_or_load("b", load(1, "a"))]
    joined = [cache.get_or_load(key, Loader("never")) for key in ("a", "b")]

    errors = await ends(asyncio.gather(*calls, *joined, return_exceptions=True))

    assert [type(error) for error in errors] == [LoadFailed] * 4


async def test_loads_that_wait_for_others_are_no_circle(cache: Cache):
    """Two loaders may read the same third key, one after the other or at once, and one loader a key twice."""
    third = GatedLoader("third")

    async def both() -> Any:
        first = await cache.get_or_load("d", Loader("fourth"))
        return [first, *await asyncio.gather(*(cache.get_or_load("c", third) for _ in range(2)))]

    tasks = [asyncio.create_task(cache.get_or_load(key, both)) for key in ("a", "b")]
    await third.began.wait()
    third.gate.set()

    assert await ends(asyncio.gather(*tasks)) == [["fourth", "third", "third"]] * 2
    assert third.calls == 1


async def test_a_load_anew_may_read_what_is_stored(cache: Cache):
    """A loader of a fresh value may build on the value that is stored still."""
    await cache.get_or_load("k", Loader(1))

    async def add_one() -> int:
        return await cache.get_or_load("k", Loader(0)) + 1

    assert await ends(cache.get_or_load("k", add_one, fresh=True)) == 2
    assert await cache.get_or_load("k", Loader(0)) == 2


async def test_a_task_that_outlives_its_load_may_read_the_key(cache: Cache):
    """A task that a loader started belongs to no load any more when that has ended."""
    late: list[asyncio.Task[Any]] = []
    gate = asyncio.Event()

    async def read_later() -> Any:
        await gate.wait()
        await cache.invalidate("k")
        return await cache.get_or_load("k", Loader("again"))

    async def load() -> str:
        late.append(asyncio.create_task(read_later()))
        return "value"

    assert await cache.get_or_load("k", load) == "value"
    gate.set()

    assert await ends(late[0]) == "again"


async def test_two_caches_may_have_the_same_key(world: World, cache: Cache):
    """A loader may read the key from another cache."""
    other = open_cache(world, prefix="other")

    assert await ends(cache.get_or_load("k", reading(other, "k", lambda: Loader("theirs")))) == "theirs"
