"""Waiting for permits and holding them: how long a wait lasts, what keeps a lease alive, and what ends it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.clocks import Clock
from tests.leases import WINDOW_MS, counted, leases_on, stored, subject
from tests.worlds import StoreWorld, World
from tollhouse.limits.calls.leases import Leases, pause_ms
from tollhouse.limits.decision import Lease
from tollhouse.limits.wire.request import TakeRequest

HEARTBEAT_MS = WINDOW_MS // 3


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def leases(world: World, clock: Clock) -> Leases:
    return leases_on(world.stores.limits, world, clock=clock.monotonic_ms, sleep=clock.sleep, uniform=lambda: 0.5)


#   attempt, chance, pause
PAUSES = [
    (1, 0.0, 20),
    (1, 1.0, 40),
    (2, 1.0, 80),
    (3, 1.0, 160),
    (4, 1.0, 250),
    (100, 1.0, 250),
    (100, 0.0, 20),
    (100, 0.5, 135),
]


@pytest.mark.parametrize(("attempt", "chance", "expected"), PAUSES)
def test_pauses_grow_to_a_quarter_of_a_second(attempt: int, chance: float, expected: float) -> None:
    """A waiting caller polls with a jittered back-off: after 20 to 250 ms, and less often with time."""
    assert pause_ms(attempt, chance) == expected


async def test_a_released_permit_goes_to_a_waiting_caller(world: World, leases: Leases, clock: Clock) -> None:
    """A lease with a wait is granted at its next attempt after a release."""
    ada = subject(world, units=1)
    held = await leases.lease(ada)
    waiting = asyncio.create_task(leases.lease(ada, wait_ms=10_000))
    assert await clock.until_asleep() == 30

    await leases.release(ada, held.id or "")
    clock.advance(30)
    given = await waiting

    assert given.decision.allowed
    assert (counted(world, "allowed"), counted(world, "refused")) == (2, 0)


@pytest.mark.parametrize("wait_ms", [0, 1, 99, 1_000])
async def test_a_wait_ends_with_its_time(world: World, wait_ms: int) -> None:
    """If no permit becomes free, the last attempt is made when the wait is over, and it is the answer."""
    clock = Clock()
    leases = leases_on(world.stores.limits, world, clock=clock.monotonic_ms, sleep=clock.skip)
    ada = subject(world, units=1)
    await leases.lease(ada)

    refused = await leases.lease(ada, wait_ms=wait_ms)

    assert not refused.decision.allowed
    assert clock.now_ms == wait_ms
    assert counted(world, "refused") == 1


async def test_a_wait_is_no_longer_than_the_lease_in_the_way(world: World, leases: Leases, clock: Clock) -> None:
    """If a permit will be free before the next pause ends, the next attempt is made at that moment."""
    ada = subject(world, units=1)
    await leases.lease(ada)
    await world.command("limits", "PEXPIRE", ada.state_key, 2 * WINDOW_MS)
    await world.advance(WINDOW_MS - 7)
    waiting = asyncio.create_task(leases.lease(ada, wait_ms=10_000))
    assert await clock.until_asleep() == 7

    await world.advance(7)
    clock.advance(7)

    assert (await waiting).decision.allowed


async def test_a_hold_lasts_as_long_as_its_block(world: World, leases: Leases, clock: Clock) -> None:
    """A hold renews its lease three times per window, and releases the permit when the block ends."""
    ada = subject(world, units=1)

    async with leases.hold(ada) as lease:
        for _ in range(7):
            assert await clock.until_asleep() == HEARTBEAT_MS
            await world.advance(HEARTBEAT_MS)
            clock.advance(HEARTBEAT_MS)
        await clock.until_asleep()
        assert (await leases.lease(ada)).decision.retry_after_ms == WINDOW_MS

    assert not lease.is_lost
    assert await stored(world, ada) == {}


async def test_a_hold_outlives_a_lowered_window(world: World, leases: Leases, clock: Clock) -> None:
    """A holder renews at least once a minute: leases of a window that was lowered end a minute after the new one."""
    hour, minute = subject(world, units=1, window_ms=3_600_000), subject(world, units=1)

    async with leases.hold(hour) as lease:
        for _ in range(5):
            refused = await leases.lease(minute)
            assert (await clock.until_asleep(), refused.decision.allowed) == (60_000, False)
            await world.advance(60_000)
            clock.advance(60_000)
        await clock.until_asleep()

    assert not lease.is_lost


async def test_a_block_that_raises_releases_its_permit(world: World, leases: Leases) -> None:
    """An exception of the block propagates, and its permit is free."""
    ada = subject(world, units=1)

    with pytest.raises(ZeroDivisionError):
        async with leases.hold(ada):
            raise ZeroDivisionError

    assert (await leases.lease(ada)).decision.allowed


async def held_for_ever(leases: Leases, of: TakeRequest, entered: asyncio.Event) -> None:
    async with leases.hold(of):
        entered.set()
        await asyncio.Event().wait()


async def test_a_cancelled_block_releases_its_permit(world: World, leases: Leases) -> None:
    """A holder that is cancelled, even a second time during the release, keeps no permit."""
    ada, entered = subject(world, units=2), asyncio.Event()
    once = asyncio.create_task(held_for_ever(leases, ada, entered))
    await entered.wait()
    entered.clear()
    twice = asyncio.create_task(held_for_ever(leases, ada, entered))
    await entered.wait()

    once.cancel()
    twice.cancel()
    await asyncio.sleep(0)
    twice.cancel()
    await asyncio.wait([once, twice])
    await leases.aclose()

    assert once.cancelled()
    assert twice.cancelled()
    assert await stored(world, ada) == {}


async def test_a_lost_lease_is_reported(
    world: World, leases: Leases, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """If a renewal finds the lease expired, the holder learns of the loss, once, and the block goes on."""
    ada = subject(world, units=1)

    async with leases.hold(ada) as lease:
        await clock.until_asleep()
        await world.command("limits", "DEL", ada.state_key)
        other = await leases.lease(ada)
        clock.advance(HEARTBEAT_MS)
        await lease.lost_event.wait()

    assert lease.is_lost
    assert list(await stored(world, ada)) == [other.id]
    assert counted(world, "lost") == 1
    lost = [record for record in caplog.records if vars(record)["event"] == "lease lost"]
    assert [(record.levelno, vars(record)["policy"]) for record in lost] == [(logging.WARNING, "jobs")]
    assert "ada" not in caplog.text


async def test_a_refused_hold_runs_its_block(world: World, leases: Leases) -> None:
    """A refused hold runs its block with the refusal as its decision, and holds and releases nothing."""
    ada = subject(world, units=1)
    await leases.lease(ada)
    before = await stored(world, ada)

    async with leases.hold(ada) as lease:
        assert (lease.decision.allowed, lease.id, lease.is_lost) == (False, None, False)

    assert await stored(world, ada) == before


async def test_many_at_once_hold_no_more_than_there_are(embedded: StoreWorld) -> None:
    """P1: of fifty tasks on the real server that compete for seven permits, never more than seven hold one."""
    leases = leases_on(embedded.stores.limits, embedded)
    ada, inside, most = subject(embedded, units=7), 0, 0
    answers: list[Lease] = []

    async def work() -> None:
        nonlocal inside, most
        async with leases.hold(ada, wait_ms=20_000) as lease:
            answers.append(lease)
            inside += 1
            most = max(most, inside)
            await leases.peek(ada)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(50)))

    assert most <= 7
    assert [lease.decision.allowed for lease in answers] == [True] * 50
    assert await stored(embedded, ada) == {}
