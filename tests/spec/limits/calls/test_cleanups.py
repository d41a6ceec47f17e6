"""Callers that are cancelled: none of them takes, holds or reserves anything, whenever the cancellation comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.watched import Setup, ticks
from tests.worlds import StoreWorld
from tollhouse.limits.policy.notation import parse_policy

API = parse_policy("api", "5/30 seconds")
NEXT = parse_policy("next", "5/30 seconds", shadow_of="api")
JOBS = parse_policy("jobs", "1/30 seconds", "concurrency")


@pytest.fixture
def setup(world: StoreWorld) -> Setup:
    return Setup(world, API, NEXT, JOBS)


async def cancel(task: asyncio.Task[object]) -> None:
    """Cancel a task twice, as a caller that is in a hurry does."""
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


CALLS: dict[str, Callable[[Setup], Awaitable[object]]] = {
    "acquire": lambda setup: setup.limits.acquire("api", "ada", 5, wait_ms=60_000),
    "acquire at once": lambda setup: setup.limits.acquire("api", "ada", 5, wait_ms=0),
    "reserve": lambda setup: setup.limits.reserve("api", "ada", 5, 86_400_000),
    "lease": lambda setup: setup.limits.lease("jobs", "ada", 60_000),
}


async def remaining(setup: Setup) -> list[int]:
    """Return what is left of the counting policy, its shadow, and the permits."""
    peeks = [await setup.limits.peek(policy, "ada") for policy in ("api", "next", "jobs")]
    return [one.limits[0].remaining for one in peeks]


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_that_is_cancelled_in_flight_takes_nothing(setup: Setup, call: str) -> None:
    """What the store grants to a caller that is gone is given back, the takes of shadows too."""
    setup.store.hold()
    task = asyncio.ensure_future(CALLS[call](setup))
    await setup.store.until_in_flight(1)

    await cancel(task)
    setup.store.release()
    await setup.limits.aclose()

    assert await remaining(setup) == [5, 5, 1]


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_whose_answer_is_there_already_takes_nothing(embedded: StoreWorld, call: str) -> None:
    """Whether the cancellation comes before the answer or with it: a caller without an answer took nothing."""
    # Not in memory, because redis-py swallows some cancellations.
    setup = Setup(embedded, API, NEXT, JOBS)
    for cancelled_after in range(40):
        task = asyncio.ensure_future(CALLS[call](setup))
        await ticks(cancelled_after)
        if task.done():
            break
        await cancel(task)
        await setup.limits.aclose()
        assert await remaining(setup) == [5, 5, 1]


async def test_a_take_that_was_not_sent_is_withdrawn(setup: Setup) -> None:
    """A caller that is cancelled while its take waits in the queue costs no call."""
    setup.store.hold()
    others = [asyncio.create_task(setup.limits.take("api", name)) for name in ("bob", "eve")]
    await ticks()
    others.append(asyncio.create_task(setup.limits.take("api", "joe")))
    await setup.store.until_in_flight(2)
    task = asyncio.ensure_future(setup.limits.acquire("api", "ada", wait_ms=1_000))
    await ticks()

    await cancel(task)
    setup.store.release()
    await asyncio.gather(*others)
    await setup.limits.aclose()

    keys = {key for call in setup.store.calls for key in call.keys}
    assert len(keys) == 6
    assert await remaining(setup) == [5, 5, 1]


async def test_a_refusal_that_nobody_hears_is_not_refunded(setup: Setup) -> None:
    """A caller that is cancelled before its refusal arrives gets nothing back that others took."""
    await setup.limits.take("api", "ada", 5)
    setup.store.hold()
    task = asyncio.ensure_future(setup.limits.acquire("api", "ada", wait_ms=60_000))
    await setup.store.until_in_flight(1)

    await cancel(task)
    setup.store.release()
    await setup.limits.aclose()

    assert (await remaining(setup))[0] == 0
    assert "limits/refund" not in setup.store.scripts


@pytest.mark.parametrize("call", ["acquire", "reserve", "lease"])
async def test_what_the_store_does_not_take_back_is_left(setup: Setup, call: str) -> None:
    """A store that goes away between a grant and its return ends the attempt to give it back; nothing is raised."""
    setup.store.hold()
    task = asyncio.ensure_future(CALLS[call](setup))
    await setup.store.until_in_flight(1)

    await cancel(task)
    setup.store.fail("ambiguous")
    setup.store.release()
    await setup.limits.aclose()

    assert setup.store.in_flight == 0


async def test_the_living_do_not_wait_for_the_dead(setup: Setup) -> None:
    """A caller that goes on waiting is served as if those that are cancelled had never come."""
    await setup.limits.take("api", "ada", 5)
    dead = [asyncio.ensure_future(setup.limits.acquire("api", "ada", wait_ms=60_000)) for _ in range(20)]
    await setup.clock.until_asleep()
    await ticks()
    living = asyncio.ensure_future(setup.limits.acquire("api", "ada", 5, wait_ms=60_000))
    await ticks()
    for task in dead:
        await cancel(task)

    await setup.pass_ms(31_875)

    assert (await living).allowed
