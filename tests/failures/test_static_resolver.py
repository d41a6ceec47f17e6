"""Several listed servers without Sentinels: which is used, who is told of another, and when nobody can tell."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from tests.failures.fake_sentinel import PATIENCE_S, FakeServer
from tests.failures.scenes import tcp
from tollhouse import wiring
from tollhouse.settings import Settings
from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.primary_history import Generation, PrimaryEvent
from tollhouse.stores.discovery.role_probe import Primary, Replica
from tollhouse.stores.discovery.sentinel_resolver import NoPrimary
from tollhouse.stores.discovery.static_resolver import ServerReply, StaticResolver, choose_primary
from tollhouse.stores.discovery.timing import ResolverTiming
from tollhouse.stores.embedded.blocking_client import call
from tollhouse.stores.embedded.server import server_binary
from tollhouse.stores.embedded.supervisor import Supervisor
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import Host, ServerList, TcpAddress

QUIET = ResolverTiming(timeout_s=0.3, pause_min_s=0.002, pause_max_s=0.01, repeat_s=0.0, interval_s=60.0)
"""Rounds come when there is a reason, and otherwise not within a test."""
RESTLESS = ResolverTiming(timeout_s=0.3, pause_min_s=0.002, pause_max_s=0.01, repeat_s=0.0, interval_s=0.01)
"""Rounds come all the time."""
PASSWORD = "sesame"
EOF_SEEN = FailoverHint(why="eof")
ONE, TWO, THREE = ("one", 1), ("two", 2), ("three", 3)


class Scene:
    """Three servers, the first of them primary, and the endpoints that name them."""

    def __init__(self, servers: Sequence[FakeServer], endpoints: StaticResolver) -> None:
        self.servers = servers
        self.endpoints = endpoints
        self.hosts = [server.host for server in servers]
        self.told: asyncio.Queue[PrimaryEvent] = asyncio.Queue()
        endpoints.subscribe(self.told.put_nowait)

    async def located(self) -> Host:
        async with asyncio.timeout(PATIENCE_S):
            address = await self.endpoints.locate()
        return address.host, address.port

    async def next_generation(self) -> Generation:
        async with asyncio.timeout(PATIENCE_S):
            news = await self.told.get()
        assert isinstance(news, Generation)
        return news

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not happened():  # noqa: ASYNC110 - what happens is inside the endpoints, which tell nobody
                await asyncio.sleep(0.002)

    def swap(self) -> None:
        """Make the second server the primary, and all others its replicas."""
        for server in self.servers:
            server.follows = self.hosts[1]
        self.servers[1].follows = None


@asynccontextmanager
async def scene(
    *, timing: ResolverTiming = QUIET, login: tuple[str, str] | None = None, **known: str
) -> AsyncIterator[Scene]:
    servers = [await FakeServer(login=login).open() for _ in range(3)]
    for server in servers[1:]:
        server.follows = servers[0].host
    target = ServerList(hosts=tuple(server.host for server in servers))
    endpoints = StaticResolver(target, Login(**known), Dialer(), timing=timing, jitter=lambda low, _: low)
    try:
        yield Scene(servers, endpoints)
    finally:
        await endpoints.aclose()
        for server in servers:
            await server.listener.close()


async def test_a_defect_in_a_subscriber_is_not_hidden() -> None:
    """Where the rounds end by a defect, whoever waits hears that nobody looks, and later callers hear of the defect."""

    def broken(_: object) -> None:
        raise RuntimeError("a subscriber is broken")

    async with scene() as s:
        s.endpoints.subscribe(broken)
        with pytest.raises((NoPrimary, RuntimeError)):
            await s.endpoints.locate()

        for _ in range(2):
            with pytest.raises(RuntimeError, match="a subscriber is broken"):
                await s.endpoints.locate()


async def test_what_never_began_ends_at_once() -> None:
    """Endpoints that nobody asked for are closed without having asked anybody."""
    async with scene() as s:
        await s.endpoints.aclose()

        with pytest.raises(NoPrimary, match="the stores were closed"):
            await s.endpoints.locate()

        assert not any(server.listener.counted for server in s.servers)


def said(host: Host, role: Primary | Replica, peer: Host | None = None) -> ServerReply:
    return ServerReply(host=host, peer=peer or host, role=role)


#   what the servers say, the one that is used or words of the reason
CHOICES: list[tuple[list[ServerReply], Host | list[str]]] = [
    ([said(ONE, Primary()), said(TWO, Replica(primary=ONE))], ONE),
    ([said(ONE, Replica(primary=THREE)), said(TWO, Primary())], TWO),
    ([said(ONE, Primary(), peer=THREE), said(TWO, Primary(), peer=THREE)], ONE),
    ([said(ONE, Primary()), said(TWO, Primary())], ["2 servers say", "one:1, two:2", "make all but one its replicas"]),
    (
        [said(ONE, Replica(primary=THREE)), said(TWO, Replica(primary=None))],
        ["one:1 is a replica of three:3", "two:2 is a rep"],
    ),
]


@pytest.mark.parametrize(("heard", "chosen"), CHOICES)
def test_only_a_single_primary_is_used(heard: list[ServerReply], chosen: Host | list[str]) -> None:
    """The one listed server that says it is the primary is used; none, or several, is a reason that names them."""
    found = choose_primary(heard)

    if isinstance(found, ServerReply):
        assert found.host == chosen
    else:
        for words in chosen:
            assert str(words) in found


async def test_the_primary_is_found_wherever_it_stands() -> None:
    """All listed servers are asked for their role, and the primary is used, be it the last of the list."""
    async with scene() as s:
        s.servers[0].follows = s.servers[1].follows = s.hosts[2]
        s.servers[2].follows = None

        assert await s.located() == s.hosts[2]

        generation = await s.next_generation()
        assert (generation.number, generation.why, generation.address) == (1, "first", tcp(s.hosts[2]))
        assert all(server.listener.counted["ROLE"] == 1 for server in s.servers)
        health = s.endpoints.health()
        assert (health.promotable, health.generation, health.reason) == (2, generation, "")


async def test_a_suspicion_makes_it_look_again() -> None:
    """After a link lost the primary, the next address is one that was confirmed since; generations only grow."""
    async with scene() as s:
        await s.located()
        first = await s.next_generation()
        s.swap()

        s.endpoints.suspect(first.address, EOF_SEEN)

        assert await s.located() == s.hosts[1]
        second = await s.next_generation()
        assert (second.number, second.why) == (2, "promoted")


async def test_a_suspicion_of_another_server_is_nothing() -> None:
    """What is said of a server that is not the present primary starts no round."""
    async with scene() as s:
        await s.located()

        s.endpoints.suspect(tcp(s.hosts[1]), EOF_SEEN)

        assert await s.located() == s.hosts[0]
        assert s.servers[0].listener.counted["ROLE"] == 1


async def test_a_primary_that_was_moved_is_noticed_unasked() -> None:
    """Rounds come on their own too: a primary that became a replica, and fails no call, is left."""
    async with scene(timing=RESTLESS) as s:
        await s.located()
        await s.next_generation()

        s.swap()

        assert (await s.next_generation()).address == tcp(s.hosts[1])


async def test_an_unlisted_primary_is_never_used() -> None:
    """A listed server that follows one that is not listed leads nowhere; the reason names both."""
    async with scene() as s:
        stranger = await FakeServer().open()
        for server in s.servers:
            server.follows = stranger.host

        with pytest.raises(NoPrimary, match=f"is a replica of 127.0.0.1:{stranger.host[1]}"):
            await s.located()

        assert stranger.listener.counted["ROLE"] == 0
        await stranger.listener.close()


async def test_two_primaries_move_nobody() -> None:
    """While two servers say that they are the primary nobody is told to move, and no new connection is made."""
    async with scene(timing=RESTLESS) as s:
        await s.located()
        first = await s.next_generation()

        s.servers[1].follows = None
        await s.until(lambda: bool(s.endpoints.health().reason))
        with pytest.raises(NoPrimary, match="2 servers say that they are the primary"):
            await s.located()

        assert s.told.empty()
        assert s.endpoints.health().generation == first
        s.servers[0].follows = s.hosts[1]
        await s.until(lambda: not s.endpoints.health().reason)
        assert await s.located() == s.hosts[1]


async def test_a_silent_server_delays_nobody_for_long() -> None:
    """A listed server that accepts and says nothing costs one round its time, and is named as silent."""
    async with scene(timing=QUIET) as s:
        s.servers[2].listener.silent = True
        began_s = asyncio.get_running_loop().time()

        assert await s.located() == s.hosts[0]

        assert asyncio.get_running_loop().time() - began_s < 2 * QUIET.timeout_s
        health = s.endpoints.health()
        assert health.promotable == 1
        assert [reason for reason in health.silent if "no answer within 300 ms" in reason]


async def test_a_primary_that_comes_back_is_found() -> None:
    """While nobody answers the reason says so at once; when the primary is back it is the same generation."""
    async with scene() as s:
        await s.located()
        first = await s.next_generation()
        for server in s.servers:
            await server.listener.close()
        s.endpoints.suspect(first.address, EOF_SEEN)
        with pytest.raises(NoPrimary, match="no listed server is a primary"):
            await s.located()

        for server in s.servers:
            await server.open()
        await s.until(lambda: not s.endpoints.health().reason)

        assert await s.located() == s.hosts[0]
        assert s.endpoints.health().generation == first
        assert s.told.empty()


async def test_a_wrong_password_is_named_without_it() -> None:
    """A login that is refused is a reason that says what to set, and does not hold the password."""
    async with scene(login=("ada", "right"), username="ada", password="sesame") as s:
        with pytest.raises(NoPrimary, match=r"refused the login: WRONGPASS .* set the user and password") as raised:
            await s.located()

        assert "sesame" not in str(raised.value)


@pytest.mark.parametrize("refused", ["NOPERM no right to role", "ERR broken"])
async def test_a_greeting_stands_in_for_a_role_that_may_not_be_asked(refused: str) -> None:
    """An account without the right to ROLE is told by the greeting; any other refusal is no answer."""
    async with scene() as s:
        for server in s.servers:
            server.refuses_role = refused

        if refused.startswith("NOPERM"):
            assert await s.located() == s.hosts[0]
        else:
            with pytest.raises(NoPrimary, match="ERR broken"):
                await s.located()


async def test_closed_endpoints_name_nobody() -> None:
    """After `aclose` nobody waits: callers, those that wait already included, learn that it was closed."""
    async with scene() as s:
        s.servers[0].listener.silent = True
        waiting = asyncio.ensure_future(s.located())
        await s.servers[0].listener.asked("HELLO")

        await s.endpoints.aclose()

        with pytest.raises(NoPrimary, match="closed"):
            await waiting
        with pytest.raises(NoPrimary, match="closed"):
            await s.located()


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
    guarded = Supervisor.open()
    addresses = [TcpAddress(host="127.0.0.1", port=free_port()) for _ in range(2)]
    try:
        for address in addresses:
            options = ["--port", str(address.port), "--bind", "127.0.0.1", "--dir", str(guarded.directory)]
            options += ["--requirepass", PASSWORD, "--primaryauth", PASSWORD]
            fast = ["--repl-diskless-sync-delay", "0", "--repl-diskless-load", "on-empty-db", "--save", ""]
            guarded.start(f"server-{address.port}", [server_binary(None), *options, *fast])
        yield Pair(addresses)
    finally:
        guarded.stop()


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
async def test_takes_go_on_where_two_real_servers_change_places() -> None:
    """`redis://a,b`: after REPLICAOF made the second server the primary, takes are counted there, and none fails."""
    with pair() as servers:
        await _until(lambda: servers.command(servers.two, "PING") == "PONG")
        await _until(lambda: servers.command(servers.one, "PING") == "PONG")
        servers.follow(servers.two, servers.one)
        # A replica is online before it confirms anything: its first word comes up to a second later.
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
            health = tollhouse.stores.limits.watch()
            assert health is not None
            assert health.generation is not None
            assert (health.generation.number, health.generation.address) == (2, servers.two)
