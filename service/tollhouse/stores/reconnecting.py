"""A connection that reconnects, and that fails calls at once while it cannot.

It connects when a call arrives. Calls wait for the connection for a bounded time, never past their deadline. A wait in
vain opens its circuit breaker.

When the locator names another primary, the connection to the old one is drained: the calls that the old primary still
refuses are sent to the new one, and its other replies are discarded. While Sentinel replaces the primary, calls wait:
sent to the old one, they would run there and be lost, or be cut off.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Final

from msgspec import Struct

from tollhouse.scripts import Script
from tollhouse.stores.circuit_breaker import CircuitBreaker
from tollhouse.stores.discovery.failover_hints import FailoverHint, failover_hint
from tollhouse.stores.discovery.locator import Address, Locator
from tollhouse.stores.discovery.primary_history import FailoverPause, PrimaryEvent
from tollhouse.stores.transport.call_pause import CallPause
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.databases import Database
from tollhouse.stores.transport.dialer import Dialer, LoginNow, login_now
from tollhouse.stores.transport.errors import (
    CALL_FAILED,
    ConnectionLost,
    DeadlinePassed,
    ServerError,
    Unreachable,
    is_mistake,
    verdict,
)
from tollhouse.stores.transport.handshake import ServerInfo, shake_hands
from tollhouse.stores.transport.redial import TIMING, Backoff, ConnectionTiming, Jitter, redial, set_up, wait_awake
from tollhouse.stores.transport.refusals import CORRECT, SILENT, START, ServerRefusal, refusal_to_connect, unanswered
from tollhouse.stores.transport.role_check import RoleCheck
from tollhouse.stores.urls import StoreUrl

_CLOSED: Final = "the store was closed"
_NO_CREDENTIALS: Final = "the function or file for credentials has not given them yet"


class ConnectionConfig(Struct, frozen=True, kw_only=True):
    """What all connections of one store have in common."""

    url: StoreUrl
    database: Database
    locator: Locator
    dialer: Dialer
    scripts: Sequence[Script]
    prepare: Callable[[Connection, ServerInfo], Awaitable[None]]
    """Prepares a new connection before its first call; the connection is not used when it raises."""
    timing: ConnectionTiming = TIMING
    jitter: Jitter = random.uniform


class ReconnectingConnection:
    """One connection at a time to whichever server is the primary; `server` is what its last handshake learned."""

    def __init__(
        self, config: ConnectionConfig, *, name: str, on_breaker_change: Callable[[], None] = lambda: None
    ) -> None:
        timing = config.timing
        self.server: ServerInfo | None = None
        self.connections = 0
        self.breaker = CircuitBreaker(self._probe, interval_s=timing.probe_s, on_change=on_breaker_change, name=name)
        self._config = config
        self._timing = timing
        self._name = name
        self._connection: Connection | None = None
        self._address: Address | None = None
        self._draining: tuple[Connection, ...] = ()
        self._connecting: asyncio.Task[None] | None = None
        self._attempt: asyncio.Timeout | None = None
        self._dialing: Address | None = None
        self._backoff = Backoff(timing.pause_min_s, timing.pause_max_s, jitter=config.jitter)
        self._refusal: ServerRefusal | None = None
        self.role_check = RoleCheck(self.report_error, timing)
        self._pause = CallPause(timing.failover_wait_s)
        self._ended = False
        config.locator.subscribe(self._on_primary_event)

    @property
    def in_flight(self) -> int:
        """Return the number of calls without a reply, those of cancelled callers included."""
        return sum(connection.in_flight for connection in self._open_connections())

    @property
    def refusal(self) -> ServerRefusal | None:
        """Return why there is no connection, as far as the locator or the last attempt knows."""
        health = self._config.locator.health()
        if health is None or not health.reason:
            return self._refusal
        remedy = CORRECT if health.refused else START
        return ServerRefusal(
            server=self._config.url.server, reason=health.reason, remedy=remedy, permanent=health.refused
        )

    @property
    def ready(self) -> Connection | None:
        """Return the connection when a call can be sent on it at once; None when it has to wait, or cannot be sent."""
        if (
            self._pause.event is None
            and self._connection is not None
            and self._connection.alive
            and not self.breaker.is_open
        ):
            return self._connection
        return None

    async def connected(self, deadline_s: float, *, late: bool = False) -> Connection:
        """Return a connection that can send, or raise Unreachable: at once while the breaker is open.

        A `late` call has spent its time elsewhere: that it waits in vain says nothing about the server.
        """
        if self.breaker.is_open:
            self.breaker.request_probe()
            raise self._unreachable(self.breaker.reason)
        try:
            return await self._wait_connected(deadline_s)
        except Unreachable as error:
            if not late:
                self.breaker.trip(str(error))
            raise

    def report_error(self, connection: Connection, error: Exception) -> None:
        """Draw the conclusions from a failed call.

        The locator may look for another primary. A server that says itself that it is not the primary is drained
        rather than cut off: what else it refuses can then be sent to the right one. So is one that does not know our
        login any more. Silence opens the breaker.
        """
        if connection is self._connection and self._address is not None:
            self._report_hint(self._address, error)
            if isinstance(error, DeadlinePassed):
                self.breaker.trip(str(error))
        if isinstance(error, ServerError) and (verdict(error) == "reconnect" or error.code == "NOAUTH"):
            connection.drain(self._timing.drain_s)

    async def aclose(self) -> None:
        """Close the connection, cancel the probe and the attempt to connect, and end the calls that wait for it."""
        self._ended = True
        self._pause.end()
        await self.breaker.aclose()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        for connection in self._open_connections():
            await connection.aclose()
        self._connection, self._draining = None, ()

    async def _wait_connected(self, deadline_s: float) -> Connection:
        await self._pause.wait(deadline_s)
        if self._ended:
            raise Unreachable(_CLOSED)
        if self._connection is not None and self._connection.alive:
            return self._connection
        if self._connecting is None:
            self._connecting = self._start_connecting()
        await wait_awake(self._connecting, self._timing.wait_s, deadline_s)
        if self._connection is not None and self._connection.alive:
            return self._connection
        self._refusal = self._refusal or unanswered(self._config.url.server, "no connection in time", SILENT)
        raise self._unreachable("")

    async def _probe(self) -> None:
        """Return when the server replies to a PING, be it with an error; connect first if need be."""
        deadline_s = asyncio.get_running_loop().time() + self._timing.connect_s
        connection = await self._wait_connected(deadline_s)
        with suppress(ServerError):
            await connection.send(encode("PING"), deadline_s)

    def _unreachable(self, otherwise: str) -> Unreachable:
        if self._ended:
            return Unreachable(_CLOSED)
        refusal = self.refusal
        return Unreachable(otherwise if refusal is None else refusal.text)

    def _start_connecting(self) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(
            self._connect(), name=f"tollhouse-connect-{self._name}", context=Context()
        )

    async def _connect(self) -> None:
        """Connect; give up after a mistake, and when the next attempt would begin later than callers wait."""
        try:
            await redial(
                self._connect_once,
                self._backoff,
                on_failure=self._on_connect_failure,
                permanent=is_mistake,
                give_up_s=asyncio.get_running_loop().time() + self._timing.wait_s,
            )
        finally:
            self._connecting = None

    async def _connect_once(self) -> Connection:
        login = await self._login()
        try:
            async with asyncio.timeout(self._timing.connect_s) as self._attempt:
                address = self._dialing = await self._config.locator.locate()
                try:
                    return await self._open(address, login)
                except (OSError, *CALL_FAILED) as error:
                    self._report_hint(address, error)
                    raise
        finally:
            self._dialing = None

    async def _login(self) -> LoginNow:
        """Return the login with its credentials of now; calls that give up meanwhile learn that those are missing."""
        refusal = self._refusal
        self._refusal = refusal or unanswered(self._config.url.server, _NO_CREDENTIALS)
        login = await login_now(self._config.locator.login())
        self._refusal = refusal
        return login

    async def _open(self, address: Address, login: LoginNow) -> Connection:
        connection, _ = await self._config.dialer.dial(
            address, on_lost=lambda: self._on_lost(address), stall_s=self._timing.stall_s
        )
        server = await set_up(connection, self._shake_hands(connection, address, login))
        self._draining = self._open_connections()
        self.server, self._connection, self._address = server, connection, address
        self.connections += 1
        self.role_check.restart()
        self._backoff.reset()
        self._refusal = None
        return connection

    async def _shake_hands(self, connection: Connection, address: Address, login: LoginNow) -> ServerInfo:
        config = self._config
        deadline_s = asyncio.get_running_loop().time() + self._timing.connect_s
        server = await shake_hands(connection, self._name, login, config.database, config.scripts, deadline_s)
        await self._check_primary(address)
        await config.prepare(connection, server)
        await self._check_primary(address)
        return server

    async def _check_primary(self, address: Address) -> None:
        """Raise ConnectionLost when another primary was named meanwhile."""
        if await self._config.locator.locate() != address:
            raise ConnectionLost("the primary changed while connecting")

    def _on_connect_failure(self, error: Exception) -> None:
        single = self._config.locator.health() is None
        server = self._config.url.server
        self._refusal = refusal_to_connect(server, error, single=single, connect_s=self._timing.connect_s)

    def _open_connections(self) -> tuple[Connection, ...]:
        """Return the present connection and those that drain, as far as their sockets are open."""
        every = (*self._draining, self._connection)
        return tuple(connection for connection in every if connection is not None and not connection.ended)

    def _report_hint(self, address: Address, error: Exception) -> None:
        hint = failover_hint(error)
        if hint is not None:
            self._config.locator.suspect(address, hint)

    def _on_lost(self, address: Address) -> None:
        if not self._ended:
            self._config.locator.suspect(address, FailoverHint(why="eof"))

    def _on_primary_event(self, event: PrimaryEvent) -> None:
        """Pause calls while the primary is replaced; drain the old one when the new one is named."""
        if isinstance(event, FailoverPause):
            self._pause.begin(event.wait_s)
            return
        self._pause.end()
        self.breaker.reset()
        self._backoff.reset()
        self._abandon_attempt(unless=event.address)
        if self._connection is None or self._address == event.address:
            return
        self._connection.drain(self._timing.drain_s)
        if self._connecting is None and not self._ended:
            self._connecting = self._start_connecting()

    def _abandon_attempt(self, *, unless: Address) -> None:
        """End an attempt at another address: one that hangs would keep callers from the new primary."""
        if self._attempt is not None and not self._attempt.expired() and self._dialing not in (None, unless):
            self._attempt.reschedule(0)
