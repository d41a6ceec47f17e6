"""A store: runs scripts on one logical database, plainly or durably."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from types import CoroutineType
from typing import Any, Final

from tollhouse.clock import ServerClock, server_time
from tollhouse.errors import ConfigurationError
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.metrics import Metrics
from tollhouse.runtime.home_loop import HomeLoop, running_loop
from tollhouse.scripts import Argument, Scripts
from tollhouse.stores.arguments import PROBE_MS, as_list, is_bulky, scanned
from tollhouse.stores.calls import CallHistory, ScriptCalls
from tollhouse.stores.connections import StoreConnections, connection_config
from tollhouse.stores.discovery.locator import Locator, ServiceHealth
from tollhouse.stores.durability.commits import commits_on
from tollhouse.stores.durability.group_commit import GroupCommit
from tollhouse.stores.replay import Replay, Run
from tollhouse.stores.replica_shortage import ReplicaShortage
from tollhouse.stores.replication.primary_names import PrimaryNames
from tollhouse.stores.rights import MissingCommand, RightsLog, missing_commands
from tollhouse.stores.subscriber import Subscriber
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.databases import DatabaseChoice
from tollhouse.stores.transport.dialer import Dialer
from tollhouse.stores.transport.errors import CALL_FAILED
from tollhouse.stores.transport.handshake import ServerInfo, read_info
from tollhouse.stores.transport.redial import DIAL_FAILED, TIMING, ConnectionTiming, Jitter
from tollhouse.stores.transport.refusals import RefusalLog, StoreRefusals, refusal_to_connect
from tollhouse.stores.urls import StoreUrl

DEADLINE_S: Final = 1.0
"""Bound of a call, its wait for a connection included."""
_MARGIN_S: Final = 0.02
"""Taken off the deadline, so that callers have their answer before it and not with it."""


class Store:
    """One logical database on one server, or on whichever server is the primary.

    `first_start` waits for the start of a server of this process. The first calls await it, and only then their
    deadlines begin: such a start is no outage. `shortage` says how long calls wait while the primary has no replica.
    """

    _group_commit: GroupCommit | None = None
    _subscriber: Subscriber | None = None

    def __init__(
        self,
        name: str,
        url: StoreUrl,
        locator: Locator,
        scripts: Scripts,
        metrics: Metrics,
        *,
        namespace: Namespace = UNNAMED,
        first_start: Callable[[], Awaitable[None]] | None = None,
        dialer: Dialer | None = None,
        clock: ServerClock = server_time,
        deadline_s: float = DEADLINE_S,
        timing: ConnectionTiming = TIMING,
        jitter: Jitter = random.uniform,
        shortage: ReplicaShortage | None = None,
        database_choice: DatabaseChoice | None = None,
        refusals: RefusalLog | None = None,
    ) -> None:
        self.name = name
        self.url = url
        self._locator = locator
        self._metrics = metrics
        self._namespace = namespace
        self._first_start = first_start
        self._deadline_s = max(deadline_s - _MARGIN_S, _MARGIN_S)
        self._home = HomeLoop(f"store {name!r}")
        self._rights = RightsLog(name)
        self._replay = Replay(self._replay_over_fast, jitter)
        shortage = ReplicaShortage(jitter=jitter) if shortage is None else shortage
        locator.subscribe(shortage.on_primary_event)
        self._config = connection_config(self._prepare, url, locator, scripts, dialer, database_choice, timing, jitter)
        self._refusals = StoreRefusals(refusals or RefusalLog(metrics), name, url.server, self._on_proof)
        self._connections = StoreConnections(
            self._config, name, namespace.marker(name), self._refusals, metrics, self._on_trust_change
        )
        self._fast = self._connections.fast
        names = PrimaryNames(self._fast, locator)
        self._calls = ScriptCalls(name, scripts, metrics, clock, names, self._replay, shortage, self._refusals)
        self._calls.watch = self._connections.watch

    @property
    def server(self) -> ServerInfo | None:
        """Return what the last handshake learned; None before the first."""
        return self._fast.server

    @property
    def connections(self) -> int:
        """Return the number of connections made, reconnects included."""
        return self._connections.made

    @property
    def in_flight(self) -> int:
        """Return the number of calls without a reply, those of cancelled callers included."""
        return self._connections.in_flight

    @property
    def is_available(self) -> bool:
        """Return False if the server did not answer, or refused this store, when it was last tried."""
        return not (self._fast.breaker.is_open or self.is_refused)

    @property
    def is_refused(self) -> bool:
        """Return True if only a change of the setup lets this store be used, as far as is known."""
        return self._refusals.is_refused

    def health(self) -> ServiceHealth | None:
        """Return what is known of the servers behind this store; None when it has one fixed server."""
        return self._locator.health()

    def on_new_primary(self, action: Callable[[Run], Awaitable[None]]) -> None:
        """Await `action` once on each new primary but the first, before any other call of this store there.

        It gets a function that runs scripts on that primary. When it raises, the connection is not used. While the
        primary refuses it for want of a replica, it is repeated; until it succeeds this store only reads there.
        """
        self._replay.action = action

    def listen(
        self,
        channel: str,
        on_message: Callable[[bytes], None],
        on_gap: Callable[[], None],
        on_subscribed: Callable[[], None] = lambda: None,
    ) -> None:
        """Pass on what is published on a channel, from the first script call that succeeds; one channel per store.

        Messages are lost while the connection is: `on_subscribed` is called each time that it was made and messages
        arrive from then on, `on_gap` each time that it was lost.
        """
        assert self._subscriber is None, "a store listens to one channel"
        self._subscriber = Subscriber(self._config, self.name, channel, on_message, on_gap, on_subscribed)

    def run(
        self, script: str, keys: Sequence[str], args: Sequence[Argument], *, waited_ms: int = 0
    ) -> CoroutineType[Any, Any, list[Any]]:
        """Run a script and return its reply; `now_ms` goes before `args`. Its deadline began `waited_ms` ago.

        Raise StoreUnavailable when no reply can be relied on, ScriptFailed when the call itself is wrong.
        """
        if self._first_start is not None:
            return self._run_after_start(self._first_start, script, keys, args, waited_ms)
        found = self._calls.scripts[script]
        over = self._connections.bulk if found.may_be_large and is_bulky(args) else self._fast
        if (loop := running_loop()) is not self._home.loop:
            loop = self._home.enter()
        return self._calls.run(over, found, keys, args, loop.time() + self._deadline_s - waited_ms / 1000)

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[list[Any], bool]:
        """Run a script; return its reply, and whether what it wrote, or relies on, outlives the server.

        Every replica that Sentinel could promote has to confirm it; without Sentinel, the server's append-only file.
        When there is neither the answer is False: nothing can be promised.
        """
        if self._first_start is not None:
            await self._await_start(self._first_start)
        deadline_s = self._deadline()
        await self._calls.ready(self._fast, deadline_s)
        if self._group_commit is None and not self._outlives():
            return await self.run(script, keys, args), False
        sent = CallHistory()
        found = self._calls.scripts[script]
        reply = await self._calls.run(self._connections.durable, found, keys, args, deadline_s, sent)
        connection = sent.connection
        assert connection is not None
        if self._group_commit is None or self._group_commit.connection is not connection:
            marker = self._namespace.marker(self.name)
            self._group_commit = commits_on(connection, self._locator, marker, self._rights.log_refusal)
        return reply, await self._group_commit.confirm(deadline_s)

    async def missing_commands(self) -> tuple[MissingCommand, ...]:
        """Return the commands that the account lacks, found over a connection of its own; raise as `command` does."""
        await self.command("PING")
        try:
            return await missing_commands(self._config, self.name, self._namespace)
        except DIAL_FAILED as error:
            raise self._calls.unavailable("not-sent", str(error) or "no answer in time") from error

    async def info(self, section: str) -> dict[str, str]:
        """Return a section of INFO; an empty one if the account may not ask."""
        if self.server is None:
            await self.command("PING")
        assert self.server is not None
        return {} if "INFO" in self.server.lacks else read_info(await self.command("INFO", section))

    async def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[str]]:
        """Return the next cursor and the keys of one bounded step that match; a cursor of 0 ends the walk."""
        return scanned(await self.command("SCAN", cursor, "MATCH", match, "COUNT", count))

    async def ping(self) -> float:
        """Return the time of one round trip, in milliseconds."""
        await self.command("PING")
        began_s = time.perf_counter()
        await self.command("PING")
        return (time.perf_counter() - began_s) * 1000

    async def probe(self) -> None:
        """Write a key that expires soon by a script, as this store writes; raise as `run` does."""
        await self.run(f"{self.name}/probe", [self._namespace.probe(self.name)], [PROBE_MS])

    async def command(self, *parts: str | bytes | int) -> Any:
        """Send one plain command that reads or that may be sent twice; for administration and health."""
        if self._first_start is not None:
            await self._await_start(self._first_start)
        deadline_s = self._deadline()
        connection = await self._calls.ready(self._fast, deadline_s)
        try:
            return await connection.send(encode(*parts), deadline_s)
        except CALL_FAILED as error:
            self._fast.report_error(connection, error)
            self._rights.log_refusal(error)
            raise self._calls.failure(error, str(parts[0])) from error

    async def aclose(self) -> None:
        """Close the connections; calls that wait end with StoreUnavailable, later ones raise ConfigurationError."""
        self._home.close()
        if self._subscriber is not None:
            await self._subscriber.aclose()
        await self._connections.aclose()
        if self._group_commit is not None:
            await self._group_commit.aclose()
        await self._calls.aclose()

    def _outlives(self) -> bool:
        """Return whether anything outlives the server: its replicas, or its file."""
        appends = self._fast.server is not None and self._fast.server.appends
        return appends or self._locator.health() is not None

    async def _run_after_start(
        self,
        first_start: Callable[[], Awaitable[None]],
        script: str,
        keys: Sequence[str],
        args: Sequence[Argument],
        waited_ms: int,
    ) -> list[Any]:
        await self._await_start(first_start)
        return await self.run(script, keys, args, waited_ms=waited_ms)

    async def _await_start(self, first_start: Callable[[], Awaitable[None]]) -> None:
        """Wait until the server was started; after the first start, or its failure, no call waits here again."""
        self._deadline()
        try:
            await first_start()
        except (OSError, ConfigurationError) as error:
            self._first_start = None
            refusal = refusal_to_connect(self.url.server, error, single=True, connect_s=self._config.timing.start_s)
            self._refusals.report(refusal, "")
            raise self._calls.unavailable("not-sent", refusal.text, refusal) from error
        self._first_start = None

    async def _prepare(self, connection: Connection, server: ServerInfo) -> None:
        self._rights.log(server.lacks)
        self._connections.start_watch()
        scripts = self._calls.scripts

        async def run(script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
            return as_list(await self._calls.call(connection, server, scripts[script], keys, args, self._deadline()))

        await self._replay.on_connected(server.primary, run)

    async def _replay_over_fast(self) -> None:
        """Try a replay that is due; leave a server that refuses it for another reason than a missing replica."""
        connection = await self._fast.connected(self._deadline())
        assert self._fast.server is not None
        try:
            await self._prepare(connection, self._fast.server)
        except CALL_FAILED:
            connection.close()
            raise

    def _deadline(self) -> float:
        if (loop := running_loop()) is not self._home.loop:
            loop = self._home.enter()
        return loop.time() + self._deadline_s

    def _on_trust_change(self) -> None:
        """Make calls ask before they are sent: the primary is not trusted, or it is again."""
        self._calls.report_up(up=False)

    def _on_proof(self) -> None:
        """Start to listen, and log what handshakes found out: until now nothing but that the store cannot be used."""
        if self._subscriber is not None:
            self._subscriber.start()
        self._rights.release()
        self._config.database.log_sharing()
