"""The connections of a store: for calls, for large values, for writes that wait for replicas, and for the watch.

A large value does not hold up other calls, and neither does a wait for replicas. The connection for calls speaks for
the store: when its breaker opens or closes, that is reported, and with it the others' breakers close.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tollhouse.metrics import Metrics
from tollhouse.scripts import Scripts
from tollhouse.stores.discovery.locator import Locator
from tollhouse.stores.reconnecting import ConnectionConfig, ReconnectingConnection
from tollhouse.stores.replication.watch import watch_replication
from tollhouse.stores.transport.connection import Connection
from tollhouse.stores.transport.databases import Database, DatabaseChoice
from tollhouse.stores.transport.dialer import Dialer
from tollhouse.stores.transport.handshake import ServerInfo
from tollhouse.stores.transport.redial import ConnectionTiming, Jitter
from tollhouse.stores.transport.refusals import StoreRefusals
from tollhouse.stores.urls import StoreUrl


def connection_config(
    prepare: Callable[[Connection, ServerInfo], Awaitable[None]],
    url: StoreUrl,
    locator: Locator,
    scripts: Scripts,
    dialer: Dialer | None,
    choice: DatabaseChoice | None,
    timing: ConnectionTiming,
    jitter: Jitter,
) -> ConnectionConfig:
    """Return what the connections of a store have in common."""
    return ConnectionConfig(
        url=url,
        database=Database(url, choice or DatabaseChoice()),
        locator=locator,
        dialer=Dialer() if dialer is None else dialer,
        scripts=tuple(scripts.values()),
        prepare=prepare,
        timing=timing,
        jitter=jitter,
    )


class StoreConnections:
    """The connections of the store `name`, each made when it is first used.

    `watch` is None if the primary is trusted without a bound; `marker` is the key that it writes. `on_trust_change`,
    which must return at once, is called when trust ends or returns.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        name: str,
        marker: str,
        refusals: StoreRefusals,
        metrics: Metrics,
        on_trust_change: Callable[[], None],
    ) -> None:
        self._name = name
        self._refusals = refusals
        self._metrics = metrics
        self._on_trust_change = on_trust_change
        self.fast = ReconnectingConnection(config, name=f"{name}-fast", on_breaker_change=self._report_breaker)
        self.bulk = ReconnectingConnection(config, name=f"{name}-bulk")
        self.durable = ReconnectingConnection(config, name=f"{name}-durable")
        self.watch = watch_replication(config, name, marker, self._report_trust)

    @property
    def made(self) -> int:
        """Return the number of connections made, reconnects included."""
        return sum(each.connections for each in self._all)

    @property
    def in_flight(self) -> int:
        """Return the number of calls without a reply, those of cancelled callers included."""
        return sum(each.in_flight for each in self._all)

    def start_watch(self) -> None:
        """Begin to watch the replication, if it is to be watched; no effect the second time."""
        if self.watch is not None:
            self.watch.start()

    async def aclose(self) -> None:
        """End the watch and close the connections; calls that wait for one end."""
        if self.watch is not None:
            await self.watch.aclose()
        for each in self._all:
            await each.aclose()

    @property
    def _all(self) -> tuple[ReconnectingConnection, ...]:
        watching = () if self.watch is None else (self.watch.over,)
        return self.fast, self.bulk, self.durable, *watching

    def _report_trust(self) -> None:
        self._on_trust_change()
        self._count_breaker()

    def _report_breaker(self) -> None:
        breaker = self.fast.breaker
        self._count_breaker()
        if breaker.is_open:
            self._refusals.report(self.fast.refusal, breaker.reason)
            return
        self._refusals.end()
        for each in self._all:
            each.breaker.reset()

    def _count_breaker(self) -> None:
        """Set the metric to whether calls fail at once: for want of a server, or of trust in it."""
        distrusted = self.watch is not None and not self.watch.trusted
        self._metrics.breaker(self._name, open=self.fast.breaker.is_open or distrusted)
