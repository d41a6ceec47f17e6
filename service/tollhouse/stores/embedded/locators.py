"""Locators of servers that this process starts when the first store asks for their address."""

from __future__ import annotations

import multiprocessing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tollhouse.logs import Log
from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.locator import Address, OnPrimaryEvent, ServiceHealth
from tollhouse.stores.discovery.primary_history import PrimaryEvent
from tollhouse.stores.discovery.sentinel_resolver import SentinelResolver
from tollhouse.stores.embedded.shared_servers import PROCESS, SharedServer
from tollhouse.stores.transport.dialer import Dialer, Login, login_of
from tollhouse.stores.urls import EmbeddedClusterTarget, EmbeddedTarget, SentinelService, UnixAddress, parse

if TYPE_CHECKING:
    from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
    from tollhouse.stores.embedded.server import EmbeddedServer

_SEVERAL: Final = (
    "each worker has an embedded server of its own: to share one, give its URL, in the code or as TOLLHOUSE_URL"
)

_log = Log("tollhouse.stores")


class EmbeddedLocator:
    """A user of one embedded server, which the first `locate` in the process starts."""

    def __init__(self, target: EmbeddedTarget, binary: Path | None) -> None:
        path = None if target.path is None else Path(target.path)
        self.server: SharedServer[EmbeddedServer] = PROCESS.server(
            (EmbeddedTarget, path, binary), partial(_start_server, path, binary)
        )

    async def locate(self) -> Address:
        """Return the server's socket. A server that died is not started again."""
        server = await self.server.started(self)
        return UnixAddress(path=str(server.socket_path))

    async def first_start(self, wait_s: float) -> None:
        """Start the server and wait for it; `SharedServer.first_start` has the rules."""
        await self.server.first_start(self, wait_s)

    async def aclose(self) -> None:
        """Stop the server if this process started it and this was its last user; wait for one that is starting."""
        await self.server.release(self)


class EmbeddedClusterLocator:
    """A user of an embedded primary with two replicas and three Sentinels, which the first `locate` starts."""

    def __init__(self, target: EmbeddedClusterTarget, dialer: Dialer, binary: Path | None) -> None:
        self._dialer = dialer
        self.server: SharedServer[SentinelCluster] = PROCESS.server(
            (target, binary), partial(_start_cluster, target.min_replicas, binary)
        )
        self._resolver: SentinelResolver | None = None
        self._subscribers: list[OnPrimaryEvent] = []

    async def locate(self) -> Address:
        """Return the address of the primary."""
        cluster = await self.server.started(self)
        if self._resolver is None:
            self._resolver = self._make_resolver(cluster)
        return await self._resolver.locate()

    async def first_start(self, wait_s: float) -> None:
        """Start the cluster and wait for it; `SharedServer.first_start` has the rules."""
        await self.server.first_start(self, wait_s)

    def login(self) -> Login:
        """Return the login that the cluster was made with; an empty one before it was started."""
        return Login() if self._resolver is None else self._resolver.login()

    def suspect(self, address: Address, hint: FailoverHint) -> None:
        """Pass the hint to the resolver, if there is one."""
        if self._resolver is not None:
            self._resolver.suspect(address, hint)

    def subscribe(self, on_event: OnPrimaryEvent) -> None:
        """Call `on_event` with all events of the resolver, once there is one."""
        self._subscribers.append(on_event)

    def health(self) -> ServiceHealth | None:
        """Return the state of the service; None before it was started."""
        return None if self._resolver is None else self._resolver.health()

    async def aclose(self) -> None:
        """End the resolver, then the six processes if this was their last user; wait for those that are starting."""
        if self._resolver is not None:
            await self._resolver.aclose()
        await self.server.release(self)

    def _make_resolver(self, cluster: SentinelCluster) -> SentinelResolver:
        url = parse("embedded-sentinel://", cluster.url)
        assert isinstance(url.target, SentinelService)
        resolver = SentinelResolver(url.target, login_of(url), self._dialer)
        resolver.subscribe(self._publish)
        return resolver

    def _publish(self, event: PrimaryEvent) -> None:
        for on_event in self._subscribers:
            on_event(event)


def _start_server(path: Path | None, binary: Path | None) -> EmbeddedServer:
    from tollhouse.stores.embedded.server import EmbeddedServer

    if path is None and multiprocessing.parent_process() is not None:
        _log.warning(_SEVERAL)
    return EmbeddedServer.start(path, binary)


def _start_cluster(min_replicas: int, binary: Path | None) -> SentinelCluster:
    from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster

    return SentinelCluster.start(min_replicas=min_replicas, binary=binary)
