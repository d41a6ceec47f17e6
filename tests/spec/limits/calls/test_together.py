"""Takes of one caller that are submitted together, in the library by a coroutine and over HTTP by a task."""

from __future__ import annotations

import asyncio
import gc

import pytest
from msgspec.structs import replace

from tests.watched import Setup, WatchedStore, ticks
from tests.worlds import StoreWorld
from tollhouse.errors import ScriptFailed
from tollhouse.limits.decision import Decision, Take
from tollhouse.limits.policy.notation import parse_policy

TEN = parse_policy("ten", "10/hour; 20/day")
LISTED = replace(TEN, name="listed", deny=("mallory",))


@pytest.fixture
def setup(world: StoreWorld) -> Setup:
    return Setup(world, TEN, LISTED)


@pytest.fixture
def store(setup: Setup) -> WatchedStore:
    return setup.store


def of(*keys: str, policy: str = "ten") -> list[Take]:
    return [Take(policy=policy, key=key) for key in keys]


@pytest.mark.parametrize("waits", [0, 3])
async def test_a_batch_whose_caller_is_cancelled_is_not_charged(
    setup: Setup, store: WatchedStore, caplog: pytest.LogCaptureFixture, waits: int
) -> None:
    """Its takes are not sent if they are queued, and disturb no other in flight; also if it ends before it begins."""
    store.hold()
    tasks: list[asyncio.Task[list[Decision]]] = []
    for in_flight, key in enumerate(("ada", "bob", "cy"), 1):
        tasks.append(setup.limits.submit_batch(of(key, key)))
        await store.until_in_flight(min(in_flight, 2))
    for _ in range(waits):
        await asyncio.sleep(0)

    tasks[0].cancel()
    tasks[2].cancel()
    await ticks()
    store.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    after = await setup.limits.take_batch(of("ada", "bob", "cy"))

    assert [isinstance(one, asyncio.CancelledError) for one in answers] == [True, False, True]
    assert store.sizes == [2, 2, 3]
    assert [one.limits[0].remaining for one in after] == [7, 7, 9]
    gc.collect()
    assert caplog.records == []


async def test_a_coroutine_that_is_cancelled_cancels_its_batch(setup: Setup, store: WatchedStore) -> None:
    """A timeout around `take_batch` leaves nothing in the queue."""
    store.hold()
    tasks = [asyncio.create_task(setup.limits.take_batch(of(key, key))) for key in ("ada", "bob", "cy")]
    await store.until_in_flight(1)
    queued = asyncio.create_task(setup.limits.take_batch(of("dan", "dan")))
    await store.until_in_flight(2)
    late = asyncio.create_task(setup.limits.take_batch(of("eve", "eve")))
    await ticks()

    late.cancel()
    await ticks()
    store.release()
    await asyncio.gather(*tasks, queued)

    assert late.cancelled()
    assert store.sizes == [6, 2]


async def test_a_batch_is_in_order_whatever_decides_its_takes(setup: Setup, store: WatchedStore) -> None:
    """What the process decides by itself stands between what the store decides."""
    keys = ("mallory", "bob", "mallory", "cy")

    found = await setup.limits.take_batch(of(*keys, policy="listed"))
    known = await setup.limits.submit_batch(of("mallory", "mallory", policy="listed"))

    assert [(one.key, one.allowed) for one in found] == [(key, key != "mallory") for key in keys]
    assert [one.allowed for one in known] == [False, False]
    assert store.sizes == [2]


async def test_a_batch_that_fails_raises_once(
    setup: Setup, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets the first error, and asyncio logs none of the others, those of a later call included."""
    store.failure = ScriptFailed("a defect")

    with pytest.raises(ScriptFailed, match="a defect"):
        await setup.limits.submit_batch(of(*(f"user-{i}" for i in range(200)), policy="listed"))
    batches = [setup.limits.submit_batch(of(*(f"user-{i}" for i in range(200)))) for _ in range(2)]
    answers = await asyncio.gather(*batches, return_exceptions=True)
    await ticks()

    assert [type(one) for one in answers] == [ScriptFailed, ScriptFailed]
    gc.collect()
    assert caplog.records == []
