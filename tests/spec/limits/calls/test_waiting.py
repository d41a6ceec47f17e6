"""Waiting for units: `acquire` takes as soon as there is room, or returns at once a refusal that outlasts its wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.watched import Setup, ticks
from tests.worlds import StoreWorld
from tollhouse.errors import InvalidInput
from tollhouse.limits.calls.waiting import WAIT_MS_MAX
from tollhouse.limits.decision import Decision
from tollhouse.limits.policy.notation import parse_policy

API = parse_policy("api", "5/30 seconds", deny=("foe",))
CLOSED = parse_policy("closed", "5/minute", on_outage="closed")


@pytest.fixture
def setup(world: StoreWorld) -> Setup:
    return Setup(world, API, CLOSED)


async def test_a_take_that_fits_does_not_wait(setup: Setup) -> None:
    """While there is room, `acquire` is a take."""
    decision = await setup.limits.acquire("api", "ada", 2, wait_ms=0)

    assert (decision.allowed, decision.limits[0].remaining) == (True, 3)
    assert setup.store.sizes == [1]


async def test_a_waiting_caller_takes_as_soon_as_there_is_room(setup: Setup) -> None:
    """P3: the wait is that of the refusal, to the millisecond."""
    await setup.limits.take("api", "ada", 5)
    task = asyncio.create_task(setup.limits.acquire("api", "ada", 3, wait_ms=60_000))
    assert await setup.clock.until_asleep() == 31_875

    await setup.pass_ms(31_874)
    await ticks()
    assert not task.done()
    await setup.pass_ms(1)

    assert (await task).limits[0].remaining == 2
    assert setup.store.sizes == [1, 1, 1]


async def test_a_caller_that_was_overtaken_waits_on(setup: Setup) -> None:
    """If other callers took the units meanwhile, it waits for as long as the next refusal says."""
    await setup.limits.take("api", "ada", 3)
    await setup.pass_ms(10_000)
    await setup.limits.take("api", "ada", 2)
    task = asyncio.create_task(setup.limits.acquire("api", "ada", 3, wait_ms=60_000))
    assert await setup.clock.until_asleep() == 21_875

    await setup.world.advance(21_875)
    await setup.limits.take("api", "ada", 2)
    setup.clock.advance(21_875)
    assert await setup.clock.until_asleep() == 9_375
    await setup.pass_ms(9_375)

    assert (await task).limits[0].remaining == 0


async def test_a_wait_that_is_too_long_is_not_begun(setup: Setup) -> None:
    """A refusal that outlasts the time that the caller would wait is returned at once, with its wait."""
    await setup.limits.take("api", "ada", 5)

    decision = await setup.limits.acquire("api", "ada", wait_ms=31_874)

    assert (decision.allowed, decision.retry_after_ms) == (False, 31_875)


async def test_the_time_already_waited_counts(setup: Setup) -> None:
    """The bound is on the whole wait, however many refusals it takes."""
    await setup.limits.take("api", "ada", 5)
    task = asyncio.create_task(setup.limits.acquire("api", "ada", wait_ms=40_000))
    await setup.clock.until_asleep()
    await setup.world.advance(31_875)
    await setup.limits.take("api", "ada", 5)

    setup.clock.advance(31_875)

    assert not (await task).allowed


@pytest.mark.parametrize(("key", "cost"), [("ada", 6), ("foe", 1)])
async def test_what_no_wait_will_help_is_refused_at_once(setup: Setup, key: str, cost: int) -> None:
    """A cost above the limit, and a key on a deny list, are never waited for."""
    decision = await setup.limits.acquire("api", key, cost, wait_ms=60_000)

    assert (decision.allowed, decision.retry_after_ms) == (False, None)


async def test_waiting_callers_are_decided_in_one_call(setup: Setup) -> None:
    """Callers that wait for one key wake together, and as many pass as there is room for."""
    await setup.limits.take("api", "ada", 5)
    tasks = [asyncio.create_task(setup.limits.acquire("api", "ada", wait_ms=40_000)) for _ in range(8)]
    await setup.clock.until_asleep()
    await ticks()

    await setup.pass_ms(31_875)
    decisions: list[Decision] = await asyncio.gather(*tasks)

    assert [one.allowed for one in decisions] == [True] * 5 + [False] * 3
    assert setup.store.sizes == [1, 8, 8]


async def test_a_cancelled_wait_takes_nothing(setup: Setup) -> None:
    """A caller that is cancelled while it waits is not charged."""
    await setup.limits.take("api", "ada", 5)
    task = asyncio.create_task(setup.limits.acquire("api", "ada", wait_ms=40_000))
    await setup.clock.until_asleep()

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await setup.pass_ms(31_875)

    assert (await setup.limits.peek("api", "ada")).limits[0].remaining == 5


async def test_an_outage_is_waited_for_as_its_refusal_says(setup: Setup) -> None:
    """While the store is down and the policy is closed, the wait is a second at a time."""
    setup.store.fail()
    task = asyncio.create_task(setup.limits.acquire("closed", "ada", wait_ms=5_000))
    assert await setup.clock.until_asleep() == 1_000

    setup.store.heal()
    setup.clock.advance(1_000)

    assert (await task).allowed


@pytest.mark.parametrize("wait_ms", [-1, WAIT_MS_MAX + 1, 1.0, True, "5"])
async def test_a_wait_is_bounded(setup: Setup, wait_ms: Any) -> None:
    """A wait of more than a minute, or one that is no whole number, is refused before anything is sent."""
    with pytest.raises(InvalidInput) as caught:
        await setup.limits.acquire("api", "ada", wait_ms=wait_ms)

    assert (caught.value.field, caught.value.value) == ("wait_ms", wait_ms)
    assert setup.store.calls == []
