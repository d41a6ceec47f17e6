"""`cache.keep_warm`: the costliest keys are loaded again before they end, while they are read (S4-62)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.asgi import blamed
from tests.caches import GatedLoader, Loader, Seam, Timeline, open_cache
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.reading.loader import Bounds
from tollhouse.cache.warming.keep import EVERY_MS, FADE_MS, TOP_MAX
from tollhouse.caching.decorators import rcached
from tollhouse.errors import ConfigurationError, InvalidInput

LEASE_EARLY = "cache/lease_early"
TTL_S = 100
DUE_MS = 91_000
"""Later than a tenth of the lifetime before the end."""


@pytest.fixture
def timeline(world: World) -> Timeline:
    return Timeline(world)


@pytest.fixture
def seam(world: World) -> Seam:
    return Seam(world.stores.cache)


@pytest.fixture
def cache(world: World, seam: Seam, timeline: Timeline) -> Cache:
    return open_cache(world, seam, sleep=timeline.sleep)


async def later(timeline: Timeline, ms: int, asleep: int = 1) -> None:
    """Advance the clock, and wait until each refresher has made its round."""
    await timeline.until_asleep(asleep)
    await timeline.advance(ms)
    await asyncio.sleep(0)
    await timeline.until_asleep(asleep)


async def test_a_key_that_is_read_is_loaded_again_before_it_ends(cache: Cache, timeline: Timeline):
    """cache/lease_early: readers never miss; without the block the value would have ended."""
    load = Loader("first", "second")
    async with cache.keep_warm("row") as kept:
        await cache.get_or_load("row:1", load, ttl_s=TTL_S)
        await later(timeline, 60_000)
        assert load.calls == 1

        await later(timeline, DUE_MS - 60_000)

        assert (load.calls, kept.refreshed) == (2, 1)
        await later(timeline, 60_000)
        found = await cache.fetch("row:1", load, ttl_s=TTL_S)
        assert (found.value, found.status) == ("second", "HIT")


@pytest.mark.parametrize(
    "invalidate",
    [
        lambda cache: cache.invalidate("row:1"),
        lambda cache: cache.invalidate_tags("table"),
        lambda cache: cache.clear(),
    ],
)
async def test_a_key_is_loaded_again_after_an_invalidation(
    cache: Cache, timeline: Timeline, world: World, invalidate: Callable[[Cache], Awaitable[Any]]
):
    """Within a second, whichever process invalidated it."""
    load = Loader("first", "second")
    async with cache.keep_warm("row"):
        await cache.get_or_load("row:1", load, ttl_s=TTL_S, tags=["table"])
        await invalidate(open_cache(world))

        await later(timeline, EVERY_MS)

        assert load.calls == 2
        assert await cache.get("row:1") == "second"


async def test_no_load_is_stored_while_an_invalidation_keeps_loads_out(cache: Cache, timeline: Timeline):
    """Under a hold nothing is loaded: it could not be stored."""
    load = Loader("first", "second")
    async with cache.keep_warm("row"):
        await cache.get_or_load("row:1", load, ttl_s=TTL_S)
        await cache.invalidate("row:1", hold_ms=5_000)
        await later(timeline, EVERY_MS)
        assert load.calls == 1

        await later(timeline, 5_000)

        assert load.calls == 2


async def test_a_key_that_is_not_read_any_more_is_left_to_end(cache: Cache, timeline: Timeline, seam: Seam):
    """A dead key is loaded once too often at most; then it is forgotten, with its loader."""
    load = Loader("value")
    async with cache.keep_warm("row"):
        await cache.get_or_load("row:1", load, ttl_s=TTL_S)
        await later(timeline, DUE_MS)
        assert load.calls == 2

        await later(timeline, DUE_MS)
        assert load.calls == 2
        calls = seam.calls[LEASE_EARLY]
        await later(timeline, DUE_MS)

        assert seam.calls[LEASE_EARLY] == calls
        assert await cache.get("row:1") is None


async def test_over_processes_one_of_them_loads(cache: Cache, timeline: Timeline, world: World):
    """P7: while one has the lease the others leave it alone, and afterwards the value is fresh."""
    other = open_cache(world, sleep=timeline.sleep)
    loads = GatedLoader("value")
    loads.gate.set()
    async with cache.keep_warm("row"), other.keep_warm("row"):
        for one in (cache, other):
            await one.get_or_load("row:1", loads, ttl_s=TTL_S)
        await other.invalidate("row:1")
        for one in (other, cache):
            await one.get_or_load("row:1", loads, ttl_s=TTL_S)
        assert loads.calls == 2

        loads.gate.clear()
        loads.began.clear()
        await timeline.until_asleep(2)
        await timeline.advance(DUE_MS)
        await loads.began.wait()
        loads.gate.set()
        await timeline.until_asleep(2)
        await later(timeline, EVERY_MS, 2)

        assert loads.calls == 3


async def test_the_costliest_keys_are_kept_and_no_others(cache: Cache, timeline: Timeline, world: World):
    """S2-30: of a family the `top` keys by misses times load time; other families are not looked at."""

    def taking(ms: int) -> Callable[[], Awaitable[str]]:
        async def load() -> str:
            loads.append(ms)
            await world.advance(ms)
            return "value"

        return load

    loads: list[int] = []
    async with cache.keep_warm("row", top=1):
        for key, ms in (("row:cheap", 10), ("row:costly", 40), ("other:1", 400)):
            await cache.get_or_load(key, taking(ms), ttl_s=TTL_S)
        loads.clear()

        await later(timeline, DUE_MS)

        assert loads == [40]


async def test_a_cached_function_is_kept_warm_by_its_name(cache: Cache, timeline: Timeline):
    """The function is called again with the arguments of the read."""
    calls: list[int] = []

    @rcached(ttl=TTL_S, cache=cache)
    async def squared(number: int) -> int:
        calls.append(number)
        return number * number

    async with cache.keep_warm("squared"):
        await squared(7)
        await later(timeline, DUE_MS)

    assert calls == [7, 7]


async def test_keys_of_many_are_loaded_by_their_function(cache: Cache, timeline: Timeline):
    """`get_many` gives each key a loader that loads it alone."""
    calls: list[list[str]] = []

    async def load_many(keys: list[str]) -> dict[str, str]:
        calls.append(sorted(keys))
        return dict.fromkeys(keys, "value")

    async with cache.keep_warm("row"):
        await cache.get_many(["row:1", "row:2"], load_many, ttl_s=TTL_S)
        await later(timeline, DUE_MS)

    assert sorted(key for call in calls for key in call) == ["row:1", "row:1", "row:2", "row:2"]


async def test_a_key_whose_load_fails_is_forgotten(cache: Cache, timeline: Timeline, caplog: pytest.LogCaptureFixture):
    """Its next miss brings it back with another loader; the log has the family and the kind of error, no key."""

    async def load() -> str:
        if timeline.asleep:
            return "value"
        raise ConnectionError("secret")

    async with cache.keep_warm("row") as kept:
        await timeline.until_asleep(1)
        await cache.get_or_load("row:secret", load, ttl_s=TTL_S)
        with caplog.at_level(logging.WARNING, "tollhouse.cache"):
            await later(timeline, DUE_MS)
            await later(timeline, EVERY_MS)

    assert kept.refreshed == 0
    assert [record.getMessage() for record in caplog.records] == [
        'cached value not kept warm family="row" reason="ConnectionError"'
    ]


async def test_nothing_is_loaded_while_the_store_is_down(cache: Cache, timeline: Timeline, seam: Seam):
    """What could not be stored is not loaded, and the key is not forgotten."""
    load = Loader("value")
    async with cache.keep_warm("row"):
        await cache.get_or_load("row:1", load, ttl_s=TTL_S)
        for broken in ("everything", LEASE_EARLY):
            seam.failing = {broken}
            await later(timeline, DUE_MS - 80_000)
            assert load.calls == 1
        seam.failing.clear()

        await later(timeline, DUE_MS - 22_000)

        assert load.calls == 2


async def test_loads_take_no_more_than_their_share_of_the_time(world: World):
    """After a round of 3 s with a quarter for loads, the next one begins after 9 s; and never before a second."""
    slept: list[float] = []
    asleep, awake = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds < 1:  # until a lease has to be renewed
            await asyncio.Event().wait()
        slept.append(seconds)
        asleep.set()
        await awake.wait()
        awake.clear()

    async def load() -> str:
        await world.advance(1_500)
        return "value"

    cache = open_cache(world, sleep=sleep, bounds=Bounds(lease_ms=2_700))
    async with cache.keep_warm("row", share=0.25, at_once=1):
        await asleep.wait()
        for key in ("row:1", "row:2"):
            await cache.get_or_load(key, load, ttl_s=TTL_S)
        await world.advance(DUE_MS)
        asleep.clear()
        awake.set()
        await asleep.wait()

    assert slept == [1, 9]


async def test_the_past_of_a_block_fades(cache: Cache, timeline: Timeline):
    """Every ten minutes the counters are halved, and the block goes on."""
    load = Loader("value")
    async with cache.keep_warm("row"):
        await cache.get_or_load("row:1", load, ttl_s=2_000)
        await later(timeline, FADE_MS)
        await later(timeline, 1_250_000)

        assert load.calls == 2


async def test_a_block_ends_with_its_task(cache: Cache, timeline: Timeline):
    """After the block, and after `cache.aclose()`, nothing is loaded, and another block may begin."""
    load = Loader("value")
    async with cache.keep_warm("row"):
        await cache.get_or_load("row:1", load, ttl_s=TTL_S)
        await timeline.until_asleep(1)
    assert timeline.asleep == 0

    kept = cache.keep_warm("row")
    async with kept:
        await timeline.until_asleep(1)
        await cache.aclose()
        assert timeline.asleep == 0
    with pytest.raises(ConfigurationError):
        await kept.__aenter__()


async def test_a_load_in_progress_ends_with_the_block(cache: Cache, timeline: Timeline):
    """The loader is cancelled, and its lease is free."""
    load = GatedLoader("value")
    load.gate.set()
    async with cache.keep_warm("row"):
        await cache.get_or_load("row:1", load, ttl_s=TTL_S)
        load.gate.clear()
        load.began.clear()
        await timeline.until_asleep(1)
        await timeline.advance(DUE_MS)
        await load.began.wait()
    await cache.aclose()

    assert load.cancelled == 1


async def test_a_family_has_one_block_at_a_time(cache: Cache):
    """Two would count each other's loads."""
    async with cache.keep_warm("row"):
        with pytest.raises(ConfigurationError):
            await cache.keep_warm("other", "row").__aenter__()
        async with cache.keep_warm("other"):
            pass


@pytest.mark.parametrize(
    ("field", "families", "given"),
    [
        ("families", (), {}),
        ("families", ("",), {}),
        ("top", ("row",), {"top": 0}),
        ("top", ("row",), {"top": TOP_MAX + 1}),
        ("share", ("row",), {"share": 0}),
        ("share", ("row",), {"share": 1.5}),
        ("at_once", ("row",), {"at_once": 0}),
    ],
)
async def test_a_wrong_argument_is_named(cache: Cache, field: str, families: tuple[str, ...], given: dict[str, Any]):
    """InvalidInput names it before anything begins."""
    with pytest.raises(InvalidInput) as refused:
        cache.keep_warm(*families, **given)

    assert blamed(refused.value) == field
