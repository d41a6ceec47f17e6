"""Locators of servers that this process starts when the first store asks for their address.

A caller that gives up waiting does not cancel the start for the callers after it. A start that failed is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.locator import Address, OnPrimaryEvent, ServiceHealth
from tollhouse.stores.discovery.primary_history import PrimaryEvent
from tollhouse.stores.discovery.sentinel_resolver import SentinelResolver
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.urls import EmbeddedTarget, SentinelService, UnixAddress, parse

if TYPE_CHECKING:
    from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
    from tollhouse.stores.embedded.server import EmbeddedServer

_log = logging.getLogger("tollhouse.stores")

_Servers = TypeVar("_Servers")


class EmbeddedLocator:
    """One embedded server, started by the first `locate`."""

    def __init__(self, target: EmbeddedTarget, binary: Path | None) -> None:
        self._path = None if target.path is None else Path(target.path)
        self._binary = binary
        self._starting: asyncio.Task[EmbeddedServer] | None = None

    async def locate(self) -> Address:
        """Return the server's socket. A server that died is not started again."""
        self._starting = _start_once(self._starting, self._start)
        server = await asyncio.shield(self._starting)
        return UnixAddress(path=str(server.socket_path))

    async def aclose(self) -> None:
        """Stop the server if this process started it; wait for one that is starting."""
        await _stop(self._starting)

    def _start(self) -> EmbeddedServer:
        from tollhouse.stores.embedded.server import EmbeddedServer

        if self._path is None and multiprocessing.parent_process() is not None:
            _log.warning("each worker has an embedded server of its own: set TOLLHOUSE_URL to share one")
        return EmbeddedServer.start(self._path, self._binary)


class EmbeddedClusterLocator:
    """An embedded primary with two replicas and three Sentinels, started by the first `locate`."""

    def __init__(self, dialer: Dialer, binary: Path | None) -> None:
        self._dialer = dialer
        self._binary = binary
        self._starting: asyncio.Task[SentinelCluster] | None = None
        self._resolver: SentinelResolver | None = None
        self._subscribers: list[OnPrimaryEvent] = []

    async def locate(self) -> Address:
        """Return the address of the primary."""
        self._starting = _start_once(self._starting, self._start)
        cluster = await asyncio.shield(self._starting)
        if self._resolver is None:
            self._resolver = self._make_resolver(cluster)
        return await self._resolver.locate()

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
        """End the resolver, then the six processes; wait for those that are starting."""
        if self._resolver is not None:
            await self._resolver.aclose()
        await _stop(self._starting)

    def _start(self) -> SentinelCluster:
        from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster

        return SentinelCluster.start(binary=self._binary)

    def _make_resolver(self, cluster: SentinelCluster) -> SentinelResolver:
        url = parse("embedded-sentinel://", cluster.url)
        assert isinstance(url.target, SentinelService)
        resolver = SentinelResolver(url.target, Login(username=url.username, password=url.password), self._dialer)
        resolver.subscribe(self._publish)
        return resolver

    def _publish(self, event: PrimaryEvent) -> None:
        for on_event in self._subscribers:
            on_event(event)


def _start_once(starting: asyncio.Task[_Servers] | None, start: Callable[[], _Servers]) -> asyncio.Task[_Servers]:
    """Return the start that is under way or done; begin one in a thread if there is none or it failed."""
    if starting is None or (starting.done() and (starting.cancelled() or starting.exception() is not None)):
        return asyncio.create_task(asyncio.to_thread(start), name="tollhouse-embedded")
    return starting


async def _stop(starting: asyncio.Task[EmbeddedServer] | asyncio.Task[SentinelCluster] | None) -> None:
    """Stop what was started, in a thread; a start that failed left nothing behind."""
    if starting is None:
        return
    await asyncio.wait({starting})
    if not starting.cancelled() and starting.exception() is None:
        await asyncio.to_thread(starting.result().stop)
