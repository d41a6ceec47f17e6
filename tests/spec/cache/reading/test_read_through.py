"""P7: identical cold requests over any number of processes load once; a dead process costs a bounded wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.caches import FILL, GET_OR_LEASE, RENEW, TAKE_LEASE, GatedLoader, Loader, Seam, Timeline, open_cache, reads
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.reading.loader import Bounds
from tollhouse.errors import LoadFailed, StoreRefused


class Processes:
    """Two caches, as two processes have them, on one timeline."""

    def __init__(self, world: World, other_store: Any) -> None:
        self.timeline = Timeline(world)
        self.seams = Seam(world.stores.cache), Seam(other_store)
        self.caches = tuple(self.open(world, seam) for seam in self.seams)

    def open(self, world: World, seam: Seam, **options: Any) -> Cache:
        return open_cache(world, seam, sleep=self.timeline.sleep, **options)


@pytest.fixture
async def processes(world: World) -> AsyncIterator[Processes]:
    other = world.open_stores()
    processes = Processes(world, other.cache)
    yield processes
    for cache in processes.caches:
        await cache.aclose()


def start(cache: Cache, load: Loader, times: int = 1, **options: Any) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(cache.fetch("k", load, **options)) for _ in range(times)]


async def test_fifty_cold_requests_over_two_processes_load_once(processes: Processes):
    """P7: one load, one MISS; every other caller is COALESCED and has the value."""
    load = GatedLoader({"answer": 42})
    tasks = start(processes.caches[0], load, 25) + start(processes.caches[1], load, 25)
    await load.began.wait()
    await processes.seams[0].until(GET_OR_LEASE, 1)
    await processes.seams[1].until(GET_OR_LEASE, 1)

    load.gate.set()
    found = await processes.timeline.drive(asyncio.gather(*tasks))

    assert load.calls == 1
    assert [each.value for each in found] == [{"answer": 42}] * 50
    assert sorted(each.status for each in found) == ["COALESCED"] * 49 + ["MISS"]


async def test_callers_of_one_process_share_a_load_without_a_call(world: World, processes: Processes):
    """A caller that arrives during a load of this process waits for it; only the first one called the store."""
    load = GatedLoader("value")
    first = start(processes.caches[0], load)
    await load.began.wait()

    later = start(processes.caches[0], load, 10)
    await processes.timeline.until_asleep(1)
    load.gate.set()
    found = await asyncio.gather(*first, *later)

    assert processes.seams[0].calls[GET_OR_LEASE] == 1
    assert [each.status for each in found] == ["MISS"] + ["COALESCED"] * 10
    assert reads(world.metrics, "cache", "coalesced") == 10


async def test_one_caller_of_a_process_polls_for_all(processes: Processes):
    """While another process loads, only one of any number of waiters here polls the store."""
    load = GatedLoader("theirs")
    theirs = start(processes.caches[0], load)
    await load.began.wait()
    own = start(processes.caches[1], Loader("own"))
    await processes.timeline.until_asleep(2)

    own += start(processes.caches[1], Loader("own"), 20)
    await processes.timeline.advance(25)
    await processes.seams[1].until(GET_OR_LEASE, 2)
    await processes.timeline.until_asleep(2)
    own += start(processes.caches[1], Loader("own"), 20)
    await processes.timeline.advance(37)
    await processes.seams[1].until(GET_OR_LEASE, 3)
    load.gate.set()
    found = await processes.timeline.drive(asyncio.gather(*own))
    await asyncio.gather(*theirs)

    assert {(each.value, each.status) for each in found} == {("theirs", "COALESCED")}
    assert processes.seams[1].calls[GET_OR_LEASE] < 10


async def test_a_lease_is_renewed_during_the_load(world: World, processes: Processes):
    """A load longer than a lease keeps the lease: no other caller loads meanwhile."""
    load = GatedLoader("slow")
    theirs = start(processes.caches[0], load)
    await load.began.wait()
    for beat in range(6):
        await processes.timeline.until_asleep(1)
        await processes.timeline.advance(1_700)
        await processes.seams[0].until(RENEW, beat + 1)

    own = start(processes.caches[1], Loader("own"))
    await processes.timeline.until_asleep(2)
    load.gate.set()
    found = await processes.timeline.drive(asyncio.gather(*own, *theirs))

    assert [(each.value, each.status) for each in found] == [("slow", "COALESCED"), ("slow", "MISS")]


async def test_a_holder_that_died_costs_its_waiters_the_rest_of_its_lease(world: World, processes: Processes):
    """P7: when the lease is not renewed, the next reader gets it within five seconds."""
    await world.stores.cache.run(GET_OR_LEASE, _names(world), ("", "d" * 24, 5_000, "", 0))
    began_ms = world.now_ms

    (task,) = start(processes.caches[1], Loader("own"))
    found = await processes.timeline.drive(task)

    assert (found.value, found.status) == ("own", "MISS")
    assert world.now_ms - began_ms <= 5_050


def _names(world: World) -> tuple[str, str, str]:
    digest = world.keyring.digest("cache", "key\0k")
    return (f"tollhouse:cache:{{0}}:{digest}", f"tollhouse:@lease:{{0}}:cache:{digest}", "tollhouse:@clock:{0}")


async def test_pauses_between_polls_grow(world: World, processes: Processes):
    """A waiter polls after 25 ms, then after half as long again, up to half a second or the end of the lease."""
    pauses_ms: list[int] = []

    async def sleep(seconds: float) -> None:
        pauses_ms.append(round(seconds * 1000))
        await world.advance(pauses_ms[-1])

    await world.stores.cache.run(GET_OR_LEASE, _names(world), ("", "d" * 24, 5_000, "", 0))
    cache = open_cache(world, processes.seams[1], sleep=sleep)

    await cache.fetch("k", Loader("own"))

    assert pauses_ms[:10] == [25, 37, 55, 82, 123, 184, 276, 414, 500, 500]
    assert max(pauses_ms[:-1]) == 500


async def test_a_load_that_takes_too_long_loses_its_lease(world: World, processes: Processes):
    """After load_ms the lease is no longer renewed; another process loads, and the late fill is refused."""
    bounds = Bounds(load_ms=3_400, lease_ms=5_100)
    cache = processes.open(world, processes.seams[0], bounds=bounds)
    load = GatedLoader("late")
    (late,) = start(cache, load)
    await load.began.wait()
    for beat in range(2):
        await processes.timeline.until_asleep(1)
        await processes.timeline.advance(1_700)
        await processes.seams[0].until(RENEW, beat + 1)
    for _ in range(3):
        await processes.timeline.advance(1_700)
    renewals, sleepers = processes.seams[0].calls[RENEW], processes.timeline.asleep

    (own,) = start(processes.caches[1], Loader("own"))
    found = await processes.timeline.drive(own)
    load.gate.set()

    assert (renewals, sleepers) == (2, 0)
    assert (found.value, found.status) == ("own", "MISS")
    assert (await late).ttl_ms == 0
    assert (await processes.caches[1].fetch("k", load)).value == "own"


async def test_renewing_ends_when_the_lease_is_lost(processes: Processes):
    """A lease that was invalidated is no longer renewed."""
    load = GatedLoader("old")
    (task,) = start(processes.caches[0], load)
    await load.began.wait()
    await processes.caches[1].invalidate("k")

    for _ in range(3):
        await processes.timeline.advance(1_700)
        await processes.seams[0].until(RENEW, 1)
    load.gate.set()

    assert (await task).ttl_ms == 0
    assert processes.seams[0].calls[RENEW] == 1


async def test_a_renewal_that_fails_is_tried_again(processes: Processes):
    """A short outage of the store does not cost the lease."""
    load = GatedLoader("value")
    (task,) = start(processes.caches[0], load)
    await load.began.wait()
    await processes.timeline.until_asleep(1)
    processes.seams[0].failing.add(RENEW)
    await processes.timeline.advance(1_700)
    await processes.timeline.until_asleep(1)
    processes.seams[0].failing.clear()

    await processes.timeline.advance(1_700)
    await processes.seams[0].until(RENEW, 1)
    load.gate.set()

    assert (await task).ttl_ms > 0


async def test_a_waiter_gives_up_after_its_bound_and_bypasses_the_cache(world: World, processes: Processes):
    """After wait_ms of waiting for another process a process loads itself, once for all its callers."""
    load = GatedLoader("theirs")
    theirs = start(processes.caches[0], load)
    await load.began.wait()
    cache = processes.open(world, processes.seams[1], bounds=Bounds(wait_ms=1_000))
    impatient = Loader("own")

    tasks = start(cache, impatient, 3)
    found = await processes.timeline.drive(asyncio.gather(*tasks))
    load.gate.set()
    await processes.timeline.drive(asyncio.gather(*theirs))

    assert {(each.value, each.status) for each in found} == {("own", "BYPASS")}
    assert impatient.calls == 1


async def test_no_caller_waits_for_ever_for_loads_that_are_invalidated_again_and_again(
    world: World, processes: Processes
):
    """After wait_ms of joining loads whose values were refused, a caller loads for itself."""
    seam = processes.seams[0]
    cache = processes.open(world, seam, bounds=Bounds(wait_ms=1_000))
    load = GatedLoader("old")
    (first,) = start(cache, load)
    await load.began.wait()
    (second,) = start(cache, Loader("own"))
    await processes.timeline.until_asleep(1)

    async def invalidated_late() -> None:
        await world.advance(1_000)
        await processes.caches[1].invalidate("k")

    seam.before[FILL] = invalidated_late
    load.gate.set()

    assert ((await first).value, (await second).value) == ("old", "own")
    assert (await second).status == "BYPASS"


async def test_waiters_get_the_error_of_the_load(processes: Processes):
    """When the loader fails, all callers that joined get the error; other processes load for themselves."""
    gate, began = asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        began.set()
        await gate.wait()
        raise LoadFailed("no answer")

    theirs = [asyncio.create_task(processes.caches[0].fetch("k", fail)) for _ in range(3)]
    await began.wait()
    (own,) = start(processes.caches[1], Loader("own"))
    await processes.timeline.until_asleep(2)

    gate.set()
    results = await asyncio.gather(*theirs, return_exceptions=True)
    found = await processes.timeline.drive(own)

    assert [str(error) for error in results] == ["no answer"] * 3
    assert (found.value, found.status) == ("own", "MISS")


async def test_a_caller_that_leaves_does_not_end_the_load(processes: Processes):
    """The first caller is cancelled; the load goes on for the second."""
    load = GatedLoader("value")
    (first,) = start(processes.caches[0], load)
    await load.began.wait()
    (second,) = start(processes.caches[0], Loader("own"))
    await processes.timeline.until_asleep(1)

    first.cancel()
    await asyncio.wait([first])
    load.gate.set()

    assert ((await second).value, (await second).status) == ("value", "COALESCED")
    assert load.cancelled == 0


async def test_the_last_caller_to_leave_ends_the_load_and_its_lease(processes: Processes):
    """A load without any caller left is cancelled, and the next reader can load at once."""
    load = GatedLoader("never")
    (only,) = start(processes.caches[0], load)
    await load.began.wait()

    only.cancel()
    await asyncio.wait([only])
    await processes.seams[0].until("cache/release", 1)

    assert load.cancelled == 1
    assert (await processes.caches[1].fetch("k", Loader("own"))).status == "MISS"


@pytest.mark.parametrize("by_tag", [False, True])
async def test_a_caller_after_an_invalidation_does_not_share_an_earlier_load(processes: Processes, by_tag: bool):
    """P6: a caller that joins a load after its key or tag was invalidated elsewhere gets a value loaded afterwards."""
    own, other = processes.caches
    load = GatedLoader("old")
    (before,) = start(own, load, tags=["t"])
    await load.began.wait()
    await (other.invalidate_tags("t") if by_tag else other.invalidate("k"))

    (after,) = start(own, Loader("new"), tags=["t"])
    await processes.timeline.until_asleep(1)
    load.gate.set()

    assert ((await before).value, (await after).value) == ("old", "new")


async def test_a_load_cannot_be_joined_after_its_fill_was_sent(processes: Processes):
    """P6: a caller that arrives after the fill was sent calls the store itself: the value may be invalid by then."""
    own, other = processes.caches
    seam = processes.seams[0]
    late: list[asyncio.Task[Any]] = []

    async def invalidate_and_come_late() -> None:
        await other.invalidate("k")
        late.extend(start(own, Loader("new")))
        await seam.until(GET_OR_LEASE, 2)

    seam.after[FILL] = invalidate_and_come_late
    first = await own.fetch("k", Loader("old"))

    assert first.value == "old"
    assert (await late[0]).value == "new"


async def test_a_poll_cannot_be_joined_after_it_was_sent(processes: Processes):
    """P6: a caller that arrives during a waiter's lookup calls the store itself."""
    own, other = processes.caches
    seam = processes.seams[0]
    load = GatedLoader("old")
    theirs = start(other, load)
    await load.began.wait()
    (waiting,) = start(own, Loader("own"))
    await processes.timeline.until_asleep(2)
    load.gate.set()
    await asyncio.gather(*theirs)
    late: list[asyncio.Task[Any]] = []

    async def invalidate_and_come_late() -> None:
        await other.invalidate("k")
        late.extend(start(own, Loader("new")))
        await seam.until(GET_OR_LEASE, 2)

    seam.after[GET_OR_LEASE] = invalidate_and_come_late
    await processes.timeline.advance(25)

    assert ((await waiting).value, (await late[0]).value) == ("old", "new")


async def test_a_large_value_is_shared_though_it_is_not_stored(world: World, processes: Processes):
    """S0-20: callers of one process share a load whose value is too large to store."""
    cache = processes.open(world, processes.seams[0], bounds=Bounds(entry_bytes=1_000))
    load = GatedLoader(list(range(1_000)))
    tasks = start(cache, load, 5)
    await load.began.wait()
    await processes.seams[0].until_quiet()
    load.gate.set()

    found = await asyncio.gather(*tasks)

    assert load.calls == 1
    assert sorted(each.status for each in found) == ["COALESCED"] * 4 + ["MISS"]


async def test_closing_ends_the_loads_in_progress(processes: Processes):
    """After aclose no load runs, and its lease is free."""
    load = GatedLoader("never")
    (task,) = start(processes.caches[0], load)
    await load.began.wait()

    await processes.caches[0].aclose()
    await asyncio.wait([task])

    assert task.cancelled()
    assert load.cancelled == 1
    assert (await processes.caches[1].fetch("k", Loader("own"))).status == "MISS"


class Session:
    """The resource of one caller: a load that uses it fails once its caller has left."""

    def __init__(self, value: str) -> None:
        self.value = value
        self.began = asyncio.Event()
        self.gate = asyncio.Event()
        self.is_open = True
        self.loads = 0

    async def read(self, cache: Cache) -> Any:
        """Read through the cache with this session, which ends with the caller."""
        try:
            return (await cache.fetch("k", self.load)).value
        finally:
            self.is_open = False

    async def load(self) -> str:
        self.loads += 1
        self.began.set()
        await self.gate.wait()
        if not self.is_open:
            raise ConnectionError("the session is closed")
        return self.value


@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
async def test_a_load_that_fails_because_its_caller_left_is_done_by_another(processes: Processes, down: bool):
    """The others do not get the error: one of them loads with its own loader, and all have that value."""
    cache = processes.caches[0]
    if down:
        processes.seams[0].failing.add("everything")
    first, *rest = [Session(str(number)) for number in range(4)]
    leaver = asyncio.create_task(first.read(cache))
    await first.began.wait()
    others = [asyncio.create_task(session.read(cache)) for session in rest]
    for _ in range(5):
        await asyncio.sleep(0)
    for session in rest:
        session.gate.set()

    leaver.cancel()
    await asyncio.wait([leaver])
    first.gate.set()
    values = await asyncio.gather(*others)

    assert len(set(values)) == 1
    assert sum(session.loads for session in rest) == 1


async def test_a_load_that_another_caller_repeats_ends_with_its_error(processes: Processes):
    """If that fails as well, while its caller is there, the error is that of all."""
    cache = processes.caches[0]
    sessions = [Session(str(number)) for number in range(4)]
    leaver = asyncio.create_task(sessions[0].read(cache))
    await sessions[0].began.wait()
    others = [asyncio.create_task(session.read(cache)) for session in sessions[1:]]
    for _ in range(5):
        await asyncio.sleep(0)
    for session in sessions:
        session.is_open = False

    leaver.cancel()
    await asyncio.wait([leaver])
    for session in sessions:
        session.gate.set()
    errors = await asyncio.gather(*others, return_exceptions=True)

    assert [type(error) for error in errors] == [ConnectionError] * 3
    assert sum(session.loads for session in sessions[1:]) == 1


async def test_a_fresh_read_loads_though_a_value_is_stored(processes: Processes):
    """With `fresh` the value is loaded and stored; until then others find the one before."""
    own, other = processes.caches
    await own.get_or_load("k", Loader("old"))
    load = GatedLoader("new")
    (fresh,) = start(own, load, fresh=True)
    await load.began.wait()

    meanwhile = [(await cache.fetch("k", Loader("never"))).value for cache in (own, other)]
    load.gate.set()

    assert ((await fresh).value, (await fresh).status) == ("new", "MISS")
    assert meanwhile == ["old", "old"]
    assert (await other.fetch("k", Loader("never"))).value == "new"


async def test_a_fresh_read_does_not_join_a_load_that_began_before(processes: Processes):
    """It loads itself, and callers of the earlier load get its value, or load after it."""
    own, other = processes.caches
    before, anew = GatedLoader("before"), GatedLoader("anew")
    (first,) = start(own, before)
    await before.began.wait()
    (joined,) = start(own, Loader("never"))
    (theirs,) = start(other, Loader("never"))
    await processes.timeline.until_asleep(2)

    (fresh,) = start(own, anew, fresh=True)
    await anew.began.wait()
    before.gate.set()
    earlier = await first
    anew.gate.set()
    found = await processes.timeline.drive(asyncio.gather(fresh, joined, theirs))

    assert (earlier.value, earlier.ttl_ms) == ("before", 0)
    assert [each.value for each in found] == ["anew"] * 3


async def test_a_fresh_load_that_fails_leaves_what_is_stored(processes: Processes):
    """The error passes through, and the value before is found."""
    cache = processes.caches[0]
    await cache.get_or_load("k", Loader("old"))

    async def fail() -> None:
        raise KeyError("row")

    with pytest.raises(KeyError):
        await cache.get_or_load("k", fail, fresh=True)

    assert (await cache.fetch("k", Loader("never"))).value == "old"


async def test_a_fresh_read_loads_while_the_store_is_down(processes: Processes):
    """P8: without a store the value is loaded for this caller alone."""
    processes.seams[0].failing.add("everything")

    found = await processes.caches[0].fetch("k", Loader("new"), fresh=True)

    assert (found.value, found.status) == ("new", "BYPASS")


async def test_a_fresh_read_tells_of_a_store_that_refuses_until_the_setup_is_changed(processes: Processes):
    """P8: a mistake is no outage for a fresh read either."""

    async def refuse() -> None:
        raise StoreRefused("cache", "rejected", "wrong password", "give the right one")

    processes.seams[0].before[TAKE_LEASE] = refuse
    load = Loader("new")

    with pytest.raises(StoreRefused):
        await processes.caches[0].get_or_load("k", load, fresh=True)

    assert load.calls == 0
