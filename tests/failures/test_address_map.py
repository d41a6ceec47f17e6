"""Servers behind NAT, as in Docker: Sentinels announce addresses that a map leads to others."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.failures.fake_sentinel import FakeSentinel, FakeServer, replica
from tests.failures.scenes import QUIET, Scene
from tollhouse.stores.discovery.failover_hints import FailoverHint, failover_hint
from tollhouse.stores.discovery.sentinel_resolver import SentinelResolver
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import Host, SentinelService, format_host, parse

SERVERS: tuple[Host, ...] = (("172.18.0.2", 6379), ("172.18.0.3", 6379), ("172.18.0.4", 6379))
SENTINELS: tuple[Host, ...] = (("172.18.0.5", 26379), ("172.18.0.6", 26379), ("172.18.0.7", 26379))


@pytest.fixture
async def nat() -> AsyncIterator[Scene]:
    """Three servers and three Sentinels that know each other by addresses that cannot be reached from here.

    The URL names the first Sentinel as it is reached, and the map has all six.
    """
    servers = [await FakeServer().open() for _ in SERVERS]
    sentinels = [await FakeSentinel(number).open() for number in (1, 2, 3)]
    for server in servers[1:]:
        server.follows = SERVERS[0]
    entries = {
        sentinel.id: {**sentinel.as_peer(), "ip": host[0], "port": str(host[1])}
        for sentinel, host in zip(sentinels, SENTINELS, strict=True)
    }
    for sentinel in sentinels:
        sentinel.watch(SERVERS[0])
        sentinel.peers = [peer for peer in sentinels if peer is not sentinel]
        sentinel.overrides["SENTINEL SENTINELS"] = [entry for known, entry in entries.items() if known != sentinel.id]
        sentinel.replicas = [replica(host) for host in SERVERS[1:]]
    pairs = zip((*SERVERS, *SENTINELS), (*servers, *sentinels), strict=True)
    mapped = ",".join(f"{format_host(announced)}={format_host(fake.host)}" for announced, fake in pairs)
    url = f"redis+sentinel://{format_host(sentinels[0].host)}/main?address_map={mapped}"
    target = parse("TOLLHOUSE_URL", url).target
    assert isinstance(target, SentinelService)
    resolver = SentinelResolver(target, Login(), Dialer(), timing=QUIET, jitter=lambda low, _: low)
    yield Scene(sentinels, servers, resolver)
    await resolver.aclose()
    for fake in (*sentinels, *servers):
        await fake.listener.close()


async def test_primary_and_sentinels_are_reached_through_the_map(nat: Scene) -> None:
    """The primary has the address that Sentinels announce, and is reached at the one in the map; so are Sentinels."""
    address = await nat.resolver.locate()

    assert ((address.host, address.port), address.dialed) == (SERVERS[0], nat.hosts[0])
    await nat.until(lambda: nat.resolver.health().sentinels_reachable == 3)
    assert nat.resolver.health().promotable == 2


async def test_a_promoted_replica_is_reached_through_the_map(nat: Scene) -> None:
    """A replica that Sentinel announces as the next primary is polled, and used, at the address in the map."""
    await nat.resolver.locate()
    await nat.next_generation()
    await nat.until(lambda: nat.resolver.health().sentinels_reachable == 3)

    nat.promote(1)
    nat.sentinels[0].announce_promotion(SERVERS[1], SERVERS[0])
    generation = await nat.next_generation()

    assert (generation.address.host, generation.address.dialed) == (SERVERS[1][0], nat.hosts[1])


async def test_a_redirection_is_followed_through_the_map(nat: Scene) -> None:
    """The server to which a failed call is redirected is asked at the address in the map."""
    first = await nat.resolver.locate()
    nat.promote(2)
    nat.servers[0].follows = SERVERS[2]
    hint = failover_hint(ServerError(f"REDIRECT {format_host(SERVERS[2])}"))
    assert isinstance(hint, FailoverHint)

    await nat.next_generation()
    nat.resolver.suspect(first, hint)
    address = (await nat.next_generation()).address

    assert (address.host, address.dialed) == (SERVERS[2][0], nat.hosts[2])
