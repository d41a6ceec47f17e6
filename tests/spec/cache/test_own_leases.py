"""Leases that nothing uses any more: a process knows those of its own callers, and no caller waits for their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.caches import FILL, GET_OR_LEASE, RELEASE, GatedLoader, Loader, Seam, Timeline, open_cache
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.own_leases import OwnLeases
from tollhouse.cache.reading.loader import Bounds
from tollhouse.errors import ConfigurationError, StoreUnavailable

HASTY = Bounds(fill_ms=1)


@pytest.fixture
async def seam(world: World) -> Seam:
    return Seam(world.stores.cache)


@pytest.fixture
async def timeline(world: World) -> Timeline:
    return Timeline(world)


@pytest.fixture
async def cache(world: World, seam: Seam, timeline: Timeline) -> AsyncIterator[Cache]:
    """A cache whose releases fail, and that polls for no lease unless its test moves the clock."""
    seam.failing.add(RELEASE)
    cache = open_cache(world, seam, bounds=HASTY, sleep=timeline.sleep)
    yield cache
    await cache.aclose()


async def unanswered() -> None:
    raise StoreUnavailable("cache", "ambiguous", "told to fail after the script ran")


async def granted_without_an_answer(cache: Cache, seam: Seam) -> None:
    """The lease is granted, and the caller is told that the store did not answer."""
    seam.after[GET_OR_LEASE] = unanswered
    assert (await cache.fetch("k", Loader("meanwhile"))).status == "BYPASS"


async def granted_and_cancelled(cache: Cache, seam: Seam) -> None:
    """The lease is granted to a caller that is cancelled before it learns of it."""
    reader: asyncio.Task[Any]

    async def leave() -> None:
        reader.cancel()
        await asyncio.sleep(0)

    seam.after[GET_OR_LEASE] = leave
    reader = asyncio.create_task(cache.fetch("k", Loader("never")))
    await asyncio.wait([reader])


async def cancelled_as_the_load_begins(cache: Cache, seam: Seam) -> None:
    """The last caller leaves in the same moment in which the load would begin."""

    async def leave_soon() -> None:
        asyncio.get_running_loop().call_soon(reader.cancel)

    seam.after[GET_OR_LEASE] = leave_soon
    reader = asyncio.create_task(cache.fetch("k", GatedLoader("never")))
    await asyncio.wait([reader])


async def cancelled_during_the_load(cache: Cache, seam: Seam) -> None:
    """The last caller leaves a load in progress."""
    load = GatedLoader("never")
    reader = asyncio.create_task(cache.fetch("k", load))
    await load.began.wait()
    reader.cancel()
    await asyncio.wait([reader])


async def failed_load(cache: Cache, seam: Seam) -> None:
    """The load raises, and its lease cannot be released."""

    async def fail() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError):
        await cache.fetch("k", fail)


async def failed_fill(cache: Cache, seam: Seam) -> None:
    """The value is loaded, and neither stored nor its lease released."""
    seam.before[FILL] = unanswered
    assert (await cache.fetch("k", Loader("not stored"))).ttl_ms == 0


ENDS = [
    granted_without_an_answer,
    granted_and_cancelled,
    cancelled_as_the_load_begins,
    cancelled_during_the_load,
    failed_load,
    failed_fill,
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_no_later_reader_of_the_process_waits_for_a_lease_that_it_left_behind(
    cache: Cache, seam: Seam, timeline: Timeline, end: Callable[[Cache, Seam], Awaitable[None]]
):
    """P8: the next reader loads at once, though the store still has the lease of a caller that gave up."""
    await end(cache, seam)
    await asyncio.sleep(0)

    found = await asyncio.wait_for(cache.fetch("k", Loader("value")), 5)

    assert (found.value, found.status) == ("value", "MISS")
    assert (await cache.fetch("k", Loader("again"))).status == "HIT"


async def test_a_lease_in_use_is_not_taken_over(cache: Cache, seam: Seam, timeline: Timeline):
    """P7: a caller whose lookup comes between the grant of a lease and its answer waits for that load."""
    seam.failing.clear()
    other: asyncio.Task[Any]

    async def overtake() -> None:
        nonlocal other
        other = asyncio.create_task(cache.fetch("k", Loader("twice")))
        await timeline.until_asleep(1)

    seam.after[GET_OR_LEASE] = overtake
    first = await cache.fetch("k", Loader("once"))

    assert (first.value, first.status) == ("once", "MISS")
    assert (await timeline.drive(other)).value == "once"


async def test_the_lease_of_another_process_is_not_taken_over(world: World, cache: Cache, timeline: Timeline):
    """What another process left behind lasts until it expires, because this one cannot know that."""
    digest = world.keyring.digest("cache", "key\0k")
    await world.command("cache", "SET", f"tollhouse:@lease:{{0}}:cache:{digest}", b"\xff" * 24, "PX", 5_000)
    began_ms = world.now_ms

    found = await timeline.drive(asyncio.create_task(cache.fetch("k", Loader("own"))))

    assert found.status == "MISS"
    assert 4_900 - world.real_elapsed_ms <= world.now_ms - began_ms <= 5_050


async def test_a_caller_with_its_value_does_not_wait_for_a_fill_without_an_answer(cache: Cache, seam: Seam):
    """P8: after fill_ms the caller has its value; the fill goes on, and keeps its lease until it ends."""
    seam.failing.clear()
    answering = asyncio.Event()

    async def hang() -> None:
        await answering.wait()

    seam.before[FILL] = hang
    found = await asyncio.wait_for(cache.fetch("k", Loader("value")), 5)
    answering.set()
    await seam.until(FILL, 1)

    assert (found.value, found.status, found.ttl_ms) == ("value", "MISS", 0)
    assert (await cache.fetch("k", Loader("again"))).value == "value"
    assert seam.calls[RELEASE] == 0


async def test_a_cancelled_caller_does_not_wait_for_the_release_of_its_lease(cache: Cache, seam: Seam):
    """P8: a caller whose time is over during the lookup ends at once; `aclose` waits for the release."""
    seam.failing.clear()
    answering = asyncio.Event()

    async def hang() -> None:
        await answering.wait()

    seam.before[RELEASE] = hang
    await asyncio.wait_for(granted_and_cancelled(cache, seam), 5)
    closing = asyncio.create_task(cache.aclose())
    await asyncio.sleep(0)
    waits = not closing.done()
    answering.set()
    await closing

    assert waits
    assert seam.calls[RELEASE] == 1


async def test_an_error_that_says_that_nothing_was_sent_is_followed_by_no_release(world: World, seam: Seam):
    """A lookup that was not sent was granted no lease, so an outage costs no further call."""
    seam.failing.add(GET_OR_LEASE)
    cache = open_cache(world, seam)

    await cache.fetch("k", Loader("value"))
    await cache.aclose()

    assert seam.calls[RELEASE] == 0


async def test_two_processes_have_different_names_in_their_tokens():
    """A token ends with the name of its process, made at its first use, and its first 16 digits are new each time."""

    async def release(*_: Any) -> None:
        raise AssertionError("nothing is abandoned")

    own, other = OwnLeases(release), OwnLeases(release)
    tokens = [own.new_token(), own.new_token()]

    assert tokens[0][16:] == tokens[1][16:] != other.new_token()[16:]
    assert tokens[0][:16] != tokens[1][:16]
    assert {len(token) for token in tokens} == {24}
    assert not own.is_abandoned(tokens[0])
    own.end(tokens[0])
    assert own.is_abandoned(tokens[0])
    assert not other.is_abandoned(tokens[0])


async def test_a_read_of_a_store_that_was_closed_leaves_nothing_behind(world: World):
    """A lookup that a closed store refuses was not sent, so there is no lease to release."""
    stores = world.open_stores()
    seam = Seam(stores.cache)
    cache = open_cache(world, seam)
    await stores.aclose()

    with pytest.raises(ConfigurationError):
        await cache.fetch("k", Loader("never"))

    await cache.aclose()
    assert seam.calls[RELEASE] == 0
