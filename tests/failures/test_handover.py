"""What happens to calls when another server becomes the primary."""

from __future__ import annotations

import asyncio

import pytest

from tests.failures.fake_sentinel import FakeSentinel
from tests.failures.primaries import SCRIPTS, Primary, Scene, answered, at, ended_because_closed, refused, scene
from tollhouse.errors import StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.stores.discovery.primary_history import FailoverPause, Generation
from tollhouse.stores.discovery.sentinel_resolver import SentinelResolver
from tollhouse.stores.store import Store
from tollhouse.stores.transport.connection import IN_FLIGHT_MAX
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.urls import SentinelService, StoreUrl

GONE = "REDIRECT 127.0.0.1:1"


async def under_way(s: Scene, *names: str) -> list[asyncio.Task[list[object]]]:
    """Send calls to the old primary, and return while they are unanswered."""
    s.old.holding = True
    calls = [asyncio.ensure_future(s.store.run(name, [], [])) for name in names]
    await s.old.until(lambda: len(s.old.seen) == len(names))
    return calls


@pytest.mark.parametrize("error", [GONE, "READONLY You can't write against a read only replica."])
@pytest.mark.parametrize("name", ["test/once", "test/again"])
async def test_what_the_old_primary_refuses_the_new_one_does(error: str, name: str) -> None:
    """A refusal of a former primary counts: nothing ran, and the call goes to its successor."""
    async with scene() as s:
        (call,) = await under_way(s, name)
        s.old.answer = refused(error)

        s.locator.move(s.new)
        s.old.release()

        assert await call == [1]
        assert s.new.verbs() == ["EVALSHA"]


async def test_a_reply_of_the_former_primary_is_discarded() -> None:
    """A call that a former primary answered is ambiguous: what it did there is about to be lost."""
    async with scene() as s:
        (call,) = await under_way(s, "test/once")

        s.locator.move(s.new)
        s.old.release()

        with pytest.raises(StoreUnavailable) as raised:
            await call
        assert raised.value.outcome == "ambiguous"
        assert s.new.verbs() == []


async def test_an_idempotent_call_is_run_again_by_the_new_primary() -> None:
    """An idempotent call that only the old primary answered is sent to the new one, whose answer counts."""
    async with scene() as s:
        (call,) = await under_way(s, "test/again")
        s.new.answer = lambda _: 2

        s.locator.move(s.new)
        s.old.release()

        assert await call == [2]


async def test_nothing_is_sent_to_a_former_primary() -> None:
    """After a new generation calls go to the new primary at once, though replies of the old one are due."""
    async with scene() as s:
        (waiting,) = await under_way(s, "test/once")

        s.locator.move(s.new)
        assert await s.store.run("test/once", [], []) == [1]

        assert not waiting.done()
        assert len(s.old.seen) == 1
        s.old.answer = refused(GONE)
        s.old.release()
        assert await waiting == [1]
        assert s.new.verbs() == ["EVALSHA"] * 2


async def test_an_idle_connection_to_a_former_primary_closes_at_once() -> None:
    """When no reply is due, the connection to the old primary closes with the new generation."""
    async with scene() as s:
        await s.store.run("test/once", [], [])

        s.locator.move(s.new)

        await s.old.until(lambda: not s.old.connections)


async def test_a_connection_closes_when_it_is_drained() -> None:
    """The connection to the old primary closes with the last reply that is due, before its grace is over."""
    async with scene() as s:
        calls = await under_way(s, "test/again", "test/again")
        s.locator.move(s.new)

        s.old.release(1)
        assert await calls[0] == [1]
        assert len(s.old.connections) == 1
        s.old.release()

        assert await calls[1] == [1]
        await s.old.until(lambda: not s.old.connections)


async def test_a_connection_drains_for_a_bounded_time() -> None:
    """A call that the old primary has not answered within the grace is ambiguous, and the connection closes."""
    async with scene(drain_s=0.02) as s:
        (call,) = await under_way(s, "test/once")

        s.locator.move(s.new)

        with pytest.raises(StoreUnavailable) as raised:
            await call
        assert raised.value.outcome == "ambiguous"
        await s.old.until(lambda: not s.old.connections)


async def test_one_refusal_does_not_cut_off_the_others() -> None:
    """When a primary steps down, every call that it refuses is sent to the new one, not only the first."""
    async with scene() as s:
        calls = await under_way(s, "test/once", "test/once", "test/once")
        s.old.answer = refused(GONE)
        s.locator.address = at(s.new)

        s.old.release(1)
        assert await calls[0] == [1]
        s.old.release()

        assert await asyncio.gather(*calls) == [[1]] * 3
        assert len(s.new.seen) == 3


async def test_closing_a_store_closes_what_it_drains() -> None:
    """A store that is closed during a failover closes the draining connection too, without waiting for its grace."""
    async with scene(drain_s=60) as s:
        (call,) = await under_way(s, "test/once")
        s.locator.move(s.new)
        await s.store.run("test/once", [], [])

        await s.store.aclose()

        with pytest.raises(StoreUnavailable) as raised:
            await call
        assert raised.value.outcome == "ambiguous"


async def test_the_same_primary_under_a_new_generation_is_kept() -> None:
    """A generation that names the primary in use costs no connection."""
    async with scene() as s:
        await s.store.run("test/once", [], [])

        s.locator.move(s.old)

        assert await s.store.run("test/once", [], []) == [1]
        assert s.old.accepted == 1


async def test_a_failover_pauses_calls_until_there_is_a_new_primary() -> None:
    """Calls that arrive during a failover pause are not sent, and then go to the new primary."""
    async with scene() as s:
        await s.store.run("test/once", [], [])
        s.locator.announce(FailoverPause(wait_s=5))
        call = asyncio.ensure_future(s.store.run("test/once", [], []))
        await ticks()
        assert (len(s.old.seen), s.new.accepted) == (1, 0)

        s.locator.move(s.new)

        assert await call == [1]
        assert (len(s.old.seen), len(s.new.seen)) == (1, 1)


async def test_a_failover_that_is_aborted_resumes_calls() -> None:
    """When a failover is aborted, the calls that waited go to the old primary."""
    async with scene() as s:
        await s.store.run("test/once", [], [])
        s.locator.announce(FailoverPause(wait_s=5))
        call = asyncio.ensure_future(s.store.run("test/once", [], []))
        await ticks()

        s.locator.announce(FailoverPause(wait_s=0))
        s.locator.announce(FailoverPause(wait_s=0))

        assert await call == [1]
        assert len(s.old.seen) == 2


async def test_a_pause_ends_by_itself_and_is_not_extended() -> None:
    """A failover pause ends after its time, however often it was announced meanwhile."""
    async with scene() as s:
        s.locator.announce(FailoverPause(wait_s=0.02))
        s.locator.announce(FailoverPause(wait_s=60))

        assert await s.store.run("test/once", [], []) == [1]


async def test_an_earlier_pause_does_not_end_a_later_one() -> None:
    """The timer of a pause that was called off does not end the next one."""
    async with scene() as s:
        s.locator.announce(FailoverPause(wait_s=0.01))
        s.locator.announce(FailoverPause(wait_s=0))
        s.locator.announce(FailoverPause(wait_s=60))
        call = asyncio.ensure_future(s.store.run("test/once", [], []))

        done, _ = await asyncio.wait({call}, timeout=0.05)

        assert not done
        s.locator.move(s.new)
        assert await call == [1]


async def test_a_call_is_not_paused_longer_than_the_bound() -> None:
    """A call that waited in vain for a new primary was not sent, and says so."""
    async with scene(failover_wait_s=0.02) as s:
        s.locator.announce(FailoverPause(wait_s=60))

        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/once", [], [])

        assert raised.value.outcome == "not-sent"
        assert s.old.seen == []


async def test_a_call_is_not_paused_past_its_deadline() -> None:
    """A call whose deadline comes before the bound of the pause ends with its deadline, not sent."""
    async with scene(deadline_s=0.05, failover_wait_s=20) as s:
        s.locator.announce(FailoverPause(wait_s=60))
        began_s = asyncio.get_running_loop().time()

        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/once", [], [])

        assert raised.value.outcome == "not-sent"
        assert asyncio.get_running_loop().time() - began_s < 10


async def test_sentinels_move_a_store() -> None:
    """A promotion that a Sentinel announces pauses calls, and sends them to the replica once it is a primary."""
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
    """Run everything that is ready."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_move_ends_an_attempt_at_a_server_that_hangs() -> None:
    """A call that waits for a handshake with a hanging server gets its answer from the new primary, at once."""
    async with scene() as s:
        s.old.mute = True
        call = asyncio.ensure_future(s.store.run("test/once", [], []))
        await s.old.until(lambda: s.old.accepted == 1)

        s.locator.move(s.new)

        assert await call == [1]
        assert s.new.verbs() == ["EVALSHA"]


async def test_a_server_that_was_demoted_answers_no_reads_for_long() -> None:
    """A replica runs what only reads, from data that may be old: its role soon shows that it is one."""
    async with scene(role_check_s=0.0) as s:
        await s.store.run("test/read", [], [])
        s.old.role = "slave"
        s.locator.address = at(s.new)

        await s.store.run("test/read", [], [])
        await s.old.until(lambda: not s.old.connections)

        assert await s.store.run("test/read", [], []) == [1]
        assert s.new.verbs() == ["EVALSHA"]
        assert [hint.why for _, hint in s.locator.suspected] == ["readonly", "eof"]


async def test_an_account_that_may_not_ask_for_the_role_reads_all_the_same() -> None:
    """Without the right to run ROLE the server is believed."""
    async with scene(role_check_s=0.0) as s:
        s.old.may_ask_role = False

        for _ in range(3):
            assert await s.store.run("test/read", [], []) == [1]

        assert (s.old.accepted, s.locator.suspected) == (1, [])


async def test_the_role_is_not_asked_for_with_each_read() -> None:
    """Reads cost one call; the role is asked for once in a while, after the handshake has told it."""
    async with scene(role_check_s=60.0) as s:
        await asyncio.gather(*(s.store.run("test/read", [], []) for _ in range(20)))
        assert s.old.roles == 0


async def test_closing_a_store_ends_the_calls_that_wait_for_a_primary() -> None:
    """They end at once, say why, and connect to nothing any more."""
    async with scene() as s:
        await s.store.run("test/once", [], [])
        s.locator.announce(FailoverPause(wait_s=5.0))
        s.old.drop()
        calls = [asyncio.ensure_future(s.store.run("test/once", [], [])) for _ in range(3)]
        await asyncio.sleep(0.01)

        await s.store.aclose()

        await ended_because_closed(calls)
        assert s.old.accepted == 1


async def test_closing_a_store_ends_the_calls_that_wait_for_a_connection() -> None:
    """They end at once, and say why."""
    async with scene() as s:
        s.old.mute = True
        calls = [asyncio.ensure_future(s.store.run("test/once", [], [])) for _ in range(3)]
        await s.old.until(lambda: s.old.accepted == 1)

        await s.store.aclose()

        await ended_because_closed(calls)


async def test_closing_a_store_ends_the_calls_that_wait_for_room() -> None:
    """They were not sent, and end at once with those that were."""
    async with scene() as s:
        await answered(s.store)
        s.old.holding = True
        sent = [asyncio.ensure_future(s.store.run("test/once", [], [])) for _ in range(IN_FLIGHT_MAX)]
        await asyncio.sleep(0.05)
        waiting = [asyncio.ensure_future(s.store.run("test/once", [], [])) for _ in range(10)]
        await asyncio.sleep(0.05)

        await s.store.aclose()

        await ended_because_closed(waiting)
        ends = await asyncio.gather(*sent, return_exceptions=True)
        assert {end.outcome for end in ends if isinstance(end, StoreUnavailable)} == {"ambiguous"}
