"""The resolver of a Sentinel service: what it confirms, what it only suspects, and what it publishes."""

from __future__ import annotations

import asyncio

import pytest

from tests.failures.fake_sentinel import replica
from tests.failures.scenes import IMPATIENT, QUIET, RESTLESS, ROUND, Clock, Scene, scene, tcp
from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.locator import NoPrimary
from tollhouse.stores.urls import Host


async def test_no_address_is_used_unconfirmed() -> None:
    """A server that is named but reports that it is a replica is not the primary; callers wait until one is."""
    async with scene(timing=RESTLESS) as s:
        s.leave_no_primary()
        waiting = asyncio.ensure_future(s.located())
        await s.sentinels[0].listener.received(ROUND, 3)
        assert not waiting.done()
        assert "names none" in s.reason

        s.promote(0)

        assert await waiting == s.hosts[0]


async def test_a_replica_leads_to_its_primary() -> None:
    """A named server that is a replica leads to the primary it names, before any Sentinel names that one."""
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

        await s.until(lambda: "3 steps" in s.reason)

        waiting.cancel()


async def test_callers_are_not_sent_to_a_primary_that_became_a_replica() -> None:
    """When a regular round finds that the primary became a replica, callers wait for the next primary."""
    async with scene(timing=RESTLESS) as s:
        await s.started()

        s.leave_no_primary()
        await s.until(lambda: "names none" in s.reason)
        waiting = asyncio.ensure_future(s.located())
        await s.sentinels[0].listener.received(ROUND, 3)
        assert not waiting.done()
        s.promote(1)
        s.sentinels[0].watch(s.hosts[1], epoch=1)

        assert await waiting == s.hosts[1]


async def test_a_doubt_is_a_reason_until_it_is_cleared() -> None:
    """From a hint until the next confirmation the reason names the service and the hint."""
    async with scene() as s:
        await s.started()

        s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="noreplicas"))

        assert "'main'" in s.reason
        assert "noreplicas" in s.reason


async def test_a_redirection_is_tried_first() -> None:
    """The server to which the old primary redirects is adopted if it is a primary, whatever the Sentinels name."""
    async with scene() as s:
        await s.started()
        s.promote(1)

        s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="redirect", candidate=s.hosts[1]))

        assert (await s.next_generation()).why == "redirected"


async def test_replicas_that_could_be_promoted_are_counted() -> None:
    """Every replica counts that some Sentinel considers up and whose priority is above 0; the new primary does not."""
    async with scene(timing=RESTLESS) as s:
        await s.started()
        assert s.resolver.health().promotable == 2
        third = ("127.0.0.9", 6379)
        for sentinel in s.sentinels:
            sentinel.replicas = [
                replica(s.hosts[1]),
                replica(s.hosts[2], flags="s_down,slave,disconnected"),
                replica(third, priority=0),
            ]
        await s.until(lambda: s.resolver.health().promotable == 1)

        for sentinel in s.sentinels:
            sentinel.replicas[1] = replica(s.hosts[2])
        await s.until(lambda: s.resolver.health().promotable == 2)
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.next_generation()

        assert s.resolver.health().promotable == 1
        assert s.resolver.health().quorum == 2


async def test_a_replica_that_comes_back_matters_at_once() -> None:
    """States are believed while nothing is in doubt: the return of a replica is announced, and a doubt."""
    async with scene(timing=QUIET) as s:
        for sentinel in s.sentinels:
            sentinel.replicas[1] = replica(s.hosts[2], flags="s_down,slave,disconnected")
        await s.started()
        await s.until(lambda: s.resolver.health().successors.wanted == 1)

        for sentinel in s.sentinels:
            sentinel.listener.silent = True
        s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="eof"))

        assert s.resolver.health().successors.wanted == 2


def former_primary(host: Host) -> dict[str, str]:
    """Return the entry of a server that Sentinel lists as a replica, and that reports the primary role still."""
    return replica(host) | {"role-reported": "master", "slave-repl-offset": "0"}


def offsets_of(s: Scene) -> set[int | None]:
    """Return the offsets that the resolver knows of former primaries, by each Sentinel's list."""
    return {one.written for each in s.resolver.health().successors.candidates for one in each if one.deposed}


async def test_a_former_primary_is_asked_for_its_offset() -> None:
    """Its offset is asked for with every poll; while it does not answer, or follows by now, none is known."""
    async with scene(timing=IMPATIENT) as s:
        for sentinel in s.sentinels:
            sentinel.replicas[1] = former_primary(s.hosts[2])
        s.promote(2)
        await s.started()
        await s.until(lambda: offsets_of(s) == {100})

        s.replicate(2, of=0)
        await s.until(lambda: offsets_of(s) == {None})
        s.promote(2)
        await s.until(lambda: offsets_of(s) == {100})
        s.servers[2].listener.silent = True
        await s.until(lambda: offsets_of(s) == {None})
        for sentinel in s.sentinels:
            sentinel.replicas[1] = replica(s.hosts[2])

        await s.until(lambda: offsets_of(s) == set())


async def test_states_are_believed_for_as_long_as_they_are_news() -> None:
    """What a poll said is not believed when no other poll followed it in time."""
    clock = Clock()
    async with scene(timing=QUIET, clock=clock) as s:
        for sentinel in s.sentinels:
            sentinel.replicas[1] = replica(s.hosts[2], flags="s_down,slave,disconnected")
        await s.started()
        assert s.resolver.health().successors.wanted == 1

        clock.now_s += QUIET.news_s + 1

        assert s.resolver.health().successors.wanted == 2


async def test_nothing_succeeds_a_primary_that_sentinels_have_not_named() -> None:
    """From the promotion on it is unknown what could be promoted next, until the Sentinels name the new primary."""
    async with scene(timing=RESTLESS) as s:
        await s.started()
        assert s.resolver.health().successors is not None
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.next_generation()

        assert s.resolver.health().successors is None
        s.all_name(s.hosts[1], epoch=1)
        await s.until(lambda: s.resolver.health().successors is not None)


async def test_nothing_succeeds_a_primary_that_only_a_minority_has_named() -> None:
    """If the Sentinel that led the failover is lost, the others may go on with the former primary: a majority decides.

    Once it has, a minority is enough.
    """
    async with scene(timing=RESTLESS) as s:
        await s.started()
        s.promote(1)
        s.sentinels[0].watch(s.hosts[1], 1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.next_generation()
        await s.rounds(2)

        assert s.resolver.health().successors is None
        s.all_name(s.hosts[1], epoch=1)
        await s.until(lambda: s.resolver.health().successors is not None)
        for sentinel in s.sentinels[1:]:
            await sentinel.listener.close()
        await s.until(lambda: len(s.resolver.health().silent) == 2)
        assert s.resolver.health().successors is not None


async def test_when_no_sentinel_replies_every_known_replica_matters() -> None:
    """When the Sentinels fall silent, the replicas that they knew matter, up or down."""
    async with scene(timing=RESTLESS) as s:
        for sentinel in s.sentinels:
            sentinel.replicas[1] = replica(s.hosts[2], flags="s_down,slave,disconnected")
        await s.started()
        await s.until(lambda: s.resolver.health().successors.wanted == 1)

        for sentinel in s.sentinels:
            await sentinel.listener.close()

        await s.until(lambda: s.resolver.health().successors.wanted == 2)


async def test_replicas_that_are_neither_up_nor_down_are_looked_at_often() -> None:
    """While a Sentinel is disconnected from a replica and has not called it down, rounds go on as in doubt."""
    async with scene(timing=QUIET) as s:
        for sentinel in s.sentinels:
            sentinel.replicas[1] = replica(s.hosts[2], flags="slave,disconnected")
        await s.started()
        await s.sentinels[0].listener.received("SENTINEL REPLICAS", 3)

        for sentinel in s.sentinels:
            sentinel.replicas[1] = replica(s.hosts[2])

        await s.until(lambda: s.resolver.health().promotable == 2)


async def test_another_name_of_the_primary_is_no_change() -> None:
    """Sentinels that name the present primary by host name instead of address do not make a new generation."""
    async with scene(timing=RESTLESS) as s:
        await s.started()

        s.all_name(("localhost", s.hosts[0][1]), epoch=1)
        await s.rounds(3)

        assert s.generations.empty()
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], ("localhost", s.hosts[0][1]))
        assert (await s.next_generation()).why == "promoted"


async def test_a_silent_server_is_given_up() -> None:
    """A server that accepts and never replies is named in the reason, and the next candidate is asked."""
    async with scene(timing=IMPATIENT) as s:
        s.servers[0].listener.silent = True
        waiting = asyncio.ensure_future(s.located())
        await s.until(lambda: "50 ms" in s.reason)

        s.promote(1)
        s.sentinels[0].watch(s.hosts[1], epoch=1)

        assert await waiting == s.hosts[1]


async def test_a_closed_resolver_leaves_nothing_behind() -> None:
    """After aclose no task and no connection is left, and callers get NoPrimary; closing twice is harmless."""
    before = asyncio.all_tasks()
    async with scene(timing=RESTLESS) as s:
        await s.started()
        waiting = asyncio.ensure_future(s.located())
        s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="eof"))
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.servers[1].listener.received("ROLE")
        await waiting

        for sentinel in s.sentinels:
            sentinel.announce_promotion(s.hosts[2], s.hosts[0])  # arrives while everything is being closed
        await s.resolver.aclose()
        await s.resolver.aclose()

        with pytest.raises(NoPrimary, match="closed"):
            await s.located()
        await s.until(lambda: not any(fake.listener.connections for fake in (*s.sentinels, *s.servers)))
        assert asyncio.all_tasks() == before
