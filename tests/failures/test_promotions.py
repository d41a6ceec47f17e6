"""A failover while it happens: the promoted replica, the former primary, and the way back."""

from __future__ import annotations

import pytest

from tests.failures.scenes import QUIET, RESTLESS, Clock, of_the_primary, scene, tcp
from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.primary_history import Generation, PrimaryEvent
from tollhouse.stores.discovery.timing import ResolverTiming


@pytest.mark.parametrize("channel", ["+selected-slave", "+failover-state-wait-promotion", "+promoted-slave"])
async def test_a_promotion_is_followed(channel: str) -> None:
    """A selected replica is the primary when it reports so, though the old one and every Sentinel disagree.

    Until then calls are paused: what they wrote to the old primary now would be lost.
    """
    async with scene() as s:
        await s.started()

        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0], channel)
        await s.servers[1].listener.received("ROLE", 2)
        assert s.generations.empty()
        s.promote(1)

        assert (await s.next_generation()).why == "promoted"
        assert await s.located() == s.hosts[1]
        assert s.pauses_s == [ResolverTiming().failover_pause_s]
        await s.rounds(5)
        assert s.generations.empty()


async def test_the_replication_of_the_selected_replica_is_sped_up() -> None:
    """The selected replica is asked to acknowledge what it has, again and again: a handover waits for that."""
    async with scene() as s:
        await s.started()

        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0], "+selected-slave")
        await s.servers[1].listener.received("REPLCONF", 3)
        s.promote(1)

        assert (await s.next_generation()).why == "promoted"


async def test_an_account_without_the_right_to_getack_follows_promotions_all_the_same() -> None:
    """An account that may not ask for acknowledgements asks once, and goes on polling."""
    async with scene() as s:
        await s.started()
        s.servers[1].listener.allows_getack = False

        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0], "+selected-slave")
        await s.servers[1].listener.received("ROLE", 5)
        s.promote(1)

        assert (await s.next_generation()).why == "promoted"
        assert s.servers[1].listener.counts["REPLCONF"] == 1


async def test_calls_are_paused_when_sentinel_notices_the_new_primary() -> None:
    """Sentinel closes all connections of a new primary when it notices it: calls are paused for that moment, once."""
    async with scene() as s:
        await s.started()
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0], "+selected-slave")
        s.promote(1)
        await s.next_generation()

        for sentinel in s.sentinels:
            sentinel.announce_promotion(s.hosts[1], s.hosts[0], "+promoted-slave")
        await s.until(lambda: len(s.pauses_s) == 2)
        await s.rounds()

        assert s.pauses_s == [ResolverTiming().failover_pause_s, ResolverTiming().promotion_pause_s]


async def test_polling_survives_that_sentinel_closes_connections() -> None:
    """A replica whose connections are closed when it is promoted is connected to again at once."""
    async with scene() as s:
        await s.started()
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.servers[1].listener.received("ROLE")

        s.promote(1)
        s.servers[1].listener.drop()

        assert (await s.next_generation()).why == "promoted"


async def test_the_latest_announcement_counts() -> None:
    """When another replica is selected, that one is polled instead."""
    async with scene() as s:
        await s.started()
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.servers[1].listener.received("ROLE")

        s.sentinels[0].announce_promotion(s.hosts[2], s.hosts[0])
        await s.servers[2].listener.received("ROLE")
        s.promote(1)
        s.promote(2)

        assert (await s.next_generation()).address == tcp(s.hosts[2])


async def test_a_round_that_began_before_a_change_says_nothing_about_it() -> None:
    """What a round learns about the old primary after the change neither undoes it nor puts the new one in doubt."""
    async with scene() as s:
        await s.started()
        s.servers[0].listener.silent = True
        s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="stall"))
        await s.servers[0].listener.received("HELLO")
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.next_generation()

        s.servers[0].listener.answer_late()

        assert await s.located() == s.hosts[1]
        await s.rounds()
        assert s.reason == ""
        assert s.generations.empty()


async def test_polling_ends() -> None:
    """A replica that is not promoted in 4 s is not polled any longer."""
    clock = Clock()
    async with scene(clock=clock) as s:
        await s.started()
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.servers[1].listener.received("ROLE")

        clock.now_s += QUIET.promotion_timeout_s
        await s.until(lambda: not s.servers[1].listener.connections)
        s.promote(1)
        await s.rounds(3)

        assert s.generations.empty()


async def test_the_promotion_of_a_stranger_is_not_followed() -> None:
    """An announcement about another primary than the present one, from a stale Sentinel say, starts no polling."""
    async with scene() as s:
        await s.started()
        s.promote(1)

        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[2])
        await s.rounds(3)

        assert s.generations.empty()


async def test_an_abort_after_the_promotion_leads_back() -> None:
    """A failover that is aborted after the change is one more change: back, with a new number."""
    async with scene() as s:
        await s.started()
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        assert (await s.next_generation()).number == 2

        s.sentinels[0].announce("-failover-abort-slave-timeout", of_the_primary(s.hosts[0]))

        back = await s.next_generation()
        assert (back.number, back.address) == (3, tcp(s.hosts[0]))
        await s.rounds(3)
        assert s.generations.empty()


async def test_an_abort_before_the_promotion_ends_the_polling() -> None:
    """A replica whose promotion was aborted is not adopted, and the pause of calls ends."""
    async with scene() as s:
        await s.started()
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.servers[1].listener.received("ROLE")

        s.sentinels[0].announce("-failover-abort-slave-timeout", of_the_primary(s.hosts[0]))
        await s.until(lambda: not s.servers[1].listener.connections)
        s.promote(1)
        await s.rounds(3)

        assert s.generations.empty()
        assert s.pauses_s == [ResolverTiming().failover_pause_s, 0]


async def test_an_abort_that_was_not_announced_leads_back_too() -> None:
    """A promoted server that was made a replica again leads back to its primary, quarantined or not."""
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
    """If the old primary is gone, the promoted one stays though its failover was aborted."""
    async with scene() as s:
        await s.started()
        await s.servers[0].listener.close()
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.next_generation()

        s.sentinels[0].announce("-failover-abort-slave-timeout", of_the_primary(s.hosts[0]))
        await s.rounds(3)

        assert await s.located() == s.hosts[1]
        assert s.generations.empty()


async def test_a_former_primary_is_quarantined() -> None:
    """Sentinels that have not heard of the failover do not lead back; Sentinels that insist after 15 s do."""
    clock = Clock()
    async with scene(timing=RESTLESS, clock=clock) as s:
        await s.started()
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.next_generation()

        clock.now_s += 14.9
        await s.rounds(3)
        assert s.generations.empty()
        clock.now_s += 0.2

        assert (await s.next_generation()).address == tcp(s.hosts[0])


async def test_a_majority_ends_the_quarantine() -> None:
    """A former primary that a majority names in a later epoch is the primary again at once."""
    async with scene(timing=RESTLESS) as s:
        await s.started()
        s.promote(1)
        s.sentinels[0].announce_promotion(s.hosts[1], s.hosts[0])
        await s.next_generation()

        s.all_name(s.hosts[0], epoch=2)

        assert (await s.next_generation()).epoch == 2


async def test_numbers_only_grow() -> None:
    """However often the primary changes, each generation has the next number, for every subscriber in order."""
    async with scene() as s:
        await s.started()
        events: list[PrimaryEvent] = []
        s.resolver.subscribe(events.append)

        for number in range(2, 8):
            new, old = number % 2 + 1, (number - 1) % 2 + 1 if number > 2 else 0
            s.promote(new)
            s.sentinels[0].announce_promotion(s.hosts[new], s.hosts[old])
            assert (await s.next_generation()).number == number

        numbers = [event.number for event in events if isinstance(event, Generation)]
        assert numbers == [2, 3, 4, 5, 6, 7]
