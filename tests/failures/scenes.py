"""Scenes for resolvers: scripted servers, Sentinels or a list that names them, and a clock that only tests move."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.failures.fake_sentinel import PATIENCE_S, FakeSentinel, FakeServer, replica
from tollhouse.errors import StoreUnavailable
from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.primary_history import Generation, PrimaryEvent
from tollhouse.stores.discovery.sentinel_resolver import SentinelResolver
from tollhouse.stores.discovery.static_resolver import StaticResolver
from tollhouse.stores.discovery.timing import ResolverTiming
from tollhouse.stores.opening import Stores
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.urls import Host, SentinelService, ServerList, TcpAddress, Tls

ROUND = "SENTINEL MASTER"
START_S = 30.0
"""How long embedded servers may take to start on a busy machine."""
QUIET = ResolverTiming(timeout_s=2.0, pause_min_s=0.002, pause_max_s=0.01, interval_s=60.0, promotion_poll_s=0.002)
"""Rounds run when there is a reason, and otherwise not within a test."""
RESTLESS = ResolverTiming(timeout_s=2.0, pause_min_s=0.002, pause_max_s=0.01, interval_s=0.01, promotion_poll_s=0.002)
"""Rounds run all the time."""
IMPATIENT = ResolverTiming(timeout_s=0.05, pause_min_s=0.002, pause_max_s=0.01, interval_s=0.01)
"""Rounds run all the time, and a silent server is given up soon."""


class Clock:
    """The resolver's clock, which only the test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Scene:
    """Servers, and a resolver with the events that it published. `sentinels` is empty if the servers are listed."""

    def __init__(
        self, sentinels: list[FakeSentinel], servers: list[FakeServer], resolver: SentinelResolver | StaticResolver
    ) -> None:
        self.sentinels = sentinels
        self.servers = servers
        self.resolver: Any = resolver
        self.hosts = [server.host for server in servers]
        self.generations: asyncio.Queue[Generation] = asyncio.Queue()
        self.pauses_s: list[float] = []
        resolver.subscribe(self._on_event)

    def _on_event(self, event: PrimaryEvent) -> None:
        if isinstance(event, Generation):
            self.generations.put_nowait(event)
        else:
            self.pauses_s.append(event.wait_s)

    @property
    def reason(self) -> str:
        return self.resolver.health().reason

    async def located(self) -> Host:
        async with asyncio.timeout(PATIENCE_S):
            address = await self.resolver.locate()
        return address.host, address.port

    async def next_generation(self) -> Generation:
        async with asyncio.timeout(PATIENCE_S):
            return await self.generations.get()

    async def started(self) -> None:
        """Find the first primary, and let every Sentinel be connected and polled."""
        await self.located()
        await self.next_generation()
        await self.until(lambda: self.resolver.health().sentinels_reachable == len(self.sentinels))
        await self.rounds()

    async def rounds(self, number: int = 2) -> None:
        """Wait for rounds that begin after now; none is due on its own in a quiet scene."""
        for _ in range(number):
            generation = self.resolver.health().generation
            if generation is not None:
                self.resolver.suspect(generation.address, FailoverHint(why="connect"))
            if self.sentinels:
                await self.sentinels[-1].listener.received(ROUND)
            else:
                await self.servers[-1].listener.received("ROLE")
        await self.located()

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not happened():  # noqa: ASYNC110 - it happens inside the resolver, which publishes no event for it
                await asyncio.sleep(0.002)

    def all_name(self, host: Host, epoch: int) -> None:
        for sentinel in self.sentinels:
            sentinel.watch(host, epoch)

    def promote(self, number: int) -> None:
        """Make a server a primary, as Sentinel does; what others follow is another matter."""
        self.servers[number].follows = None

    def replicate(self, number: int, of: int) -> None:
        self.servers[number].follows = self.servers[of].host

    def fail_over(self, number: int) -> None:
        """Make a server the primary and all others its replicas; the Sentinels agree, and announce nothing."""
        for server in self.servers:
            server.follows = self.hosts[number]
        self.promote(number)
        self.all_name(self.hosts[number], epoch=1)

    def leave_no_primary(self) -> None:
        """Make the primary a replica that does not say of which server."""
        self.servers[0].follows = ("", 0)


@asynccontextmanager
async def scene(
    *,
    configured: int = 3,
    name: str | None = None,
    timing: ResolverTiming = QUIET,
    sentinel_login: tuple[str, str] | None = None,
    server_login: tuple[str, str] | None = None,
    known: tuple[tuple[str, str] | None, tuple[str, str] | None] = (None, None),
    tls: tuple[ssl.SSLContext, Path] | None = None,
    more: tuple[Host, ...] = (),
    **options: Any,
) -> AsyncIterator[Scene]:
    """Three Sentinels that agree on the first of three servers, and a resolver that knows `configured` of them.

    `name` is the host name by which it knows them, None their address. `known` are the logins that the resolver has, at
    the Sentinels and at the servers; `more` are further Sentinels that the URL names.
    """
    context, ca = (None, None) if tls is None else tls
    sentinels = [await FakeSentinel(number, login=sentinel_login).open(context) for number in (1, 2, 3)]
    servers = await _servers(server_login, context)
    for sentinel in sentinels:
        sentinel.watch(servers[0].host)
        sentinel.peers = [peer for peer in sentinels if peer is not sentinel]
        sentinel.replicas = [replica(server.host) for server in servers[1:]]
    target = SentinelService(
        hosts=tuple((name or sentinel.host[0], sentinel.host[1]) for sentinel in sentinels[:configured]) + more,
        service=options.pop("service", "main"),
        tls=None if ca is None else Tls(ca=str(ca)),
        **_credentials(known[0]),
    )
    options.setdefault("jitter", lambda low, _: low)
    resolver = SentinelResolver(target, Login(**_credentials(known[1])), Dialer(), timing=timing, **options)
    try:
        yield Scene(sentinels, servers, resolver)
    finally:
        await resolver.aclose()
        for fake in (*sentinels, *servers):
            await fake.listener.close()


@asynccontextmanager
async def listed(
    *,
    timing: ResolverTiming = QUIET,
    server_login: tuple[str, str] | None = None,
    known: tuple[tuple[str, str] | None, tuple[str, str] | None] = (None, None),
    **options: Any,
) -> AsyncIterator[Scene]:
    """Three listed servers, the first of them primary, and a resolver for the list."""
    servers = await _servers(server_login, None)
    target = ServerList(hosts=tuple(server.host for server in servers))
    options.setdefault("jitter", lambda low, _: low)
    resolver = StaticResolver(target, Login(**_credentials(known[1])), Dialer(), timing=timing, **options)
    try:
        yield Scene([], servers, resolver)
    finally:
        await resolver.aclose()
        for server in servers:
            await server.listener.close()


async def _servers(login: tuple[str, str] | None, context: ssl.SSLContext | None) -> list[FakeServer]:
    servers = [await FakeServer(login=login).open(context) for _ in range(3)]
    for server in servers[1:]:
        server.follows = servers[0].host
    return servers


def _credentials(login: tuple[str, str] | None) -> dict[str, str]:
    return {} if login is None else {"username": login[0], "password": login[1]}


async def answering(stores: Stores) -> None:
    """Call until a call succeeds: a server may need longer to start than one call may wait."""
    async with asyncio.timeout(START_S):
        while True:
            with suppress(StoreUnavailable):
                await stores.limits.ping()
                return
            await asyncio.sleep(0.01)


def tcp(host: Host) -> TcpAddress:
    return TcpAddress(host=host[0], port=host[1])


def switched(old: Host, new: Host) -> str:
    return f"main {old[0]} {old[1]} {new[0]} {new[1]}"


def of_the_primary(host: Host) -> str:
    return f"master main {host[0]} {host[1]}"
