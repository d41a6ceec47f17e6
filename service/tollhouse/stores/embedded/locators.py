"""Finders of servers that this process starts when the first store asks where they are."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.locator import Address, OnPrimaryEvent, Watched
from tollhouse.stores.discovery.primary_history import PrimaryEvent
from tollhouse.stores.discovery.sentinel_resolver import SentinelResolver, ServiceHealth
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.urls import EmbeddedTarget, SentinelService, UnixAddress, parse

if TYPE_CHECKING:
    from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
    from tollhouse.stores.embedded.server import EmbeddedServer

_log = logging.getLogger("tollhouse.stores")


class EmbeddedLocator:
    """An embedded server that starts when the first store asks where it is."""

    def __init__(self, target: EmbeddedTarget, binary: Path | None) -> None:
        self._path = None if target.path is None else Path(target.path)
        self._binary = binary
        self._starting: asyncio.Task[EmbeddedServer] | None = None

    async def locate(self) -> Address:
        """Start the server if need be, and name its socket; a server that died is not started again.

        A caller that gives up waiting does not undo the start for those who come after it.
        """
        if self._starting is None or _failed(self._starting):
            self._starting = asyncio.create_task(asyncio.to_thread(self._start), name="tollhouse-embedded")
        server = await asyncio.shield(self._starting)
        return UnixAddress(path=str(server.socket_path))

    async def aclose(self) -> None:
        """Stop the server if this process started it; one that is starting is waited for."""
        if self._starting is not None:
            await asyncio.wait({self._starting})
            if not _failed(self._starting):
                await asyncio.to_thread(self._starting.result().stop)

    def _start(self) -> EmbeddedServer:
        from tollhouse.stores.embedded.server import EmbeddedServer

        if self._path is None and multiprocessing.parent_process() is not None:
            _log.warning("each worker has an embedded server of its own: set TOLLHOUSE_URL to share one")
        return EmbeddedServer.start(self._path, self._binary)


class EmbeddedClusterLocator:
    """One primary, two replicas and three Sentinels, started when the first store asks."""

    def __init__(self, dialer: Dialer, binary: Path | None) -> None:
        self._dialer = dialer
        self._binary = binary
        self._starting: asyncio.Task[SentinelCluster] | None = None
        self._watched: Watched | None = None
        self._resolver: SentinelResolver | None = None
        self._subscribers: list[OnPrimaryEvent] = []

    async def locate(self) -> Address:
        """Start everything if need be, and give the primary.

        A caller that gives up waiting does not undo the start for those who come after it.
        """
        if self._starting is None or _failed(self._starting):
            self._starting = asyncio.create_task(asyncio.to_thread(self._start), name="tollhouse-topology")
        topology = await asyncio.shield(self._starting)
        if self._watched is None:
            self._watched = self._watch(topology)
        return await self._watched.locate()

    def login(self) -> Login:
        """Give the login that the topology was made with."""
        return Login() if self._watched is None else self._watched.login()

    def suspect(self, address: Address, signal: FailoverHint) -> None:
        """Have the resolver look again."""
        if self._watched is not None:
            self._watched.suspect(address, signal)

    def subscribe(self, changed: OnPrimaryEvent) -> None:
        """Pass it on to the resolver, once there is one."""
        self._subscribers.append(changed)

    def health(self) -> ServiceHealth | None:
        """Describe the service; None before it was started."""
        return None if self._watched is None else self._watched.health()

    async def aclose(self) -> None:
        """End the resolver, then the six processes."""
        if self._resolver is not None:
            await self._resolver.aclose()
        if self._starting is not None:
            await asyncio.wait({self._starting})
            if not _failed(self._starting):
                await asyncio.to_thread(self._starting.result().stop)

    def _start(self) -> SentinelCluster:
        from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster

        return SentinelCluster.start(binary=self._binary)

    def _watch(self, topology: SentinelCluster) -> Watched:
        place = parse("embedded-sentinel://", topology.url)
        assert isinstance(place.target, SentinelService)
        login = Login(username=place.username, password=place.password)
        self._resolver = SentinelResolver(place.target, login, self._dialer)
        self._resolver.subscribe(self._tell)
        return Watched(self._resolver, login)

    def _tell(self, news: PrimaryEvent) -> None:
        for changed in self._subscribers:
            changed(news)


def _failed(starting: asyncio.Task[Any]) -> bool:
    """Tell whether a start is over without a result."""
    return starting.done() and (starting.cancelled() or starting.exception() is not None)
