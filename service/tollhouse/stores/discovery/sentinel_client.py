"""One connection to one Sentinel: it is asked, it announces, and it is connected to again when it was lost.

Announcements are lost with the connection, so whoever listens is told of every change and asks anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from tollhouse.stores.addresses import format_host
from tollhouse.stores.discovery.sentinel_events import CHANNELS, SentinelEvent, read_event
from tollhouse.stores.discovery.sentinel_replies import (
    SentinelReply,
    Unavailable,
    poll_commands,
    read_refusal,
    read_replies,
)
from tollhouse.stores.discovery.timing import ResolverTiming
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.errors import CALL_FAILED, DeadlinePassed, ServerError
from tollhouse.stores.urls import Host, SentinelService, TcpAddress

_FAILED: Final = (OSError, TimeoutError, *CALL_FAILED)


class SentinelClient:
    """What one Sentinel says of one service. `keep` is its life; without it nothing connects."""

    def __init__(
        self,
        host: Host,
        target: SentinelService,
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
        self._address = TcpAddress(host=host[0], port=host[1], tls=target.tls, ca=target.ca)
        self._login = Login(username=target.username, password=target.password)
        self._dialer = dialer
        self._on_event = on_event
        self._on_connection_change = on_connection_change
        self._jitter = jitter
        self._questions = poll_commands(target.service)
        self._lane: Connection | None = None
        self._tried = asyncio.Event()
        self._pause_s = timing.pause_min_s
        self.unavailable = self._explained(TimeoutError())

    @property
    def connected(self) -> bool:
        """Tell whether the connection stands."""
        return self._lane is not None

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            self._tried.clear()
            lost = asyncio.Event()
            try:
                lane = await self._connect(lost)
            except _FAILED as error:
                self.unavailable = self._explained(error)
            else:
                await self._hold(lane, lost)
            self._tried.set()
            await asyncio.sleep(self._pause_s * self._jitter(0.5, 1.0))
            self._pause_s = min(self._pause_s * 2, self._timing.pause_max_s)

    async def poll(self) -> SentinelReply | Unavailable:
        """Give what the Sentinel says now; an attempt to connect that is under way is waited for."""
        deadline_s = asyncio.get_running_loop().time() + self._timing.timeout_s
        if self._lane is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline_s):
                    await self._tried.wait()
        lane = self._lane
        if lane is None:
            return self.unavailable
        try:
            replies = await asyncio.gather(*(lane.send(question, deadline_s) for question in self._questions))
        except CALL_FAILED as error:
            return self._explained(error)
        self._pause_s = self._timing.pause_min_s
        return read_replies(self.host, self.id, self._service, replies)

    async def _connect(self, lost: asyncio.Event) -> Connection:
        """Connect, learn the Sentinel's id and subscribe: one write, one wait."""
        within_s = self._timing.timeout_s
        async with asyncio.timeout(within_s):
            lane, _ = await self._dialer.dial(self._address, on_lost=lost.set, on_push=self._on_push, stall_s=within_s)
        deadline_s = asyncio.get_running_loop().time() + within_s
        try:
            _, identity, _ = await asyncio.gather(
                lane.send(self._login.hello("tollhouse-resolver"), deadline_s),
                lane.send(encode("SENTINEL", "MYID"), deadline_s),
                # What SUBSCRIBE answers in RESP3 are pushes; the reply that is waited for is that of PING.
                lane.send(encode("SUBSCRIBE", *CHANNELS) + encode("PING"), deadline_s),
            )
        except BaseException:
            lane.close()
            raise
        self.id = str(identity)
        return lane

    async def _hold(self, lane: Connection, lost: asyncio.Event) -> None:
        self._lane = lane
        self._tried.set()
        self._on_connection_change()
        try:
            await lost.wait()
        finally:
            self._lane = None
            self.unavailable = Unavailable(reason=f"{format_host(self.host)}: the connection ended")
            lane.close()
        self._on_connection_change()

    def _on_push(self, push: list[Any]) -> None:
        match push:
            case [b"message", bytes(channel), bytes(text)]:
                announced = read_event(channel.decode(errors="replace"), text.decode(errors="replace"), self._service)
            case _:
                return
        if announced is not None:
            self._on_event(announced)

    def _explained(self, error: Exception) -> Unavailable:
        if isinstance(error, ServerError):
            return read_refusal(self.host, self._service, error)
        if isinstance(error, TimeoutError | DeadlinePassed):
            return Unavailable(
                reason=f"{format_host(self.host)}: no answer within {self._timing.timeout_s * 1000:g} ms"
            )
        return Unavailable(reason=f"{format_host(self.host)}: {str(error) or type(error).__name__}")
