"""Takes that meet share a call: how they are gathered, and that none of them suffers from another."""

from __future__ import annotations

import asyncio
import gc

import pytest

from tests.leases import under
from tests.watched import Setup, Watched, ticks
from tests.worlds import StoreWorld
from tollhouse.errors import InvalidInput, ScriptFailed
from tollhouse.limits.calls.batcher import Batcher
from tollhouse.limits.calls.calls import calls_on
from tollhouse.limits.decision import Decision, Take
from tollhouse.limits.policy.notation import parse_policy

HUNDRED = parse_policy("hundred", "100/minute")
TEN = parse_policy("ten", "10/hour; 20/day")


@pytest.fixture
def setup(world: StoreWorld) -> Setup:
    return Setup(world, HUNDRED, TEN)


@pytest.fixture
def store(setup: Setup) -> Watched:
    return setup.store


async def test_takes_that_meet_in_one_tick_leave_as_one_call(setup: Setup) -> None:
    """Fifty takes of several policies at once are one script call, and each has its own answer."""
    names = ["hundred", "ten"]

    decisions = await asyncio.gather(*(setup.limits.take(names[i % 2], f"user-{i}", i % 12) for i in range(50)))

    assert setup.store.sizes == [50]
    assert [(one.policy, one.key, one.cost) for one in decisions] == [
        (names[i % 2], f"user-{i}", i % 12) for i in range(50)
    ]
    assert [one.allowed for one in decisions] == [i % 12 <= 10 or i % 2 == 0 for i in range(50)]


async def test_each_policy_is_told_once_in_a_call(setup: Setup) -> None:
    """However many takes share a call, the limits of a policy are in it once."""
    await asyncio.gather(*(setup.limits.take("hundred", f"user-{i}") for i in range(5)))

    (call,) = setup.store.calls
    assert call.args == (1, "sliding-window", 1, 100, 60_000, 16, *(1, 1) * 5)


async def test_a_lone_take_goes_at_once(setup: Setup, store: Watched) -> None:
    """A take with no company is a call of its own, also while another one is under way."""
    store.hold()

    first = asyncio.create_task(setup.limits.take("hundred", "ada"))
    await store.until_under_way(1)
    second = asyncio.create_task(setup.limits.take("hundred", "bob"))
    await store.until_under_way(2)
    store.release()

    assert [(await task).allowed for task in (first, second)] == [True, True]
    assert store.sizes == [1, 1]


async def test_takes_one_after_another_are_calls_of_their_own(setup: Setup, store: Watched) -> None:
    """Whoever waits for an answer before the next take waits for nothing else."""
    for _ in range(5):
        await setup.limits.take("hundred", "ada")

    assert store.sizes == [1] * 5


async def test_a_batch_of_the_callers_own_joins_single_takes(setup: Setup, store: Watched) -> None:
    """`take_batch` shares its call with takes of the same tick, and keeps its order."""
    batched, single = await asyncio.gather(
        setup.limits.take_batch([Take(policy="ten", key="ada", cost=cost) for cost in (6, 5, 4)]),
        setup.limits.take("ten", "ada"),
    )

    assert store.sizes == [4]
    assert [one.allowed for one in (*batched, single)] == [True, False, True, False]


async def test_calls_are_bounded(setup: Setup, store: Watched) -> None:
    """A call carries at most 256 takes, at most two calls are under way, and no more calls are made than that needs."""
    store.hold()
    keys = [f"user-{i % 700}" for i in range(1_000)]
    takes = [asyncio.create_task(setup.limits.take("hundred", key)) for key in keys]
    await store.until_under_way(2)
    await ticks()

    store.release()
    decisions = await asyncio.gather(*takes)

    assert [one.key for one in decisions] == keys
    assert all(one.allowed for one in decisions)
    assert store.sizes == [256, 256, 256, 232]
    assert store.most_under_way == 2


async def test_what_comes_while_two_calls_are_under_way_makes_the_next_one_larger(setup: Setup, store: Watched) -> None:
    """Takes that come one by one while the store is busy leave together when it has answered."""
    store.hold()
    waiting: list[asyncio.Task[Decision]] = []
    for i in range(40):
        waiting.append(asyncio.create_task(setup.limits.take("hundred", f"user-{i}")))
        await ticks()
    assert store.sizes == [1, 1]

    store.release()
    decisions = await asyncio.gather(*waiting)

    assert store.sizes == [1, 1, 38]
    assert [one.key for one in decisions] == [f"user-{i}" for i in range(40)]


async def test_equal_keys_are_served_in_the_order_in_which_they_came(setup: Setup) -> None:
    """Of 150 takes of one key the first hundred are admitted, and what remains falls by one each time."""
    decisions = await asyncio.gather(*(setup.limits.take("hundred", "ada") for _ in range(150)))

    assert [one.limits[0].remaining for one in decisions] == [*range(99, -1, -1), *[0] * 50]
    assert [one.allowed for one in decisions] == [True] * 100 + [False] * 50


async def test_callers_who_take_again_at_once_are_all_served(setup: Setup, store: Watched) -> None:
    """Fifty callers that never rest share calls all the time, and every one of them has every answer."""

    async def caller(name: str) -> list[int]:
        return [(await setup.limits.take("hundred", name)).limits[0].remaining for _ in range(20)]

    remaining = await asyncio.gather(*(caller(f"user-{i}") for i in range(50)))

    assert remaining == [list(range(99, 79, -1))] * 50
    assert sum(store.sizes) == 1_000
    assert store.most_under_way <= 2
    assert len(store.calls) <= 50


async def test_a_wrong_take_does_not_fail_its_neighbours(setup: Setup, store: Watched) -> None:
    """Bad input is told to whoever gave it, and is never sent."""
    given = [("hundred", "ada", 1), ("hundred", "", 1), ("no-such", "ada", 1), ("ten", "ada", -1), ("ten", "ada", 1)]

    answers = await asyncio.gather(*(setup.limits.take(*one) for one in given), return_exceptions=True)

    assert [isinstance(one, InvalidInput) for one in answers] == [False, True, True, True, False]
    assert store.sizes == [2]


async def test_a_caller_who_goes_before_the_call_is_not_charged(setup: Setup, store: Watched) -> None:
    """A take whose caller is cancelled while it waits is not sent; those beside it are, and in order."""
    store.hold()
    tasks = [asyncio.create_task(setup.limits.take("ten", "ada")) for _ in range(2)]
    await store.until_under_way(1)
    tasks += [asyncio.create_task(setup.limits.take("ten", "ada")) for _ in range(2)]
    await store.until_under_way(2)
    tasks += [asyncio.create_task(setup.limits.take("ten", "ada")) for _ in range(4)]
    await ticks()

    tasks[5].cancel()
    await ticks()
    store.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert [isinstance(one, asyncio.CancelledError) for one in answers] == [False] * 5 + [True] + [False] * 2
    assert store.sizes == [2, 2, 3]
    assert [one.limits[0].remaining for one in answers if isinstance(one, Decision)] == [9, 8, 7, 6, 5, 4, 3]


@pytest.mark.parametrize("callers", [1, 2, 50])
async def test_a_caller_who_goes_while_the_call_is_under_way_disturbs_nobody(
    setup: Setup, store: Watched, callers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Its answer is dropped, everybody else has their own, and the next take works."""
    store.hold()
    tasks = [asyncio.create_task(setup.limits.take("hundred", f"user-{i}")) for i in range(callers)]
    await store.until_under_way(1)

    tasks[0].cancel()
    await ticks()
    store.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(answers[0], asyncio.CancelledError)
    assert [one.key for one in answers[1:] if isinstance(one, Decision)] == [f"user-{i}" for i in range(1, callers)]
    assert (await setup.limits.take("hundred", "somebody")).allowed
    gc.collect()
    assert caplog.records == []


async def test_a_lone_caller_may_go_before_anything_was_sent(setup: Setup, store: Watched) -> None:
    """Its take is not sent, and the next one is."""
    task = asyncio.create_task(setup.limits.take("ten", "ada"))
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (await setup.limits.take("ten", "ada")).limits[0].remaining == 9
    assert store.sizes == [1]


async def test_a_call_that_is_wrong_fails_only_those_in_it(
    setup: Setup, store: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """ScriptFailed goes to all who shared the call, lone or not, and to nobody else; it is no outage."""
    store.failure = ScriptFailed("a defect")

    together = await asyncio.gather(*(setup.limits.take("ten", "ada") for _ in range(3)), return_exceptions=True)
    with pytest.raises(ScriptFailed):
        await setup.limits.take("ten", "ada")
    with pytest.raises(ScriptFailed):
        await setup.limits.take_batch([Take(policy="ten", key="ada")] * 3)
    store.heal()

    assert [str(one) for one in together] == ["a defect"] * 3
    assert not (await setup.limits.take("ten", "ada")).degraded
    gc.collect()
    assert caplog.records == []


async def test_a_caller_who_goes_from_a_call_that_fails_leaves_no_trace(setup: Setup, store: Watched) -> None:
    """Whoever stays is told, whoever went is not missed."""
    store.hold()
    tasks = [asyncio.create_task(setup.limits.take("ten", "ada")) for _ in range(3)]
    await store.until_under_way(1)
    tasks[1].cancel()
    store.failure = ScriptFailed("a defect")
    await ticks()

    store.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(one) for one in answers] == [ScriptFailed, asyncio.CancelledError, ScriptFailed]


async def test_a_defect_of_the_store_is_not_hidden(
    setup: Setup, store: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever else a store raises goes to everybody in the call, and those who wait are still served."""
    store.failure = ZeroDivisionError("nobody expected this")
    store.hold()
    first = [asyncio.create_task(setup.limits.take("ten", "ada")) for _ in range(2)]
    await store.until_under_way(1)
    second = [asyncio.create_task(setup.limits.take("ten", "bob")) for _ in range(2)]
    await store.until_under_way(2)
    waiting = [asyncio.create_task(setup.limits.take("ten", "eve")) for _ in range(2)]
    await ticks()

    store.release()
    failed = await asyncio.gather(*first, *second, *waiting, return_exceptions=True)
    with pytest.raises(ZeroDivisionError):
        await setup.limits.take("ten", "ada")
    store.heal()

    assert [type(one) for one in failed] == [ZeroDivisionError] * 6
    assert store.sizes == [2, 2, 2, 1]
    assert (await setup.limits.take("ten", "ada")).limits[0].remaining == 9
    gc.collect()
    assert caplog.records == []


async def test_the_end_of_all_tasks_ends_those_that_wait(setup: Setup, store: Watched) -> None:
    """When an event loop ends its tasks, calls under way among them, nobody is left waiting for an answer."""
    store.hold()
    callers = [asyncio.create_task(setup.limits.take("ten", "ada")) for _ in range(2)]
    await store.until_under_way(1)

    for task in asyncio.all_tasks() - {asyncio.current_task(), *callers}:
        if task.get_name() == "tollhouse-takes":
            task.cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    store.release()

    assert [type(one) for one in answers] == [asyncio.CancelledError] * 2
    assert (await setup.limits.take("ten", "ada")).limits[0].remaining == 9


async def test_a_full_queue_is_as_a_store_that_does_not_answer(setup: Setup, store: Watched) -> None:
    """Beyond the bound of queued takes, the outage rule decides at once."""
    calls = calls_on(store, setup.world.metrics, refusals_max=0, clock=setup.clock.monotonic_ms)
    batcher, ada = Batcher(calls, queue_max=3), under(setup.world, HUNDRED)
    store.hold()
    busy = [asyncio.create_task(batcher.take(ada))]
    await store.until_under_way(1)
    busy.append(asyncio.create_task(batcher.take(ada)))
    await store.until_under_way(2)
    busy += [asyncio.create_task(batcher.take(ada)) for _ in range(3)]
    await ticks()

    beyond = await batcher.take(ada)
    store.release()
    decisions = await asyncio.gather(*busy)

    assert (beyond.allowed, beyond.degraded) == (True, True)
    assert [one.degraded for one in decisions] == [False] * 5
    assert setup.counted("hundred", "degraded-allowed") == 1
    assert setup.counted("hundred", "allowed") == 5
