"""What calls do while the primary refuses writes for want of a replica: it is the right server, and soon has one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.asgi import limiter_with
from tests.failures.fake_sentinel import ErrorReply
from tests.failures.primaries import Scene, ended_because_closed, refused, scene
from tests.worlds import SCRIPTS, StoreWorld
from tollhouse.cache.cache import Cache
from tollhouse.errors import StoreUnavailable
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.stores.discovery.primary_history import FailoverPause
from tollhouse.stores.opening import IMPATIENT, open_stores
from tollhouse.stores.replica_shortage import ReplicaShortage
from tollhouse.stores.urls import urls_by_store

SHORT = "NOREPLICAS Not enough good replicas to write."


def short_for(refusals: int) -> Any:
    """Refuse so many writes, and run what comes after them."""
    rest: Iterator[Any] = iter([ErrorReply(SHORT)] * refusals)
    return lambda _: next(rest, 1)


def hints(s: Scene) -> list[str]:
    return [hint.why for _, hint in s.locator.suspected]


@pytest.mark.parametrize("name", ["test/once", "test/again"])
async def test_a_call_that_no_replica_could_take_over_is_sent_again(name: str) -> None:
    """It did not run: it waits and is sent again until it does, over the same connection, idempotent or not."""
    async with scene() as s:
        s.old.answer = short_for(4)

        assert await s.store.run(name, [], []) == [1]

        assert s.old.verbs() == ["EVALSHA"] * 5
        assert s.old.accepted == s.store.connections == 1


async def test_a_shortage_is_one_hint_for_each_call() -> None:
    """The resolver looks whether another server is the primary now, as often as calls are refused and no more."""
    async with scene() as s:
        s.old.answer = short_for(4)

        await s.store.run("test/once", [], [])

        assert hints(s) == ["noreplicas"]


async def test_a_shortage_that_outlasts_the_deadline_is_rejected() -> None:
    """Nothing was changed: the call says so at its deadline, and the server is not taken for dead."""
    async with scene(deadline_s=0.15) as s:
        s.old.answer = refused(SHORT)
        loop = asyncio.get_running_loop()
        began_s = loop.time()

        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/once", [], [])

        assert 0.1 <= loop.time() - began_s < 0.5
        assert raised.value.outcome == "rejected"
        assert SHORT[:10] in raised.value.reason
        assert len(s.old.seen) > 2
        s.old.answer = lambda _: 7
        assert await s.store.run("test/once", [], []) == [7]
        assert s.store.connections == 1


@pytest.mark.parametrize("waited_ms", [59_900, 61_000])
async def test_what_a_caller_has_waited_before_is_part_of_the_deadline(waited_ms: int) -> None:
    """A call waits only for what is left of it; one whose deadline has passed is tried once more at most."""
    async with scene(deadline_s=60) as s, asyncio.timeout(5):
        s.old.answer = refused(SHORT)

        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/once", [], [], waited_ms=waited_ms)

        assert raised.value.outcome in ("rejected", "not-sent")


async def test_a_call_that_may_have_run_stays_ambiguous_in_a_shortage() -> None:
    """The attempt before the shortage was cut off: the refusals that follow say nothing about it."""
    async with scene(deadline_s=0.3) as s:
        await s.store.run("test/once", [], [])
        s.old.holding = True
        call = asyncio.ensure_future(s.store.run("test/again", [], []))
        await s.old.until(lambda: len(s.old.seen) == 2)
        s.old.holding = False
        s.old.answer = refused(SHORT)

        s.old.drop()

        with pytest.raises(StoreUnavailable) as raised:
            await call
        assert raised.value.outcome == "ambiguous"


def long_pauses(_: float, __: float) -> float:
    """Make every pause longer than any test lasts."""
    return 10_000.0


async def test_a_new_primary_ends_the_wait() -> None:
    """Calls that wait at an isolated primary go to its successor as soon as it is named."""
    async with scene(jitter=long_pauses) as s:
        s.old.answer = refused(SHORT)
        calls = [asyncio.ensure_future(s.store.run("test/once", [], [])) for _ in range(3)]
        await s.old.until(lambda: len(s.old.seen) == 3)

        s.locator.move(s.new)

        assert await asyncio.gather(*calls) == [[1]] * 3
        assert len(s.old.seen) == len(s.new.seen) == 3


async def test_a_call_whose_time_a_shortage_took_does_not_open_the_breaker() -> None:
    """That it finds the primary being replaced at its deadline is no reason to refuse those that come after it."""
    async with scene(deadline_s=0.2) as s:
        s.old.answer = refused(SHORT)
        call = asyncio.ensure_future(s.store.run("test/once", [], []))
        await s.old.until(lambda: len(s.old.seen) == 2)
        s.locator.announce(FailoverPause(wait_s=5.0))
        s.old.answer = lambda _: 1
        with pytest.raises(StoreUnavailable):
            await call

        s.locator.announce(FailoverPause(wait_s=0))

        assert await s.store.run("test/once", [], []) == [1]


async def test_the_first_write_that_is_done_ends_the_wait_of_all() -> None:
    """When one call shows that there is a replica, the others are sent at once; a read shows nothing."""
    async with scene(jitter=long_pauses) as s:
        s.old.answer = lambda command: 1 if command[1] == "test/read" else ErrorReply(SHORT)
        calls = [asyncio.ensure_future(s.store.run("test/once", [], [])) for _ in range(3)]
        await s.old.until(lambda: len(s.old.seen) == 3)
        assert await s.store.run("test/read", [], []) == [1]
        assert not any(call.done() for call in calls)
        s.old.answer = lambda _: 1

        assert await s.store.run("test/once", [], []) == [1]

        assert await asyncio.gather(*calls) == [[1]] * 3


async def test_a_shortage_that_lasts_is_an_outage() -> None:
    """After a bounded time calls are refused at once, so that nothing queues behind them; a write begins it anew."""
    async with scene(shortage=ReplicaShortage(wait_s=0.3)) as s:
        s.old.answer = refused(SHORT)
        with pytest.raises(StoreUnavailable):
            await s.store.run("test/once", [], [])
        sent = len(s.old.seen)

        for _ in range(3):
            with pytest.raises(StoreUnavailable) as raised:
                await s.store.run("test/once", [], [])

        assert (len(s.old.seen), raised.value.outcome) == (sent + 3, "rejected")
        s.old.answer = lambda _: 1
        await s.store.run("test/once", [], [])
        s.old.answer = short_for(2)
        assert await s.store.run("test/once", [], []) == [1]


async def test_a_shortage_of_which_nothing_was_heard_for_long_is_over() -> None:
    """It ended without a write, so nothing said so: the first write of a later one waits inside its deadline."""
    async with scene(shortage=ReplicaShortage(wait_s=0.05)) as s:
        s.old.answer = refused(SHORT)
        with pytest.raises(StoreUnavailable):
            await s.store.run("test/once", [], [])
        await asyncio.sleep(0.1)
        s.old.answer = short_for(2)

        assert await s.store.run("test/once", [], []) == [1]


async def test_a_call_above_the_bound_is_sent_once() -> None:
    """There is no place for it to wait, so it is refused; it is not sent a second time without a pause."""
    async with scene(shortage=ReplicaShortage(wait_s=60.0, waiting_max=1, jitter=long_pauses)) as s:
        s.old.answer = refused(SHORT)
        waiting = asyncio.ensure_future(s.store.run("test/again", [], []))
        await s.old.until(lambda: len(s.old.seen) == 1)

        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/again", [], [])

        assert (raised.value.outcome, len(s.old.seen)) == ("rejected", 2)
        waiting.cancel()


async def test_closing_a_store_ends_the_calls_that_wait_for_a_replica() -> None:
    """They end at once, and say why."""
    async with scene(jitter=long_pauses) as s:
        s.old.answer = refused(SHORT)
        calls = [asyncio.ensure_future(s.store.run("test/once", [], [])) for _ in range(3)]
        await s.old.until(lambda: len(s.old.seen) == 3)
        await asyncio.sleep(0.05)

        await s.store.aclose()

        await ended_because_closed(calls, "rejected")


async def test_an_impatient_script_does_not_wait() -> None:
    """What a caller can do without is refused at once, while others wait."""
    async with scene(shortage=ReplicaShortage(impatient={"test/once"})) as s:
        s.old.answer = short_for(2)

        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/once", [], [])

        assert (raised.value.outcome, len(s.old.seen)) == ("rejected", 1)
        assert await s.store.run("test/again", [], []) == [1]


async def test_the_number_of_calls_that_wait_is_bounded() -> None:
    """Those above the bound are refused at once; a place is free again when a call leaves, cancelled or not."""
    shortage = ReplicaShortage(wait_s=60.0, waiting_max=2, jitter=long_pauses)
    deadline_s = asyncio.get_running_loop().time() + 60

    async def wait() -> bool:
        return await shortage.wait("test/once", shortage.pauses(), deadline_s)

    waiting = [asyncio.ensure_future(wait()) for _ in range(2)]
    await asyncio.sleep(0)

    assert not await wait()
    waiting[0].cancel()
    await asyncio.wait({waiting[0]})
    waiting.append(asyncio.ensure_future(wait()))
    await asyncio.sleep(0)
    shortage.end()

    assert await asyncio.gather(*waiting[1:]) == [True, True]
    assert waiting[0].cancelled()


async def set_needed(world: StoreWorld, replicas: int) -> None:
    """Set how many replicas the server needs to write; it has none."""
    await world.command("limits", "CONFIG", "SET", "min-replicas-to-write", replicas)


@pytest.fixture
async def short_world(embedded: StoreWorld) -> AsyncIterator[StoreWorld]:
    await set_needed(embedded, 1)
    yield embedded
    await set_needed(embedded, 0)


async def test_a_take_waits_for_a_replica(short_world: StoreWorld) -> None:
    """A shortage that ends inside the deadline costs a take time, and nothing else."""
    limits = limiter_with(short_world, {"api": "5/minute"})
    take = asyncio.ensure_future(limits.take("api", "ada"))
    await asyncio.sleep(0.1)
    assert not take.done()

    await set_needed(short_world, 0)

    decision = await take
    assert (decision.degraded, decision.limits[0].remaining) == (False, 4)


async def test_a_take_that_waited_in_vain_follows_its_outage_rule(short_world: StoreWorld) -> None:
    """Takes that queue behind it are decided inside their deadline too, and the store has charged none of them."""
    stores = open_stores(urls_by_store(short_world.url, {}), SCRIPTS, short_world.metrics, deadline_s=0.3)
    limits = Limiter(
        stores.limits, {"api": parse_policy("api", "900/minute")}, short_world.keyring, short_world.metrics
    )
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    decisions = await asyncio.gather(*(limits.take("api", "ada") for _ in range(900)))

    assert loop.time() - began_s < 0.6
    assert all(decision.degraded for decision in decisions)
    await set_needed(short_world, 0)
    assert (await limits.peek("api", "ada")).limits[0].remaining == 900
    await stores.aclose()


async def test_a_cached_result_is_loaded_at_once(short_world: StoreWorld) -> None:
    """A read of the cache writes, so it cannot be served; it is a bypass without waiting. An invalidation waits."""
    cache = Cache(short_world.stores.cache, short_world.keyring, short_world.metrics)
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    async def load() -> str:
        return "value"

    found = await cache.fetch("k", load)

    assert (found.value, found.status) == ("value", "BYPASS")
    assert loop.time() - began_s < 0.3
    for verb in (cache.fetch("k", load, fresh=True), cache.get("k"), cache.set("k", "value"), cache.look_up("k")):
        with suppress(StoreUnavailable):
            await verb
    assert loop.time() - began_s < 0.6
    invalidation = asyncio.ensure_future(cache.invalidate("k"))
    await asyncio.sleep(0.05)
    await set_needed(short_world, 0)
    assert await invalidation is False


def test_impatient_scripts_exist() -> None:
    """Each is a script of ours: a name that was changed would make its callers wait."""
    assert set(SCRIPTS) >= IMPATIENT


def test_of_the_cache_only_invalidations_and_queued_writes_wait() -> None:
    """The other callers have a value or load one; what is for operators waits as everything else does."""
    cache = {name for name in SCRIPTS if name.startswith("cache/")}
    patient = {"invalidate", "invalidate_tags", "queue_write", "next_write", "end_write", "probe", "stats", "sweep"}

    assert cache - IMPATIENT == {f"cache/{name}" for name in patient}
