"""A failover while it happens: the replica that is promoted, the primary that was left, and the way back."""

from __future__ import annotations

import pytest

from tests.failures.scenes import QUIET, RESTLESS, Clock, of_the_primary, scene, switched, tcp
from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.primary_history import Generation, PrimaryEvent
from tollhouse.stores.discovery.timing import ResolverTiming


@pytest.mark.parametrize("channel", ["+selected-slave", "+failover-state-wait-promotion", "+promoted-slave"])
async def test_a_promotion_is_chased(channel: str) -> None:
    """A replica told to take over is the primary when it says so, though the old one and every Sentinel disagree.

    Until then callers are asked to wait a moment: what they wrote to the old primary now would be lost.
    """
    async with scene() as s:
        await s.started()

        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0], channel)
        await s.servers[1].listener.asked("ROLE", 2)
        assert s.told.empty()
        s.promote(1)

        assert (await s.next_generation()).why == "promoted"
        assert await s.located() == s.hosts[1]
        assert s.waits_s == [ResolverTiming().failover_pause_s]
        await s.rounds(5)
        assert s.told.empty()


async def test_a_replica_that_is_promoted_is_told_to_hurry() -> None:
    """The chosen replica is asked to acknowledge what it has, again and again: a handover waits for that."""
    async with scene() as s:
        await s.started()

        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0], "+selected-slave")
        await s.servers[1].listener.asked("REPLCONF", 3)
        s.promote(1)

        assert (await s.next_generation()).why == "promoted"


async def test_a_replica_that_may_not_be_hurried_is_chased_all_the_same() -> None:
    """Where the account may not ask for acknowledgements the question is put once, and the chase goes on."""
    async with scene() as s:
        await s.started()
        s.servers[1].listener.allows_getack = False

        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0], "+selected-slave")
        await s.servers[1].listener.asked("ROLE", 5)
        s.promote(1)

        assert (await s.next_generation()).why == "promoted"
        assert s.servers[1].listener.counted["REPLCONF"] == 1


async def test_calls_are_held_when_sentinel_notices_the_new_primary() -> None:
    """Sentinel ends all connections of a primary when it notices it: calls are held for that moment, once."""
    async with scene() as s:
        await s.started()
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0], "+selected-slave")
        s.promote(1)
        await s.next_generation()

        for sentinel in s.sentinels:
            sentinel.announce_promotion(s.hosts[1], s.hosts[0], "+promoted-slave")
        await s.until(lambda: len(s.waits_s) == 2)
        await s.rounds()

        assert s.waits_s == [ResolverTiming().failover_pause_s, ResolverTiming().promotion_pause_s]


async def test_a_chase_survives_that_sentinel_ends_connections() -> None:
    """A replica that ends its connections when it is promoted is looked at again at once."""
    async with scene() as s:
        await s.started()
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.servers[1].listener.asked("ROLE")

        s.promote(1)
        s.servers[1].listener.drop()

        assert (await s.next_generation()).why == "promoted"


async def test_a_chase_goes_by_the_latest_announcement() -> None:
    """Where another replica is selected, the chase is for that one."""
    async with scene() as s:
        await s.started()
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.servers[1].listener.asked("ROLE")

        s.sentinels[0].announce_promotion(s.hosts[2], s.hosts[0])
        await s.servers[2].listener.asked("ROLE")
        s.promote(1)
        s.promote(2)

        assert (await s.next_generation()).address == tcp(s.hosts[2])


async def test_a_round_that_began_before_a_change_says_nothing_about_it() -> None:
    """What is found out about the old primary after the change neither undoes it nor makes the new one doubtful."""
    async with scene() as s:
        await s.started()
        s.servers[0].listener.silent = True
        s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="stall"))
        await s.servers[0].listener.asked("HELLO")
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.next_generation()

        s.servers[0].listener.speak()

        assert await s.located() == s.hosts[1]
        await s.rounds()
        assert s.resolver.reason == ""
        assert s.told.empty()


async def test_a_chase_ends() -> None:
    """A replica that is not promoted in 4 s is not looked at any longer."""
    clock = Clock()
    async with scene(clock=clock) as s:
        await s.started()
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.servers[1].listener.asked("ROLE")

        clock.now_s += QUIET.promotion_timeout_s
        await s.until(lambda: not s.servers[1].listener.connections)
        s.promote(1)
        await s.rounds(3)

        assert s.told.empty()


async def test_a_stranger_is_not_chased() -> None:
    """An announcement about another primary than the present one, from a stale Sentinel say, starts no chase."""
    async with scene() as s:
        await s.started()
        s.promote(1)

        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[2])
        await s.rounds(3)

        assert s.told.empty()


async def test_without_a_chase_the_sentinels_decide() -> None:
    """With the chase off, a promoted replica is the primary only when the Sentinels name it."""
    async with scene(chase="off") as s:
        await s.started()
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.rounds(3)
        assert s.told.empty()
        assert s.waits_s == []

        s.all_name(s.hosts[1], epoch=1)
        s.sentinels[0].announce("+switch-master", switched(s.hosts[0], s.hosts[1]))

        assert (await s.next_generation()).why == "named"


async def test_an_abort_after_the_promotion_leads_back() -> None:
    """A failover that is given up after the change is one more change: back, with a new number."""
    async with scene() as s:
        await s.started()
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        assert (await s.next_generation()).number == 2

        s.sentinels[0].announce("-failover-abort-slave-timeout", of_the_primary(s.hosts[0]))

        back = await s.next_generation()
        assert (back.number, back.address) == (3, tcp(s.hosts[0]))
        await s.rounds(3)
        assert s.told.empty()


async def test_an_abort_before_the_promotion_ends_the_chase() -> None:
    """A replica whose promotion was given up is not changed to, and nobody is asked to wait for it any more."""
    async with scene() as s:
        await s.started()
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.servers[1].listener.asked("ROLE")

        s.sentinels[0].announce("-failover-abort-slave-timeout", of_the_primary(s.hosts[0]))
        await s.until(lambda: not s.servers[1].listener.connections)
        s.promote(1)
        await s.rounds(3)

        assert s.told.empty()
        assert s.waits_s == [ResolverTiming().failover_pause_s, 0]


async def test_an_abort_that_nobody_heard_leads_back_too() -> None:
    """A promoted server that was made a replica again leads back to its primary, barred or not."""
    async with scene() as s:
        await s.started()
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.next_generation()

        s.replicate(1, of=0)
        s.resolver.suspect(tcp(s.hosts[1]), FailoverHint(why="readonly"))

        back = await s.next_generation()
        assert (back.number, back.address) == (3, tcp(s.hosts[0]))


async def test_an_aborted_failover_does_not_lead_to_a_dead_server() -> None:
    """Where the old primary is gone, the promoted one stays though its failover was given up."""
    async with scene() as s:
        await s.started()
        await s.servers[0].listener.close()
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.next_generation()

        s.sentinels[0].announce("-failover-abort-slave-timeout", of_the_primary(s.hosts[0]))
        await s.rounds(3)

        assert await s.located() == s.hosts[1]
        assert s.told.empty()


async def test_a_deposed_primary_is_barred_for_a_while() -> None:
    """Sentinels that were not told yet do not lead back; Sentinels that insist after 15 s do."""
    clock = Clock()
    async with scene(timing=RESTLESS, clock=clock) as s:
        await s.started()
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.next_generation()

        clock.now_s += 14.9
        await s.rounds(3)
        assert s.told.empty()
        clock.now_s += 0.2

        assert (await s.next_generation()).address == tcp(s.hosts[0])


async def test_a_majority_lifts_the_bar() -> None:
    """A deposed primary that a majority names in a later epoch is the primary again at once."""
    async with scene(timing=RESTLESS) as s:
        await s.started()
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.next_generation()

        s.all_name(s.hosts[0], epoch=2)

        assert (await s.next_generation()).epoch == 2


async def test_numbers_only_grow() -> None:
    """However often the primary changes, each generation has the next number, and every subscriber is told in order."""
    async with scene() as s:
        await s.started()
        second: list[PrimaryEvent] = []
        s.resolver.subscribe(second.append)

        for number in range(2, 8):
            new, old = number % 2 + 1, (number - 1) % 2 + 1 if number > 2 else 0
            s.promote(new)
            s.sentinels[0].announce_promotion(s.hosts[new], s.hosts[old])
            assert (await s.next_generation()).number == number

        numbers = [news.number for news in second if isinstance(news, Generation)]
        assert numbers == [2, 3, 4, 5, 6, 7]
