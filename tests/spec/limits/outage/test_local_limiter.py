"""Leases while the store does not answer: what the policy's outage rule makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.clocks import Clock
from tests.leases import WINDOW_MS, counted, leases_on, stored, subject
from tests.worlds import World
from tollhouse.errors import StoreUnavailable
from tollhouse.limits.calls.leases import Leases
from tollhouse.limits.outage.local_limiter import LocalLimiter
from tollhouse.scripts import Argument

HEARTBEAT_MS = WINDOW_MS // 3


class FaultyStore:
    """A store that answers only while it is not `down`.

    Scripts in `fails` and `hangs` never run, and those in `mute` run without a reply. `stuck` is set once a call hangs.
    """

    def __init__(self, store: Any) -> None:
        self.down = True
        self.fails: frozenset[str] = frozenset()
        self.hangs: frozenset[str] = frozenset()
        self.mute: frozenset[str] = frozenset()
        self.stuck = asyncio.Event()
        self._store = store

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        if script in self.hangs:
            await self._hang()
        if self.down or script in self.fails:
            raise StoreUnavailable("limits", "not-sent", "as the test says")
        reply = await self._store.run(script, keys, args)
        if script in self.mute:
            await self._hang()
        return reply

    async def _hang(self) -> None:
        self.stuck.set()
        await asyncio.Event().wait()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(world: World) -> FaultyStore:
    return FaultyStore(world.stores.limits)


@pytest.fixture
def leases(world: World, store: FaultyStore, clock: Clock) -> Leases:
    return leases_on(store, world, clock=clock.monotonic_ms, sleep=clock.sleep)


async def test_locally_each_process_gives_out_its_share(world: World, leases: Leases, clock: Clock) -> None:
    """P8: under `local` a process grants its share of the permits by the same rules, and says so."""
    ada = subject(world, units=7, instances=3)

    first, second, third = [await leases.lease(ada) for _ in range(3)]

    assert [lease.decision.allowed for lease in (first, second, third)] == [True, True, False]
    assert all(lease.decision.degraded for lease in (first, second, third))
    assert third.decision.retry_after_ms == WINDOW_MS
    assert (counted(world, "degraded-allowed"), counted(world, "degraded-refused")) == (2, 1)
    assert first.id is not None
    assert second.id is not None
    assert first.id.startswith("local-")
    clock.advance(WINDOW_MS - 1)
    assert await leases.renew(ada, first.id)
    clock.advance(1)
    assert not await leases.renew(ada, second.id)
    assert await leases.release(ada, first.id)
    assert not await leases.release(ada, first.id)
    assert await stored(world, ada) == {}


async def test_a_share_is_at_least_one_permit(world: World, leases: Leases) -> None:
    """A policy with fewer permits than there are processes leaves each of them one."""
    ada = subject(world, units=2, instances=3)

    given = [(await leases.lease(ada)).decision.allowed for _ in range(2)]

    assert given == [True, False]


async def test_open_admits_and_holds_nothing(world: World, leases: Leases) -> None:
    """P8: under `open` every lease is allowed, and there is nothing to renew or release."""
    ada = subject(world, units=1, on_outage="open")

    for _ in range(3):
        async with leases.hold(ada) as lease:
            assert (lease.decision.allowed, lease.decision.degraded, lease.id) == (True, True, None)
            assert (lease.decision.reason, lease.decision.limits) == ("outage", ())


async def test_closed_refuses(world: World, store: FaultyStore, leases: Leases, clock: Clock) -> None:
    """P8: under `closed` every lease is refused; a wait goes on, and succeeds once the store is back."""
    ada = subject(world, units=1, on_outage="closed")
    refused = await leases.lease(ada)
    waiting = asyncio.create_task(leases.lease(ada, wait_ms=10_000))
    await clock.until_asleep()

    store.down = False
    clock.advance(250)
    given = await waiting

    assert (refused.decision.allowed, refused.decision.degraded, refused.id) == (False, True, None)
    assert (refused.decision.reason, refused.decision.retry_after_ms) == ("outage", 1_000)
    assert (given.decision.allowed, given.decision.degraded) == (True, False)


async def test_other_calls_raise_in_an_outage(world: World, leases: Leases) -> None:
    """A renewal, a release and a look cannot be answered without the store: they raise StoreUnavailable."""
    ada = subject(world)

    for call in (leases.peek(ada), leases.renew(ada, "0" * 32), leases.release(ada, "0" * 32)):
        with pytest.raises(StoreUnavailable):
            await call


async def test_a_cancelled_lease_holds_nothing(world: World, store: FaultyStore, leases: Leases) -> None:
    """A caller that is cancelled before the reply comes leaves no permit behind."""
    ada = subject(world, units=1)
    store.down, store.mute = False, frozenset({"limits/lease"})
    waiting = asyncio.create_task(leases.lease(ada))
    await store.stuck.wait()
    assert len(await stored(world, ada)) == 1

    waiting.cancel()
    await asyncio.wait([waiting])
    await leases.aclose()

    assert waiting.cancelled()
    assert await stored(world, ada) == {}


async def test_a_failed_repair_takes_no_permit_away(world: World, store: FaultyStore, leases: Leases) -> None:
    """If leases too far ahead cannot be clamped now, a lease is granted all the same, and the next call clamps them."""
    ada = subject(world, units=3)
    store.down, store.fails = False, frozenset({"limits/clamp_leases"})
    await leases.lease(ada)
    world.step_back(300_000)

    given = await leases.lease(ada)

    assert (given.decision.allowed, given.decision.degraded) == (True, False)
    assert max((await stored(world, ada)).values()) > world.now_ms + 2 * WINDOW_MS
    store.fails = frozenset()
    assert (await leases.lease(ada)).decision.allowed
    assert max((await stored(world, ada)).values()) == world.now_ms + 2 * WINDOW_MS


async def test_a_lease_that_is_cancelled_while_clamping_holds_nothing(
    world: World, store: FaultyStore, leases: Leases
) -> None:
    """A caller that is cancelled while leases are clamped leaves no permit behind."""
    ada = subject(world)
    store.down, store.hangs = False, frozenset({"limits/clamp_leases"})
    await leases.lease(ada)
    world.step_back(300_000)
    waiting = asyncio.create_task(leases.lease(ada))
    await store.stuck.wait()
    assert len(await stored(world, ada)) == 2

    waiting.cancel()
    await asyncio.wait([waiting])
    await leases.aclose()

    assert len(await stored(world, ada)) == 1


async def test_a_hold_that_began_locally_is_renewed_locally(world: World, leases: Leases, clock: Clock) -> None:
    """A permit of this process is renewed by its heartbeat, and released in the end."""
    ada = subject(world, units=3, instances=3)

    async with leases.hold(ada) as lease:
        for _ in range(6):
            await clock.until_asleep()
            clock.advance(HEARTBEAT_MS)
        await clock.until_asleep()
        assert not (await leases.lease(ada)).decision.allowed

    assert not lease.is_lost
    assert (await leases.lease(ada)).decision.allowed


@pytest.mark.parametrize(("on_outage", "lost"), [("closed", True), ("local", False), ("open", False)])
async def test_a_holder_in_an_outage(
    world: World, store: FaultyStore, leases: Leases, clock: Clock, on_outage: str, lost: bool
) -> None:
    """A lease that cannot be renewed for a whole window is lost under `closed`; else the block is left in peace."""
    ada = subject(world, on_outage=on_outage)
    store.down = False

    async with leases.hold(ada) as lease:
        store.down = True
        for _ in range(2):
            await clock.until_asleep()
            clock.advance(HEARTBEAT_MS)
        await clock.until_asleep()
        assert not lease.is_lost
        clock.advance(HEARTBEAT_MS)
        await (lease.lost_event.wait() if lost else clock.until_asleep())

    assert lease.is_lost is lost
    assert counted(world, "lost") == lost


async def test_a_release_that_hangs_is_abandoned(world: World, store: FaultyStore, clock: Clock) -> None:
    """The end of a hold waits for the store for a bounded time; the permit returns when its lease expires."""
    leases = leases_on(store, world, clock=clock.monotonic_ms, sleep=clock.sleep, cleanup_s=0.01)
    ada = subject(world, units=1)
    store.down, store.hangs = False, frozenset({"limits/release"})

    async with leases.hold(ada) as lease:
        pass

    assert list(await stored(world, ada)) == [lease.id]


async def test_local_leases_are_bounded(world: World) -> None:
    """P10: beyond the bound of subjects with local leases, a lease is refused; expired leases make room."""
    clock = Clock()
    local = LocalLimiter(subjects_max=2, clock=clock.monotonic_ms)
    ada, eve = (subject(world, key, units=1, window_ms=1_000) for key in ("ada", "eve"))
    bob = subject(world, "bob", units=1)

    assert local.lease(ada, "a").allowed
    assert local.lease(bob, "b").allowed
    assert local.lease(eve, "e").retry_after_ms == 1_000
    assert local.lease(bob, "e").retry_after_ms == WINDOW_MS
    clock.advance(1_000)
    assert local.lease(eve, "e").allowed
    assert not local.release(ada, "a")
    assert local.release(bob, "b")
    assert local.lease(bob, "c").allowed
