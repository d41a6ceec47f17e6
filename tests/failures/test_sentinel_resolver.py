"""The resolver and its callers: what is confirmed, what is only suspected, and who is told."""

from __future__ import annotations

import asyncio

import pytest

from tests.failures.fake_sentinel import PATIENCE_S, replica
from tests.failures.scenes import RESTLESS, ROUND, Clock, scene, tcp
from tollhouse.stores.discovery.failover_hints import FailoverHint, HintReason
from tollhouse.stores.discovery.primary_history import PrimaryEvent
from tollhouse.stores.discovery.sentinel_resolver import NoPrimary, SentinelResolver
from tollhouse.stores.discovery.timing import ResolverTiming, RoundSchedule
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.urls import SentinelService


async def test_the_primary_is_found_and_confirmed() -> None:
    """The first address is the one that the Sentinels name and whose server says that it is a primary."""
    async with scene() as s:
        assert await s.located() == s.hosts[0]

        generation = await s.next_generation()
        assert s.resolver.generation == generation
        assert (generation.number, generation.why, generation.epoch) == (1, "first", 0)
        assert s.servers[0].listener.counted["ROLE"] >= 1
        assert s.resolver.reason == ""


async def test_no_address_is_used_unconfirmed() -> None:
    """A server that is named but says that it is a replica is not the primary; callers wait until one is."""
    async with scene(timing=RESTLESS) as s:
        s.servers[0].follows = ("", 0)
        waiting = asyncio.ensure_future(s.located())
        await s.sentinels[0].listener.asked(ROUND, 3)
        assert not waiting.done()
        assert "is no primary, and names none" in s.resolver.reason

        s.promote(0)

        assert await waiting == s.hosts[0]


async def test_a_replica_leads_to_its_primary() -> None:
    """A named server that says whose replica it is leads there, before any Sentinel names the new primary."""
    async with scene() as s:
        await s.started()
        s.promote(1)
        s.replicate(0, of=1)

        s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="eof"))

        assert (await s.next_generation()).why == "followed"
        assert await s.located() == s.hosts[1]


async def test_servers_that_follow_each_other_lead_nowhere() -> None:
    """Two replicas of each other are no primary, and are not asked for ever."""
    async with scene() as s:
        s.replicate(0, of=1)
        waiting = asyncio.ensure_future(s.located())

        await s.until(lambda: "leads to no primary in 3 steps" in s.resolver.reason)

        waiting.cancel()


@pytest.mark.parametrize("why", ["eof", "connect", "stall", "readonly", "noreplicas", "masterdown", "loading"])
async def test_a_failed_call_makes_the_resolver_look(why: HintReason) -> None:
    """After a signal callers wait until the primary is confirmed anew; if it is the same, nothing changes."""
    async with scene() as s:
        await s.started()
        looked = s.servers[0].listener.counted["ROLE"]

        s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why=why))
        assert s.resolver.reason

        assert await s.located() == s.hosts[0]
        assert s.servers[0].listener.counted["ROLE"] > looked
        assert s.told.empty()


async def test_a_primary_that_is_one_no_more_is_noticed_without_a_signal() -> None:
    """Where the regular round finds that the primary became a replica, callers are not sent there any more."""
    async with scene(timing=RESTLESS) as s:
        await s.started()

        s.servers[0].follows = ("", 0)
        await s.until(lambda: "is no primary, and names none" in s.resolver.reason)
        waiting = asyncio.ensure_future(s.located())
        await s.sentinels[0].listener.asked(ROUND, 3)
        assert not waiting.done()
        s.promote(1)
        s.sentinels[0].watch(s.hosts[1], epoch=1)

        assert await waiting == s.hosts[1]


async def test_a_doubt_is_told_until_it_is_cleared() -> None:
    """From a signal until the next confirmation the reason says what made the primary doubtful."""
    async with scene() as s:
        await s.started()

        s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="noreplicas"))

        assert s.resolver.reason == "the primary of 'main' is in doubt: noreplicas"
        assert s.resolver.health().reason == s.resolver.reason


async def test_doubts_without_end_keep_nobody_waiting() -> None:
    """A caller gets the address that was confirmed after its call began, though new doubts keep coming."""
    async with scene(timing=RESTLESS) as s:
        await s.started()

        async def doubting() -> None:
            while True:
                s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="noreplicas"))
                await asyncio.sleep(0)

        doubts = asyncio.ensure_future(doubting())

        assert await s.located() == s.hosts[0]
        doubts.cancel()


async def test_a_redirection_is_tried_first() -> None:
    """The server that the old primary sends us to is adopted if it is a primary, whatever the Sentinels name."""
    async with scene() as s:
        await s.started()
        s.promote(1)

        s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="redirect", candidate=s.hosts[1]))

        assert (await s.next_generation()).why == "redirected"


async def test_signals_of_the_past_are_ignored() -> None:
    """A failed call on another server than the present primary, or before there is one, says nothing about it."""
    async with scene() as s:
        s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="eof"))
        await s.started()

        s.resolver.suspect(tcp(s.hosts[1]), FailoverHint(why="readonly"))

        assert s.resolver.reason == ""


async def test_signals_without_end_do_not_make_a_storm() -> None:
    """A reason that is given again and again hastens one round, and then waits for those that are due."""
    clock = Clock()
    rhythm = RoundSchedule(ResolverTiming(pause_min_s=60.0), clock, lambda low, _: low)
    rhythm.request_round("noreplicas")
    await rhythm.wait(60.0)

    for _ in range(1_000):
        rhythm.request_round("noreplicas")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await rhythm.wait(60.0)

    clock.now_s += ResolverTiming().repeat_s
    rhythm.request_round("noreplicas")
    async with asyncio.timeout(PATIENCE_S):
        await rhythm.wait(60.0)


async def test_replicas_that_could_be_promoted_are_counted() -> None:
    """Counted is every replica that some Sentinel holds up and of a priority above 0, the new primary not."""
    async with scene(timing=RESTLESS) as s:
        await s.started()
        assert s.resolver.promotable() == 2
        third = ("127.0.0.9", 6379)
        for sentinel in s.sentinels:
            sentinel.replicas = [
                replica(s.hosts[1]),
                replica(s.hosts[2], flags="s_down,slave,disconnected"),
                replica(third, priority=0),
            ]
        await s.until(lambda: s.resolver.promotable() == 1)

        for sentinel in s.sentinels:
            sentinel.replicas[1] = replica(s.hosts[2])
        await s.until(lambda: s.resolver.promotable() == 2)
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.next_generation()

        assert s.resolver.promotable() == 1
        assert s.resolver.health().quorum == 2


async def test_another_name_of_the_primary_is_no_change() -> None:
    """Sentinels that name the present primary by host name instead of address do not make a new generation."""
    async with scene(timing=RESTLESS) as s:
        await s.started()

        s.all_name(("localhost", s.hosts[0][1]), epoch=1)
        await s.rounds(3)

        assert s.told.empty()
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], ("localhost", s.hosts[0][1]))
        assert (await s.next_generation()).why == "promoted"


async def test_a_silent_server_is_not_waited_for() -> None:
    """A server that accepts and never answers is told as such, and the next candidate is asked."""
    async with scene(timing=ResolverTiming(timeout_s=0.05, pause_min_s=0.002, pause_max_s=0.01, interval_s=0.01)) as s:
        s.servers[0].listener.silent = True
        waiting = asyncio.ensure_future(s.located())
        await s.until(lambda: "no answer within 50 ms" in s.resolver.reason)

        s.promote(1)
        s.sentinels[0].watch(s.hosts[1], epoch=1)

        assert await waiting == s.hosts[1]


async def test_a_closed_resolver_leaves_nothing_behind() -> None:
    """After aclose no task and no connection is left, and callers are told; closing twice, or unused, is harmless."""
    before = asyncio.all_tasks()
    async with scene(timing=RESTLESS) as s:
        await s.started()
        waiting = asyncio.ensure_future(s.located())
        s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="eof"))
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.servers[1].listener.asked("ROLE")
        await waiting

        for sentinel in s.sentinels:
            sentinel.announce_promotion(s.hosts[2], s.hosts[0])  # arrives while all is being ended
        await s.resolver.aclose()
        await s.resolver.aclose()

        with pytest.raises(NoPrimary, match="was closed"):
            await s.located()
        await s.until(lambda: not any(fake.listener.connections for fake in (*s.sentinels, *s.servers)))
        assert asyncio.all_tasks() == before


async def test_closing_lets_waiting_callers_go() -> None:
    """A caller that waits for a primary is told when the resolver is closed."""
    async with scene() as s:
        s.servers[0].follows = ("", 0)
        waiting = asyncio.ensure_future(s.resolver.locate())
        await s.sentinels[0].listener.asked(ROUND)

        await s.resolver.aclose()

        with pytest.raises(NoPrimary, match="was closed"):
            await waiting


async def test_closing_what_never_ran_is_harmless() -> None:
    """A resolver that nobody asked has nothing to end, and connects to nothing afterwards."""
    resolver = SentinelResolver(SentinelService(hosts=(("127.0.0.1", 1),), service="main"), Login(), Dialer())

    await resolver.aclose()

    with pytest.raises(NoPrimary, match="was closed"):
        await resolver.locate()


async def test_a_defect_is_not_hidden() -> None:
    """A subscriber that raises ends the resolver, and callers meet its error instead of waiting for ever."""

    def broken(news: PrimaryEvent) -> None:
        raise RuntimeError(f"cannot bear {type(news).__name__}")

    async with scene() as s:
        s.resolver.subscribe(broken)
        assert await s.located() == s.hosts[0]  # confirmed before the subscriber raised

        with pytest.raises(ExceptionGroup) as raised:
            await s.located()

    assert raised.group_contains(RuntimeError, match="cannot bear Generation")
