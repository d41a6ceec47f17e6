"""Batches: which takes share a call, in which order, and that no take suffers from its neighbours."""

from __future__ import annotations

import asyncio
import gc

import pytest

from tests.leases import under
from tests.watched import Setup, WatchedStore, ticks
from tests.worlds import StoreWorld
from tollhouse.errors import InvalidInput, ScriptFailed
from tollhouse.keys import UNNAMED
from tollhouse.limits.calls.batcher import Batcher
from tollhouse.limits.calls.calls import calls_on
from tollhouse.limits.calls.quota_calls import QuotaCalls
from tollhouse.limits.decision import Decision, Take
from tollhouse.limits.policy.notation import parse_policy

HUNDRED = parse_policy("hundred", "100/minute")
TEN = parse_policy("ten", "10/hour; 20/day")


@pytest.fixture
def setup(world: StoreWorld) -> Setup:
    return Setup(world, HUNDRED, TEN)


@pytest.fixture
def store(setup: Setup) -> WatchedStore:
    return setup.store


async def test_takes_that_meet_in_one_tick_leave_as_one_call(setup: Setup) -> None:
    """Fifty concurrent takes of several policies are one script call, and each gets its own decision."""
    names = ["hundred", "ten"]

    decisions = await asyncio.gather(*(setup.limits.take(names[i % 2], f"user-{i}", i % 12) for i in range(50)))

    assert setup.store.sizes == [50]
    assert [(one.policy, one.key, one.cost) for one in decisions] == [
        (names[i % 2], f"user-{i}", i % 12) for i in range(50)
    ]
    assert [one.allowed for one in decisions] == [i % 12 <= 10 or i % 2 == 0 for i in range(50)]


async def test_each_policy_is_sent_once_in_a_call(setup: Setup) -> None:
    """However many takes share a call, it has the limits of a policy once, and the cost if it is that of all keys."""
    limits = (1, "sliding-window", 1, 100, 60_000, 16)
    keys = [f"user-{i}" for i in range(5)]

    for costs in ([2] * 5, [1, 2, 3, 2, 1]):
        await asyncio.gather(*map(setup.limits.take, ["hundred"] * 5, keys, costs))
    await asyncio.gather(*(setup.limits.take("hundred", key) for key in [*keys, keys[0]]))

    assert [call.args for call in setup.store.calls] == [
        (*limits, 1, 2),
        (*limits, 1, 1, 1, 2, 1, 3, 1, 2, 1, 1),
        (*limits, *(1, 1) * 6),
    ]


async def test_a_solo_take_is_sent_at_once(setup: Setup, store: WatchedStore) -> None:
    """A take that no other one joins in its tick is a call of its own, also while another call is in flight."""
    store.hold()

    first = asyncio.create_task(setup.limits.take("hundred", "ada"))
    await store.until_in_flight(1)
    second = asyncio.create_task(setup.limits.take("hundred", "bob"))
    await store.until_in_flight(2)
    store.release()

    assert [(await task).allowed for task in (first, second)] == [True, True]
    assert store.sizes == [1, 1]


async def test_takes_one_after_another_are_calls_of_their_own(setup: Setup, store: WatchedStore) -> None:
    """A caller that awaits each decision before its next take waits for nothing else."""
    for _ in range(5):
        await setup.limits.take("hundred", "ada")

    assert store.sizes == [1] * 5


async def test_a_batch_of_a_caller_joins_single_takes(setup: Setup, store: WatchedStore) -> None:
    """`take_batch` shares its call with takes of the same tick, and keeps its order."""
    batched, single = await asyncio.gather(
        setup.limits.take_batch([Take(policy="ten", key="ada", cost=cost) for cost in (6, 5, 4)]),
        setup.limits.take("ten", "ada"),
    )

    assert store.sizes == [4]
    assert [one.allowed for one in (*batched, single)] == [True, False, True, False]


async def test_calls_are_bounded(setup: Setup, store: WatchedStore) -> None:
    """A call has at most 256 takes, at most two calls are in flight, and there are no more calls than that needs."""
    store.hold()
    keys = [f"user-{i % 700}" for i in range(1_000)]
    takes = [asyncio.create_task(setup.limits.take("hundred", key)) for key in keys]
    await store.until_in_flight(2)
    await ticks()

    store.release()
    decisions = await asyncio.gather(*takes)

    assert [one.key for one in decisions] == keys
    assert all(one.allowed for one in decisions)
    assert store.sizes == [256, 256, 256, 232]
    assert store.most_in_flight == 2


async def test_takes_queued_while_two_calls_are_in_flight_share_the_next_one(setup: Setup, store: WatchedStore) -> None:
    """Takes that arrive one by one while the store is busy are sent together once it replied."""
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


async def test_equal_keys_are_decided_in_order_of_arrival(setup: Setup) -> None:
    """Of 150 takes of one key the first hundred are admitted, and `remaining` falls by one each time."""
    decisions = await asyncio.gather(*(setup.limits.take("hundred", "ada") for _ in range(150)))

    assert [one.limits[0].remaining for one in decisions] == [*range(99, -1, -1), *[0] * 50]
    assert [one.allowed for one in decisions] == [True] * 100 + [False] * 50


async def test_callers_that_take_in_a_loop_are_all_served(setup: Setup, store: WatchedStore) -> None:
    """Fifty callers that take in a loop share calls all the time, and each gets all its decisions."""

    async def caller(name: str) -> list[int]:
        return [(await setup.limits.take("hundred", name)).limits[0].remaining for _ in range(20)]

    remaining = await asyncio.gather(*(caller(f"user-{i}") for i in range(50)))

    assert remaining == [list(range(99, 79, -1))] * 50
    assert sum(store.sizes) == 1_000
    assert store.most_in_flight <= 2
    assert len(store.calls) <= 50


async def test_a_wrong_take_does_not_fail_its_neighbours(setup: Setup, store: WatchedStore) -> None:
    """Bad input raises for its own caller, and is never sent."""
    given = [("hundred", "ada", 1), ("hundred", "", 1), ("no-such", "ada", 1), ("ten", "ada", -1), ("ten", "ada", 1)]

    answers = await asyncio.gather(*(setup.limits.take(*one) for one in given), return_exceptions=True)

    assert [isinstance(one, InvalidInput) for one in answers] == [False, True, True, True, False]
    assert store.sizes == [2]


async def test_a_take_that_is_cancelled_in_the_queue_is_not_charged(setup: Setup, store: WatchedStore) -> None:
    """A take whose caller is cancelled while it is queued is not sent; its neighbours are, and in order."""
    store.hold()
    tasks = [asyncio.create_task(setup.limits.take("ten", "ada")) for _ in range(2)]
    await store.until_in_flight(1)
    tasks += [asyncio.create_task(setup.limits.take("ten", "ada")) for _ in range(2)]
    await store.until_in_flight(2)
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
async def test_a_take_that_is_cancelled_in_flight_disturbs_no_other(
    setup: Setup, store: WatchedStore, callers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Its decision is dropped, all other callers get theirs, and the next take works."""
    store.hold()
    tasks = [asyncio.create_task(setup.limits.take("hundred", f"user-{i}")) for i in range(callers)]
    await store.until_in_flight(1)

    tasks[0].cancel()
    await ticks()
    store.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(answers[0], asyncio.CancelledError)
    assert [one.key for one in answers[1:] if isinstance(one, Decision)] == [f"user-{i}" for i in range(1, callers)]
    assert (await setup.limits.take("hundred", "another")).allowed
    gc.collect()
    assert caplog.records == []


async def test_a_solo_take_may_be_cancelled_before_it_is_sent(setup: Setup, store: WatchedStore) -> None:
    """It is not sent, and the next take is."""
    task = asyncio.create_task(setup.limits.take("ten", "ada"))
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (await setup.limits.take("ten", "ada")).limits[0].remaining == 9
    assert store.sizes == [1]


async def test_a_call_that_is_wrong_fails_only_those_in_it(
    setup: Setup, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    """ScriptFailed is raised for all takes of the call, solo or not, and for no other; it is no outage."""
    store.failure = ScriptFailed("a defect")

    together = await asyncio.gather(*(setup.limits.take("ten", "ada") for _ in range(3)), return_exceptions=True)
    with pytest.raises(ScriptFailed):
        await setup.limits.take("ten", "ada")
    with pytest.raises(ScriptFailed):
        await setup.limits.take_batch([Take(policy="ten", key="ada")] * 3)
    store.heal()

    assert [type(one) for one in together] == [ScriptFailed] * 3
    assert not (await setup.limits.take("ten", "ada")).degraded
    gc.collect()
    assert caplog.records == []


async def test_a_cancelled_take_of_a_call_that_fails_leaves_no_trace(setup: Setup, store: WatchedStore) -> None:
    """The other takes of the call raise, and the cancelled one does not matter."""
    store.hold()
    tasks = [asyncio.create_task(setup.limits.take("ten", "ada")) for _ in range(3)]
    await store.until_in_flight(1)
    tasks[1].cancel()
    store.failure = ScriptFailed("a defect")
    await ticks()

    store.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(one) for one in answers] == [ScriptFailed, asyncio.CancelledError, ScriptFailed]


async def test_a_cancelled_take_of_a_call_without_a_reply_leaves_no_trace(setup: Setup, store: WatchedStore) -> None:
    """The outage rule decides the other takes of the call."""
    store.hold()
    tasks = [asyncio.create_task(setup.limits.take("ten", "ada")) for _ in range(3)]
    await store.until_in_flight(1)
    tasks[1].cancel()
    store.fail()
    await ticks()

    store.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert [isinstance(one, Decision) and one.degraded for one in answers] == [True, False, True]


async def test_a_solo_take_of_another_cost_than_its_policy_has(setup: Setup, store: WatchedStore) -> None:
    """Its arguments are those of the policy, but for the cost."""
    for cost in (None, 1, 3, 0):
        await setup.limits.take("hundred", "ada", cost)

    assert [(call.script, call.args) for call in store.calls] == [
        ("limits/take_one", (cost, "TH2;60/16=", 100, 60_000, 16)) for cost in (1, 1, 3, 0)
    ]


async def test_a_queued_take_that_no_other_joins_is_a_solo_call(setup: Setup, store: WatchedStore) -> None:
    """Of a caller that is no coroutine, or behind two calls in flight: a single take has the script of those alone."""
    first = setup.submit("hundred", "ada")
    decisions = [await first]
    store.hold()
    tasks: list[asyncio.Task[Decision]] = []
    for key, cost in (("bob", None), ("cy", 3), ("dan", 0)):
        tasks.append(asyncio.create_task(setup.limits.take("hundred", key, cost)))
        await ticks()
    store.release()
    decisions += [await task for task in tasks]

    assert [call.script for call in store.calls] == ["limits/take_one"] * 4
    assert [one.limits[0].remaining for one in decisions] == [99, 99, 97, 100]


async def test_a_queued_solo_call_that_is_refused_or_cancelled(setup: Setup, store: WatchedStore) -> None:
    """A refusal of several limits is decoded like any other; a caller that left meanwhile gets nothing."""
    taken, refused = [setup.submit("ten", key, 10) for key in ("ada", "bob")]
    await asyncio.gather(taken, refused)
    store.hold()
    left = setup.submit("ten", "ada", 10)
    await store.until_in_flight(1)
    left.cancel()
    store.release()
    await ticks()

    again = setup.submit("ten", "ada", 10)
    decision = await again

    assert left.cancelled()
    assert store.scripts == ["limits/take", "limits/take_one", "limits/take_one"]
    assert (decision.allowed, decision.refused_by, [one.remaining for one in decision.limits]) == (
        False,
        "10/hour",
        [0, 10],
    )


async def test_a_defect_of_the_store_is_not_hidden(
    setup: Setup, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Any other exception of a store is raised for all takes of the call, and queued takes are still sent."""
    store.failure = ZeroDivisionError("unexpected")
    store.hold()
    first = [asyncio.create_task(setup.limits.take("ten", "ada")) for _ in range(2)]
    await store.until_in_flight(1)
    second = [asyncio.create_task(setup.limits.take("ten", "bob")) for _ in range(2)]
    await store.until_in_flight(2)
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


async def test_cancelled_senders_cancel_their_takes(setup: Setup, store: WatchedStore) -> None:
    """When an event loop cancels its tasks, calls in flight among them, no caller is left without an outcome."""
    store.hold()
    callers = [asyncio.create_task(setup.limits.take("ten", "ada")) for _ in range(2)]
    await store.until_in_flight(1)

    for task in asyncio.all_tasks() - {asyncio.current_task(), *callers}:
        if task.get_name() == "tollhouse-takes":
            task.cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    store.release()

    assert [type(one) for one in answers] == [asyncio.CancelledError] * 2
    assert (await setup.limits.take("ten", "ada")).limits[0].remaining == 9


async def test_a_full_queue_is_as_a_store_that_does_not_answer(setup: Setup, store: WatchedStore) -> None:
    """The outage rule decides takes beyond the bound of the queue at once."""
    clock, clearings = setup.clock.monotonic_ms, UNNAMED.rate_clearings
    calls = calls_on(store, setup.world.metrics, refusals_max=0, clock=clock, clearings=clearings)
    batcher, ada = Batcher(calls, QuotaCalls(calls), queue_max=3), under(setup.world, HUNDRED)
    store.hold()
    busy = [asyncio.ensure_future(batcher.take(ada))]
    await store.until_in_flight(1)
    busy.append(asyncio.ensure_future(batcher.take(ada)))
    await store.until_in_flight(2)
    busy += [asyncio.ensure_future(batcher.take(ada)) for _ in range(3)]
    await ticks()

    beyond = await batcher.take(ada)
    store.release()
    decisions = await asyncio.gather(*busy)

    assert (beyond.allowed, beyond.degraded) == (True, True)
    assert [one.degraded for one in decisions] == [False] * 5
    assert setup.counted("hundred", "degraded-allowed") == 1
    assert setup.counted("hundred", "allowed") == 5


async def test_what_a_take_waits_for_calls_in_flight_is_part_of_its_deadline(setup: Setup, store: WatchedStore) -> None:
    """A batch is sent with the time that its oldest take has waited; one sent at once has not waited."""
    store.hold()
    sent = [asyncio.create_task(setup.limits.take("hundred", key)) for key in ("ada", "bob")]
    await store.until_in_flight(1)
    sent.append(asyncio.create_task(setup.limits.take("hundred", "cy")))
    await store.until_in_flight(2)

    for key, ms in (("dee", 700), ("eve", 200)):
        sent.append(asyncio.create_task(setup.limits.take("hundred", key)))
        await ticks()
        await setup.pass_ms(ms)
    store.release()
    await asyncio.gather(*sent)
    await setup.limits.take("hundred", "fay")

    assert [(len(call.keys), call.waited_ms) for call in store.calls] == [(2, 0), (1, 0), (2, 900), (1, 0)]
