"""A lasting connection to one Sentinel: it is polled, it publishes events, and it is dialled again after it was lost.

Events are lost with the connection, so every connect and disconnect is reported and leads to a new poll.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from tollhouse.stores.discovery.role_probe import CLIENT_NAME
from tollhouse.stores.discovery.sentinel_events import CHANNELS, SentinelEvent, read_event
from tollhouse.stores.discovery.sentinel_replies import (
    SentinelReply,
    decode,
    explain_silence,
    poll_commands,
    read_replies,
)
from tollhouse.stores.discovery.timing import ResolverTiming
from tollhouse.stores.discovery.unavailable import Unavailable
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.errors import CALL_FAILED
from tollhouse.stores.transport.redial import Backoff, keep_connected, set_up
from tollhouse.stores.transport.renewal import renew_login
from tollhouse.stores.urls import Host, SentinelService, address_of, format_host


class SentinelClient:
    """Polls one Sentinel about one service. It connects only while `run` runs."""

    def __init__(
        self,
        host: Host,
        target: SentinelService,
        login: Login,
        dialer: Dialer,
        timing: ResolverTiming,
        *,
        on_event: Callable[[SentinelEvent], None],
        on_connection_change: Callable[[], None],
        jitter: Callable[[float, float], float],
    ) -> None:
        self.host = host
        self.id = format_host(host)
        self._timing = timing
        self._service = target.service
        self._address = address_of(target, host)
        self._login = login
        self._dialer = dialer
        self._on_event = on_event
        self._on_connection_change = on_connection_change
        self._backoff = Backoff(timing.pause_min_s, timing.pause_max_s, jitter=jitter)
        self._commands = poll_commands(target.service)
        self._connection: Connection | None = None
        self._attempted = asyncio.Event()
        self._unavailable = self._explain(TimeoutError())

    @property
    def connected(self) -> bool:
        """True while there is a connection."""
        return self._connection is not None

    async def run(self) -> None:
        """Stay connected until cancelled."""
        await keep_connected(self._connect, self._hold, self._backoff, on_failure=self._on_failure)

    async def poll(self) -> SentinelReply | Unavailable:
        """Return what the Sentinel says now; if it is being connected to, wait for that first."""
        deadline_s = self._deadline_s()
        if self._connection is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline_s):
                    await self._attempted.wait()
        connection = self._connection
        if connection is None:
            return self._unavailable
        polled_s = asyncio.get_running_loop().time()
        try:
            replies = await asyncio.gather(*(connection.send(command, deadline_s) for command in self._commands))
        except CALL_FAILED as error:
            return self._explain(error)
        self._backoff.reset()
        return read_replies(self.host, self.id, self._service, replies, polled_s)

    async def _connect(self) -> tuple[Connection, asyncio.Event]:
        """Connect, and return the connection with the event of its loss."""
        self._attempted.clear()
        lost = asyncio.Event()
        timing = self._timing
        async with asyncio.timeout(timing.timeout_s):
            connection, _ = await self._dialer.dial(
                self._address,
                on_lost=lost.set,
                on_push=self._on_push,
                stall_s=timing.timeout_s,
                next_address_s=timing.next_address_s,
            )
        await set_up(connection, self._subscribe(connection))
        return connection, lost

    async def _subscribe(self, connection: Connection) -> None:
        """Log in, read the Sentinel's id and subscribe: one write, one wait."""
        login = await self._login.current()
        deadline_s = self._deadline_s()
        _, identity, _ = await asyncio.gather(
            connection.send(login.hello(CLIENT_NAME), deadline_s),
            connection.send(encode("SENTINEL", "MYID"), deadline_s),
            # The replies of SUBSCRIBE are pushes in RESP3; the reply that is awaited is that of PING.
            connection.send(encode("SUBSCRIBE", *CHANNELS) + encode("PING"), deadline_s),
        )
        self.id = str(decode(identity))
        renew_login(connection, self._login, login)

    async def _hold(self, connected: tuple[Connection, asyncio.Event]) -> None:
        self._connection, lost = connected
        self._attempted.set()
        self._on_connection_change()
        try:
            await lost.wait()
        finally:
            self._connection.close()
            self._connection = None
            self._unavailable = self._explain(ConnectionError("the connection ended"))
        self._on_connection_change()

    def _on_failure(self, error: Exception) -> None:
        self._unavailable = self._explain(error)
        self._attempted.set()

    def _on_push(self, push: list[Any]) -> None:
        match push:
            case [b"message", bytes(channel), bytes(text)]:
                event = read_event(channel.decode(errors="replace"), text.decode(errors="replace"), self._service)
                if event is not None:
                    self._on_event(event)
            case _:
                return

    def _explain(self, error: Exception) -> Unavailable:
        return explain_silence(self.host, self._service, error, self._timing.timeout_s)

    def _deadline_s(self) -> float:
        return asyncio.get_running_loop().time() + self._timing.timeout_s
