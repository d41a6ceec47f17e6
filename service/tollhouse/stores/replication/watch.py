"""Watches whether replicas still acknowledge what their primary takes; without that, it is not trusted for long.

A primary that is cut off from its replicas, together with its clients, goes on to answer. All that it takes is lost
once the others have promoted a replica, and nothing on its side tells. With `max_unreplicated_ms` the loss has a bound:
a marker is written and confirmed again and again, over a connection of its own.

| state      | calls                                                 | left by                                |
|------------|-------------------------------------------------------|----------------------------------------|
| trusted    | are sent                                              | a bound without an acknowledgement     |
| distrusted | are not sent; a reply that still arrives is ambiguous | an acknowledgement, or another primary |

One replica that could be promoted is enough. A new primary is trusted for the bound from the moment at which this
process adopts it, since its replicas need about a second to follow it; the first one from the first connection.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Final

from tollhouse.errors import ConfigurationError
from tollhouse.logs import Log
from tollhouse.stores.arguments import marker_write
from tollhouse.stores.discovery.primary_history import Generation, PrimaryEvent
from tollhouse.stores.discovery.role_probe import Primary, read_role
from tollhouse.stores.reconnecting import ConnectionConfig, ReconnectingConnection
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.errors import CALL_FAILED, ServerError
from tollhouse.stores.urls import EmbeddedClusterTarget, Replicated, StoreUrl

LOOKS: Final = 4
"""How often it looks within the bound, so that one slow answer is no reason for distrust."""

_log = Log("tollhouse.stores")


class ReplicationWatch:
    """The watch over the primary of one store; `on_change` is called at every change and must return at once."""

    def __init__(
        self, config: ConnectionConfig, name: str, marker: str, bound_s: float, on_change: Callable[[], None]
    ) -> None:
        self.over = ReconnectingConnection(config, name=f"{name}-replication")
        self._locator = config.locator
        self._problem = ""
        self._marker = marker_write(marker)
        self._bound_s = bound_s
        self._name = name
        self._on_change = on_change
        self._until_s = math.inf
        self._lapsed = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        config.locator.subscribe(self._on_primary_event)

    @property
    def trusted(self) -> bool:
        """Return whether the primary may be used, and its replies relied on."""
        return asyncio.get_running_loop().time() <= self._until_s

    @property
    def reason(self) -> str:
        """Return why the primary is not trusted."""
        return (
            f"no replica has acknowledged what the primary took for {self._bound_s:g} s, so it may be lost; calls are "
            f"refused until one does, or another primary is found (max_unreplicated_ms){self._problem}"
        )

    def start(self) -> None:
        """Begin to watch; no effect the second time."""
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._trust_since(loop.time())
            self._task = loop.create_task(self._run(), name=f"tollhouse-replication-{self._name}", context=Context())

    async def aclose(self) -> None:
        """End the watch, and close its connection."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self.over.aclose()

    async def _run(self) -> None:
        while True:
            began_s = asyncio.get_running_loop().time()
            if await self._is_confirmed(began_s + self._bound_s):
                self._trust_since(began_s)
            await asyncio.sleep(self._bound_s / LOOKS)

    async def _is_confirmed(self, deadline_s: float) -> bool:
        try:
            connection = await self.over.connected(deadline_s)
        except CALL_FAILED as error:
            self._problem = f": {error}"
            return False
        try:
            confirmed = await self._confirm(connection, deadline_s)
        except CALL_FAILED as error:
            self._problem = f": {error}"
            self.over.report_error(connection, error)
            return False
        self._problem = ""
        return confirmed

    async def _confirm(self, connection: Connection, deadline_s: float) -> bool:
        """Return whether a replica that could be promoted has all that the server took before this call.

        `WAIT` counts any replica. So it waits for one more than those that could not be promoted.
        """
        health = self._locator.health()
        promotable = 0 if health is None else health.promotable
        others = max(await self._attached(connection, promotable, deadline_s) - promotable, 0)
        marker = connection.send(self._marker, deadline_s)
        wait_ms = round(self._bound_s * 1000 / LOOKS)
        count = connection.send(encode("WAIT", others + 1, wait_ms), deadline_s)
        await asyncio.gather(marker, count)
        return count.result() > others

    async def _attached(self, connection: Connection, otherwise: int, deadline_s: float) -> int:
        """Return how many replicas the server has; `otherwise` if it does not say so, or the account may not ask."""
        try:
            role = await connection.send(encode("ROLE"), deadline_s)
        except ServerError:
            return otherwise
        read = read_role(role)
        return len(read.replicas) if isinstance(read, Primary) else otherwise

    def _on_primary_event(self, event: PrimaryEvent) -> None:
        if isinstance(event, Generation) and self._task is not None and not self._task.done():
            self._trust_since(asyncio.get_running_loop().time())

    def _trust_since(self, since_s: float) -> None:
        """Trust the primary for the bound from `since_s` on; report it if it was distrusted."""
        loop = asyncio.get_running_loop()
        self._until_s = since_s + self._bound_s
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._until_s, self._lapse)
        if self._lapsed and self.trusted:
            self._lapsed = False
            _log.info("replicas acknowledge again", extra={"store": self._name})
            self._on_change()

    def _lapse(self) -> None:
        self._lapsed = True
        fields = {"store": self._name, "reason": self.reason}
        _log.warning("primary is not trusted, calls fail at once", extra=fields)
        self._on_change()


def watch_replication(
    config: ConnectionConfig, name: str, marker: str, on_change: Callable[[], None]
) -> ReplicationWatch | None:
    """Return a watch; None without a bound, and for a server that stands alone."""
    bound_s = config.timing.max_unreplicated_s
    if bound_s is None or not has_replicas(config.url):
        return None
    return ReplicationWatch(config, name, marker, bound_s, on_change)


def require_replicas(bound_s: float | None, urls: Iterable[StoreUrl]) -> None:
    """Raise ConfigurationError if there is a bound, and no server whose replicas could keep it."""
    if bound_s is not None and not any(map(has_replicas, urls)):
        remedy = "name Sentinels or every server in the URL, or leave it out"
        raise ConfigurationError("max_unreplicated_ms", round(bound_s * 1000), remedy)


def has_replicas(url: StoreUrl) -> bool:
    """Return True if a URL names a primary with replicas, which Sentinels or the URL itself list."""
    return isinstance(url.target, Replicated | EmbeddedClusterTarget)
