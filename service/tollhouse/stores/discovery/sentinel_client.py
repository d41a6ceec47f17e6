"""One connection to one Sentinel: it is asked, it announces, and it is connected to again when it was lost.

Announcements are lost with the connection, so whoever listens is told of every change and asks anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from tollhouse.stores.addresses import shown
from tollhouse.stores.discovery.sentinel_events import CHANNELS, Announcement, read
from tollhouse.stores.discovery.sentinel_replies import Answer, NoAnswer, questions, read_answer, refusal
from tollhouse.stores.discovery.timing import Pace
from tollhouse.stores.transport.connection import Lane, encode
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.errors import CALL_FAILED, DeadlinePassed, ServerError
from tollhouse.stores.urls import Host, Sentinel, Tcp

_FAILED: Final = (OSError, TimeoutError, *CALL_FAILED)


class SentinelLine:
    """What one Sentinel says of one service. `keep` is its life; without it nothing connects."""

    def __init__(
        self,
        host: Host,
        target: Sentinel,
        dialer: Dialer,
        pace: Pace,
        *,
        on_announced: Callable[[Announcement], None],
        on_changed: Callable[[], None],
        spread: Callable[[float, float], float],
    ) -> None:
        self.host = host
        self.id = shown(host)
        self._pace = pace
        self._service = target.service
        self._address = Tcp(host=host[0], port=host[1], tls=target.tls, ca=target.ca)
        self._login = Login(username=target.username, password=target.password)
        self._dialer = dialer
        self._on_announced = on_announced
        self._on_changed = on_changed
        self._spread = spread
        self._questions = questions(target.service)
        self._lane: Lane | None = None
        self._tried = asyncio.Event()
        self._pause_s = pace.again_s
        self.silence = self._explained(TimeoutError())

    @property
    def reachable(self) -> bool:
        """Tell whether the connection stands."""
        return self._lane is not None

    async def keep(self) -> None:
        """Stay connected until cancelled."""
        while True:
            self._tried.clear()
            lost = asyncio.Event()
            try:
                lane = await self._connect(lost)
            except _FAILED as error:
                self.silence = self._explained(error)
            else:
                await self._hold(lane, lost)
            self._tried.set()
            await asyncio.sleep(self._pause_s * self._spread(0.5, 1.0))
            self._pause_s = min(self._pause_s * 2, self._pace.doubtful_s)

    async def ask(self) -> Answer | NoAnswer:
        """Give what the Sentinel says now; an attempt to connect that is under way is waited for."""
        deadline_s = asyncio.get_running_loop().time() + self._pace.within_s
        if self._lane is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline_s):
                    await self._tried.wait()
        lane = self._lane
        if lane is None:
            return self.silence
        try:
            replies = await asyncio.gather(*(lane.send(question, deadline_s) for question in self._questions))
        except CALL_FAILED as error:
            return self._explained(error)
        self._pause_s = self._pace.again_s
        return read_answer(self.host, self.id, self._service, replies)

    async def _connect(self, lost: asyncio.Event) -> Lane:
        """Connect, learn the Sentinel's id and subscribe: one write, one wait."""
        within_s = self._pace.within_s
        async with asyncio.timeout(within_s):
            lane, _ = await self._dialer.dial(self._address, on_lost=lost.set, on_push=self._pushed, stall_s=within_s)
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

    async def _hold(self, lane: Lane, lost: asyncio.Event) -> None:
        self._lane = lane
        self._tried.set()
        self._on_changed()
        try:
            await lost.wait()
        finally:
            self._lane = None
            self.silence = NoAnswer(reason=f"{shown(self.host)}: the connection ended")
            lane.close()
        self._on_changed()

    def _pushed(self, push: list[Any]) -> None:
        match push:
            case [b"message", bytes(channel), bytes(text)]:
                announced = read(channel.decode(errors="replace"), text.decode(errors="replace"), self._service)
            case _:
                return
        if announced is not None:
            self._on_announced(announced)

    def _explained(self, error: Exception) -> NoAnswer:
        if isinstance(error, ServerError):
            return refusal(self.host, self._service, error)
        if isinstance(error, TimeoutError | DeadlinePassed):
            return NoAnswer(reason=f"{shown(self.host)}: no answer within {self._pace.within_s * 1000:g} ms")
        return NoAnswer(reason=f"{shown(self.host)}: {str(error) or type(error).__name__}")
