"""The resolver and its Sentinels: discovered, lost, silent, in disagreement, and gone."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.failures.scenes import IMPATIENT, RESTLESS, ROUND, of_the_primary, scene, switched, tcp
from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.locator import NoPrimary
from tollhouse.stores.discovery.sentinel_events import CHANNELS
from tollhouse.stores.discovery.timing import ResolverTiming


async def test_every_sentinel_is_subscribed_to() -> None:
    """There is a connection to every Sentinel, and each is subscribed to all that matters."""
    async with scene() as s:
        await s.started()

        for sentinel in s.sentinels:
            assert [client.channels for client in sentinel.listener.connections] == [set(CHANNELS)]


async def test_sentinels_are_discovered_from_each_other() -> None:
    """A URL that names one Sentinel is enough: the others are discovered, and work when the named one is gone."""
    async with scene(configured=1) as s:
        await s.started()
        await s.sentinels[0].listener.close()
        s.promote(1)
        s.all_name(s.hosts[1], epoch=1)

        s.sentinels[2].announce("+switch-master", switched(s.hosts[0], s.hosts[1]))

        assert (await s.next_generation()).address.port == s.hosts[1][1]


async def test_a_sentinel_with_a_host_name_is_connected_to_once() -> None:
    """A Sentinel that the URL names by a host name, and others by its address, is not discovered a second time."""
    async with scene(name="localhost") as s:
        await s.started()
        await s.rounds(5)

        assert [sentinel.listener.counts["HELLO"] for sentinel in s.sentinels] == [1, 1, 1]


async def test_a_configured_sentinel_is_never_dropped() -> None:
    """A Sentinel of the URL that was gone, and that no other lists, is used again when it is back."""
    async with scene() as s:
        await s.started()
        for sentinel in s.sentinels:
            sentinel.peers = []
        await s.sentinels[0].listener.close()
        await s.until(lambda: s.resolver.health().sentinels_reachable == 2)
        await s.rounds(3)

        await s.sentinels[0].open()

        await s.until(lambda: s.resolver.health().sentinels_reachable == 3)


async def test_a_discovered_sentinel_that_moves_is_followed() -> None:
    """A discovered Sentinel with a new address is connected to there, and no more at the old one."""
    async with scene(configured=2) as s:
        await s.started()
        await s.sentinels[2].listener.close()
        s.sentinels[2].listener.host = ("127.0.0.1", 0)
        await s.sentinels[2].open()

        s.sentinels[0].announce("+sentinel", "sentinel 3 127.0.0.1 1 @ main 127.0.0.1 1")

        await s.until(lambda: s.resolver.health().sentinels_reachable == 3)


async def test_lost_announcements_are_made_good_by_polling() -> None:
    """Without any announcement, the next regular round finds the new primary."""
    async with scene(timing=RESTLESS) as s:
        await s.started()
        s.replicate(0, of=1)
        s.promote(1)

        s.all_name(s.hosts[1], epoch=1)

        assert (await s.next_generation()).epoch == 1


async def test_a_reconnect_to_a_sentinel_starts_a_round() -> None:
    """A connection that comes back starts a round: what was announced meanwhile is not announced twice."""
    async with scene() as s:
        await s.started()
        s.promote(1)
        s.all_name(s.hosts[1], epoch=1)

        s.sentinels[1].listener.drop()

        assert (await s.next_generation()).why == "named"


async def test_a_silent_sentinel_delays_no_caller() -> None:
    """A Sentinel that accepts and never replies costs at most its 300 ms, even if it is the first of the list."""
    async with scene(timing=ResolverTiming()) as s:
        s.sentinels[0].listener.silent = True
        loop = asyncio.get_running_loop()
        began_s = loop.time()

        assert await s.located() == s.hosts[0]

        assert loop.time() - began_s < 1.0


async def test_a_sentinel_that_falls_silent_is_noticed() -> None:
    """A Sentinel with a connection that stops replying counts as unreachable, and the reason is given."""
    async with scene(timing=IMPATIENT) as s:
        await s.located()
        s.sentinels[0].listener.silent = True

        await s.until(lambda: s.resolver.health().sentinels_reachable == 2)
        await s.until(lambda: any("50 ms" in one for one in s.resolver.health().silent))

        assert await s.located() == s.hosts[0]


async def test_messages_that_are_no_announcements_are_ignored() -> None:
    """Pushes of other kinds, of other services, or in other encodings, change nothing."""
    async with scene() as s:
        await s.started()
        for client in s.sentinels[0].listener.connections:
            client.transport.write(
                b">2\r\n$10\r\ninvalidate\r\n_\r\n>3\r\n$7\r\nmessage\r\n$6\r\n+odown\r\n$2\r\n\xff\xfe\r\n"
            )
        await s.rounds(1)

        assert s.reason == ""


async def test_without_sentinels_the_primary_is_still_served(caplog: pytest.LogCaptureFixture) -> None:
    """When every Sentinel is gone and the primary is not, callers are served, and the loss is logged once."""
    caplog.set_level(logging.INFO, "tollhouse.stores")
    async with scene(timing=RESTLESS) as s:
        await s.started()
        await s.sentinels[0].listener.close()
        await s.sentinels[1].listener.close()
        await s.until(lambda: "too few sentinels are reachable for a failover" in events(caplog))
        await s.sentinels[2].listener.close()
        await s.until(lambda: "no sentinel is reachable" in events(caplog))

        for _ in range(5):
            s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="eof"))
            assert await s.located() == s.hosts[0]
        health = s.resolver.health()
        assert (health.sentinels_reachable, health.sentinels_known, health.reason) == (0, 3, "")
        assert len(health.silent) == 3
        for sentinel in s.sentinels:
            await sentinel.open()
        await s.until(lambda: "the sentinels are reachable again" in events(caplog))

    assert events(caplog).count("no sentinel is reachable") == 1


async def test_without_sentinels_and_primary_callers_fail_at_once() -> None:
    """If no Sentinel replies and no primary was found, callers get the reason at once."""
    async with scene() as s:
        for sentinel in s.sentinels:
            await sentinel.listener.close()

        with pytest.raises(NoPrimary, match=rf"'main'.*127\.0\.0\.1:{s.sentinels[0].host[1]}"):
            await s.located()


async def test_one_sentinel_of_another_opinion_does_not_count() -> None:
    """Against a majority, one Sentinel with a later epoch changes nothing while the majority's primary is one."""
    async with scene(timing=RESTLESS) as s:
        s.promote(1)
        s.sentinels[2].watch(s.hosts[1], epoch=9)
        await s.started()

        await s.rounds(5)

        assert await s.located() == s.hosts[0]
        assert s.generations.empty()


async def test_the_leader_of_a_failover_is_believed_when_the_old_primary_is_gone() -> None:
    """One Sentinel with a later epoch is right when the server that the majority names does not answer."""
    async with scene() as s:
        await s.started()
        await s.servers[0].listener.close()
        s.promote(1)
        s.sentinels[2].watch(s.hosts[1], epoch=1)

        s.sentinels[2].announce("+odown", of_the_primary(s.hosts[0]))

        assert (await s.next_generation()).epoch == 1
        assert await s.located() == s.hosts[1]


async def test_callers_share_one_round() -> None:
    """Fifty callers at once cost one question to each Sentinel, not fifty."""
    async with scene() as s:
        assert set(await asyncio.gather(*(s.located() for _ in range(50)))) == {s.hosts[0]}

        assert all(sentinel.listener.counts[ROUND] <= 3 for sentinel in s.sentinels)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(record)["event"] for record in caplog.records if record.name == "tollhouse.stores"]
