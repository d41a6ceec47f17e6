"""What happens to calls when another server becomes the primary."""

from __future__ import annotations

import asyncio

import pytest

from tests.failures.fake_sentinel import FakeSentinel
from tests.failures.primaries import SCRIPTS, Primary, Scene, at, refused, scene
from tollhouse.errors import StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.stores.discovery.primary_history import FailoverPause, Generation
from tollhouse.stores.discovery.sentinel_resolver import SentinelResolver
from tollhouse.stores.store import Store
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.redial import TIMING
from tollhouse.stores.urls import SentinelService, StoreUrl

GONE = "REDIRECT 127.0.0.1:1"


async def under_way(s: Scene, *names: str) -> list[asyncio.Task[list[object]]]:
    """Have calls sent to the old primary, which has not answered them."""
    s.old.holding = True
    calls = [asyncio.ensure_future(s.store.run(name, [], [])) for name in names]
    await s.old.until(lambda: len(s.old.seen) == len(names))
    return calls


@pytest.mark.parametrize("error", [GONE, "READONLY You can't write against a read only replica."])
@pytest.mark.parametrize("name", ["test/once", "test/again"])
async def test_what_the_old_primary_refuses_the_new_one_does(error: str, name: str) -> None:
    """A refusal of a primary that was left is believed: nothing ran, and the call goes to its successor."""
    async with scene() as s:
        (call,) = await under_way(s, name)
        s.old.answer = refused(error)

        s.finder.move(s.new)
        s.old.release()

        assert await call == [1]
        assert s.new.verbs() == ["EVALSHA"]


async def test_an_answer_of_the_old_primary_is_not_believed() -> None:
    """A take that a primary answered after it was left is ambiguous: what it did there is about to be lost."""
    async with scene() as s:
        (call,) = await under_way(s, "test/once")

        s.finder.move(s.new)
        s.old.release()

        with pytest.raises(StoreUnavailable, match="the server was replaced") as raised:
            await call
        assert raised.value.outcome == "ambiguous"
        assert s.new.verbs() == []


async def test_an_idempotent_call_is_run_again_by_the_new_primary() -> None:
    """An idempotent call that only the old primary answered is sent to the new one, whose answer counts."""
    async with scene() as s:
        (call,) = await under_way(s, "test/again")
        s.new.answer = lambda _: 2

        s.finder.move(s.new)
        s.old.release()

        assert await call == [2]


async def test_nothing_is_sent_to_a_primary_that_was_left() -> None:
    """After a new generation calls go to the new primary at once, though the old one still owes answers."""
    async with scene() as s:
        (waiting,) = await under_way(s, "test/once")

        s.finder.move(s.new)
        assert await s.store.run("test/once", [], []) == [1]

        assert not waiting.done()
        assert len(s.old.seen) == 1
        s.old.answer = refused(GONE)
        s.old.release()
        assert await waiting == [1]
        assert s.new.verbs() == ["EVALSHA"] * 2


async def test_a_primary_that_owes_nothing_is_left_at_once() -> None:
    """Where no answer is due the connection to the old primary ends with the new generation."""
    async with scene() as s:
        await s.store.run("test/once", [], [])

        s.finder.move(s.new)

        await s.old.until(lambda: not s.old.connections)


async def test_a_primary_is_left_when_it_has_answered_everything() -> None:
    """The connection to the old primary ends with the last answer that is due there, the grace notwithstanding."""
    async with scene() as s:
        calls = await under_way(s, "test/again", "test/again")
        s.finder.move(s.new)

        s.old.release(1)
        assert await calls[0] == [1]
        assert len(s.old.connections) == 1
        s.old.release()

        assert await calls[1] == [1]
        await s.old.until(lambda: not s.old.connections)


async def test_a_primary_that_does_not_answer_is_left_after_a_moment() -> None:
    """What the old primary has not answered within the grace is ambiguous, and the connection ends."""
    async with scene(drain_s=0.02) as s:
        (call,) = await under_way(s, "test/once")

        s.finder.move(s.new)

        with pytest.raises(StoreUnavailable, match="ambiguous"):
            await call
        await s.old.until(lambda: not s.old.connections)


async def test_one_refusal_does_not_cut_off_the_others() -> None:
    """Where a primary steps down, every call that it refuses is sent to the new one, not only the first."""
    async with scene() as s:
        calls = await under_way(s, "test/once", "test/once", "test/once")
        s.old.answer = refused(GONE)
        s.finder.address = at(s.new)

        s.old.release(1)
        assert await calls[0] == [1]
        s.old.release()

        assert await asyncio.gather(*calls) == [[1]] * 3
        assert len(s.new.seen) == 3


async def test_closing_a_store_closes_what_it_left() -> None:
    """A store that is closed during a handover ends the connection to the old primary too, and waits for no grace."""
    async with scene(drain_s=60) as s:
        (call,) = await under_way(s, "test/once")
        s.finder.move(s.new)
        await s.store.run("test/once", [], [])

        await s.store.aclose()

        with pytest.raises(StoreUnavailable, match="the connection ended"):
            await call


async def test_the_same_primary_under_a_new_generation_is_kept() -> None:
    """News that names the primary that is in use costs no connection."""
    async with scene() as s:
        await s.store.run("test/once", [], [])

        s.finder.move(s.old)

        assert await s.store.run("test/once", [], []) == [1]
        assert s.old.accepted == 1


async def test_a_handover_holds_calls_back_until_there_is_a_new_primary() -> None:
    """Calls that come during a handover are sent to no one, and then to the new primary."""
    async with scene() as s:
        await s.store.run("test/once", [], [])
        s.finder.tell(FailoverPause(wait_s=5))
        call = asyncio.ensure_future(s.store.run("test/once", [], []))
        await ticks()
        assert (len(s.old.seen), s.new.accepted) == (1, 0)

        s.finder.move(s.new)

        assert await call == [1]
        assert (len(s.old.seen), len(s.new.seen)) == (1, 1)


async def test_a_handover_that_is_called_off_lets_calls_go_on() -> None:
    """When a failover is given up the calls that were held back go to the old primary."""
    async with scene() as s:
        await s.store.run("test/once", [], [])
        s.finder.tell(FailoverPause(wait_s=5))
        call = asyncio.ensure_future(s.store.run("test/once", [], []))
        await ticks()

        s.finder.tell(FailoverPause(wait_s=0))
        s.finder.tell(FailoverPause(wait_s=0))

        assert await call == [1]
        assert len(s.old.seen) == 2


async def test_a_handover_ends_by_itself_and_is_not_extended() -> None:
    """After its time a handover holds nobody, however often it was announced meanwhile."""
    async with scene() as s:
        s.finder.tell(FailoverPause(wait_s=0.02))
        s.finder.tell(FailoverPause(wait_s=60))

        assert await s.store.run("test/once", [], []) == [1]


async def test_an_earlier_handover_does_not_end_a_later_one() -> None:
    """A handover that was called off has no say in when the next one ends."""
    async with scene() as s:
        s.finder.tell(FailoverPause(wait_s=0.01))
        s.finder.tell(FailoverPause(wait_s=0))
        s.finder.tell(FailoverPause(wait_s=60))
        call = asyncio.ensure_future(s.store.run("test/once", [], []))

        done, _ = await asyncio.wait({call}, timeout=0.05)

        assert not done
        s.finder.move(s.new)
        assert await call == [1]


async def test_a_call_is_not_held_longer_than_the_bound() -> None:
    """A call that waited `HELD_S` for a new primary in vain was not sent, and says so."""
    async with scene(failover_wait_s=0.02) as s:
        s.finder.tell(FailoverPause(wait_s=60))

        with pytest.raises(StoreUnavailable, match="the primary is being replaced") as raised:
            await s.store.run("test/once", [], [])

        assert raised.value.outcome == "not-sent"
        assert s.old.seen == []


async def test_a_call_is_not_held_past_its_deadline() -> None:
    """A call whose deadline is nearer than `HELD_S` ends with it, not sent."""
    async with scene(deadline_s=0.05) as s:
        s.finder.tell(FailoverPause(wait_s=60))
        began_s = asyncio.get_running_loop().time()

        with pytest.raises(StoreUnavailable, match="not-sent"):
            await s.store.run("test/once", [], [])

        assert asyncio.get_running_loop().time() - began_s < TIMING.failover_wait_s / 2


async def test_sentinels_move_a_store() -> None:
    """A promotion that a Sentinel announces holds calls back, and sends them to the replica once it is a primary."""
    old, new = [await Primary(name=name).open() for name in ("old", "new")]
    sentinel = await FakeSentinel(1).open()
    sentinel.watch(old.host)
    target = SentinelService(hosts=(sentinel.host,), service="main")
    resolver = SentinelResolver(target, Login(), Dialer())
    news: list[object] = []
    resolver.subscribe(news.append)
    store = Store("sessions", StoreUrl(target=target), resolver, SCRIPTS, Metrics(), deadline_s=5)
    try:
        await store.run("test/once", [], [])
        new.mute = True

        sentinel.announce_promotion(new.host, old.host)
        await new.until(lambda: new.accepted > 0)
        call = asyncio.ensure_future(store.run("test/once", [], []))
        await ticks()
        assert len(old.seen) == 1
        sentinel.watch(new.host, 1)
        new.mute = False
        new.drop()

        assert await call == [1]
        assert new.verbs().count("EVALSHA") == 1
        assert [type(one) for one in news] == [Generation, FailoverPause, Generation]
    finally:
        await store.aclose()
        await resolver.aclose()
        for listener in (old, new, sentinel.listener):
            await listener.close()


async def ticks() -> None:
    """Let whatever is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_move_ends_an_attempt_at_a_server_that_hangs() -> None:
    """A call that waits for a handshake with a hanging server gets its answer from the new primary, at once."""
    async with scene() as s:
        s.old.mute = True
        call = asyncio.ensure_future(s.store.run("test/once", [], []))
        await s.old.until(lambda: s.old.accepted == 1)

        s.finder.move(s.new)

        assert await call == [1]
        assert s.new.verbs() == ["EVALSHA"]
