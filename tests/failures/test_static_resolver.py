"""A list of servers without Sentinels: which one is used, and when none can be."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.failures.fake_sentinel import PATIENCE_S, FakeServer
from tests.failures.scenes import IMPATIENT, QUIET, RESTLESS, listed, tcp
from tollhouse import wiring
from tollhouse.settings import Settings
from tollhouse.stores.discovery.locator import NoPrimary
from tollhouse.stores.discovery.role_probe import Primary, Replica, RoleReply
from tollhouse.stores.discovery.static_resolver import choose_primary
from tollhouse.stores.embedded.blocking_client import call
from tollhouse.stores.embedded.server import server_binary
from tollhouse.stores.embedded.supervisor import Supervisor
from tollhouse.stores.succession import AttachedReplica, is_durable
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import Host, TcpAddress

PASSWORD = "sesame"
ONE, TWO, THREE = ("one", 1), ("two", 2), ("three", 3)


def reply(host: Host, role: Primary | Replica, peer: Host | None = None) -> RoleReply:
    return RoleReply(host=host, peer=peer or host, role=role)


#   what the servers report, the one that is used or what the reason names
CHOICES: list[tuple[list[RoleReply], Host | list[str]]] = [
    ([reply(ONE, Primary()), reply(TWO, Replica(primary=ONE))], ONE),
    ([reply(ONE, Replica(primary=THREE)), reply(TWO, Primary())], TWO),
    ([reply(ONE, Primary(), peer=THREE), reply(TWO, Primary(), peer=THREE)], ONE),
    ([reply(ONE, Primary()), reply(TWO, Primary())], ["2 servers", "one:1, two:2", "make all but one its replicas"]),
    ([reply(ONE, Replica(primary=THREE)), reply(TWO, Replica(primary=None))], ["one:1", "three:3", "two:2"]),
]


@pytest.mark.parametrize(("replies", "chosen"), CHOICES)
def test_only_a_single_primary_is_used(replies: list[RoleReply], chosen: Host | list[str]) -> None:
    """The one listed server that is a primary is used; none, or several, is a reason that names them."""
    found = choose_primary(replies)

    if isinstance(found, RoleReply):
        assert found.host == chosen
    else:
        for words in chosen:
            assert str(words) in found


async def test_the_primary_may_be_anywhere_in_the_list() -> None:
    """All listed servers are asked for their role once, and the primary is used, even if it is the last."""
    async with listed() as s:
        s.servers[0].follows = s.servers[1].follows = s.hosts[2]
        s.promote(2)

        assert await s.located() == s.hosts[2]

        assert all(server.listener.counts["ROLE"] == 1 for server in s.servers)


async def test_an_unlisted_primary_is_never_used() -> None:
    """A listed server that replicates one that is not listed leads nowhere; the reason names both."""
    async with listed() as s:
        stranger = await FakeServer().open()
        for server in s.servers:
            server.follows = stranger.host

        with pytest.raises(NoPrimary) as raised:
            await s.located()

        assert all(f"{host}:{port}" in str(raised.value) for host, port in (*s.hosts, stranger.host))
        assert stranger.listener.counts["ROLE"] == 0
        await stranger.listener.close()


async def test_two_primaries_move_no_client() -> None:
    """While two servers are primaries there is no new generation, and no new connection is made."""
    async with listed(timing=RESTLESS) as s:
        await s.located()
        first = await s.next_generation()

        s.promote(1)
        await s.until(lambda: bool(s.reason))
        with pytest.raises(NoPrimary, match="2 servers"):
            await s.located()

        assert s.generations.empty()
        assert s.resolver.health().generation == first
        s.servers[0].follows = s.hosts[1]
        await s.until(lambda: not s.reason)
        assert await s.located() == s.hosts[1]


async def test_a_silent_server_delays_a_round_by_one_timeout() -> None:
    """A listed server that accepts and never replies does not keep callers from the primary, and is named as silent."""
    async with listed(timing=IMPATIENT) as s:
        s.servers[2].listener.silent = True

        assert await s.located() == s.hosts[0]

        health = s.resolver.health()
        assert health.promotable == 1
        assert [reason for reason in health.silent if "50 ms" in reason and str(s.hosts[2][1]) in reason]


async def test_listed_replicas_are_what_could_be_promoted() -> None:
    """A listed replica has to have a write; one that is silent only while it is attached, or in doubt; no other."""
    async with listed(timing=IMPATIENT) as s:
        s.servers[2].listener.silent = True
        await s.located()
        view = s.resolver.health().successors

        has = AttachedReplica(host=s.hosts[1], offset=100)
        assert is_durable(view, [has, AttachedReplica(host=("10.9.9.9", 1), offset=0)], 100)
        assert not is_durable(view, [has, AttachedReplica(host=s.hosts[2], offset=0)], 100)
        for server in s.servers:
            server.listener.silent = True
        await s.until(lambda: bool(s.reason))
        assert not is_durable(s.resolver.health().successors, [has], 100)


async def test_a_listed_server_that_is_silent_is_asked_often() -> None:
    """While a listed server does not reply, rounds go on as in doubt, so that its return is noticed."""
    async with listed(timing=QUIET) as s:
        await s.servers[2].listener.close()
        await s.located()
        await s.servers[1].listener.received("ROLE", 3)

        await s.servers[2].open()

        await s.until(lambda: s.resolver.health().promotable == 2)


async def test_servers_that_come_back_are_found() -> None:
    """While no server can be reached callers are told at once; afterwards it is the same generation."""
    async with listed(timing=RESTLESS) as s:
        await s.located()
        first = await s.next_generation()
        for server in s.servers:
            await server.listener.close()
        await s.until(lambda: bool(s.reason))
        with pytest.raises(NoPrimary, match="no listed server is a primary"):
            await s.located()

        for server in s.servers:
            await server.open()
        await s.until(lambda: not s.reason)

        assert await s.located() == s.hosts[0]
        assert s.resolver.health().generation == first
        assert s.generations.empty()


async def test_a_change_of_primary_is_a_promotion() -> None:
    """The generation after a change is dated by the resolver's clock and says that its server was promoted."""
    async with listed(clock=lambda: 7.0, timing=RESTLESS) as s:
        await s.located()
        await s.next_generation()

        s.fail_over(1)

        generation = await s.next_generation()
        assert (generation.why, generation.at_s, generation.address) == ("promoted", 7.0, tcp(s.hosts[1]))


class Pair:
    """Two real servers, the second a replica of the first."""

    def __init__(self, addresses: Sequence[TcpAddress]) -> None:
        self.one, self.two = addresses
        self.url = f"redis://:{PASSWORD}@{','.join(f'{address.host}:{address.port}' for address in addresses)}"

    def follow(self, server: TcpAddress, primary: TcpAddress | None) -> None:
        whom = ("NO", "ONE") if primary is None else (primary.host, primary.port)
        assert self.command(server, "REPLICAOF", *whom).startswith("OK")

    def command(self, server: TcpAddress, *command: str | int) -> Any:
        return call(server, (PASSWORD,), *command)


@contextmanager
def pair() -> Iterator[Pair]:
    supervisor = Supervisor()
    addresses = [TcpAddress(host="127.0.0.1", port=free_port()) for _ in range(2)]
    try:
        for address in addresses:
            options = ["--port", str(address.port), "--bind", "127.0.0.1", "--dir", str(supervisor.directory)]
            options += ["--requirepass", PASSWORD, "--primaryauth", PASSWORD]
            fast = ["--repl-diskless-sync-delay", "0", "--repl-diskless-load", "on-empty-db", "--save", ""]
            supervisor.start(f"server-{address.port}", [server_binary(None), *options, *fast])
        yield Pair(addresses)
    finally:
        supervisor.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                if happened():
                    return
            except (OSError, ServerError):
                pass
            await asyncio.sleep(0.02)


@pytest.mark.sentinel
async def test_takes_go_on_when_two_real_servers_change_places() -> None:
    """`redis://a,b`: after REPLICAOF made the second server the primary, takes are counted there, and none fails."""
    with pair() as servers:
        await _until(lambda: servers.command(servers.two, "PING") == "PONG")
        await _until(lambda: servers.command(servers.one, "PING") == "PONG")
        servers.follow(servers.two, servers.one)
        # A replica is online before it acknowledges anything: its first offset comes up to a second later.
        await _until(lambda: re.search("offset=[1-9]", servers.command(servers.one, "INFO", "replication")) is not None)
        settings = Settings(url=servers.url, secret=(b"a secret for tests, 32 bytes or more",))
        async with wiring.open(settings, policies={"ten": "10/hour"}) as tollhouse:
            assert (await tollhouse.limits.take("ten", "ada")).allowed
            assert (await tollhouse.sessions.create(user="ada")).durable, "the replica has to confirm it"
            await _until(lambda: "db1:keys=1," in servers.command(servers.two, "INFO", "keyspace"))

            servers.follow(servers.two, None)
            servers.follow(servers.one, servers.two)
            decision = await tollhouse.limits.take("ten", "ada")

            assert (decision.allowed, decision.degraded, decision.limits[0].remaining) == (True, False, 8)
            health = tollhouse.stores.limits.health()
            assert health is not None
            assert health.generation is not None
            assert (health.generation.number, health.generation.address) == (2, servers.two)
