"""The push lane: one connection that listens to a channel, and is made again when it was lost.

What is published while it is down is lost; whoever listens is told that it was. It follows the primary by itself,
also in a process that makes no calls, and prepares each new primary as links do. It begins to listen first and
prepares then, so that nothing is missed in between.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from tollhouse.errors import ConfigurationError
from tollhouse.stores.discovery.locator import Address
from tollhouse.stores.discovery.primary_history import FailoverPause, PrimaryEvent
from tollhouse.stores.reconnecting import CONNECT_S, Links, Prepare
from tollhouse.stores.transport.connection import Lane, encode
from tollhouse.stores.transport.errors import CALL_FAILED
from tollhouse.stores.transport.handshake import Server, shake_hands

HEARTBEAT_S: Final = 5.0
"""A connection that is silent for so long is asked whether it still stands."""
_ANSWER_S: Final = 1.0
_PAUSE_MIN_S: Final = 0.02
_PAUSE_MAX_S: Final = 1.0
_FAILED: Final = (OSError, TimeoutError, ConfigurationError, *CALL_FAILED)

_log = logging.getLogger("tollhouse.stores")


class Listener:
    """Hands on what is published on a channel, from `start` until `aclose`.

    `heard` gets each message. `begun` is called when messages are heard from then on, `missed` when the connection
    was lost. All must return at once.
    """

    def __init__(
        self,
        common: Links,
        *,
        name: str,
        channel: str,
        heard: Callable[[bytes], None],
        missed: Callable[[], None],
        begun: Callable[[], None] | None = None,
        prepare: Prepare,
    ) -> None:
        self._common = common
        self._name = name
        self._channel = channel
        self._heard = heard
        self._missed = missed
        self._begun = begun
        self._prepare = prepare
        self._server: Server | None = None
        self._lane: Lane | None = None
        self._address: Address | None = None
        self._named: Address | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        common.finder.subscribe(self._moved)

    def start(self) -> None:
        """Begin to listen; when that was done, or after the end, do nothing."""
        if self._task is None and not self._ended:
            self._task = asyncio.get_running_loop().create_task(self._keep(), name=f"tollhouse-listen-{self._name}")

    async def aclose(self) -> None:
        """End the connection and the attempt to make one."""
        self._ended = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _keep(self) -> None:
        pause_s, told = _PAUSE_MIN_S, False
        while True:
            lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(CONNECT_S):
                    lane = await self._connect(lost)
            except _FAILED as error:
                if not told:
                    _log.warning("cannot listen to announcements", extra={"store": self._name, "reason": str(error)})
                told = True
            else:
                pause_s, told = _PAUSE_MIN_S, False
                if self._begun is not None:
                    self._begun()
                await self._hold(lane, lost)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnects, no secret
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)

    async def _connect(self, lost: asyncio.Future[None]) -> Lane:
        common = self._common
        self._address = await common.finder.locate()
        lane, _ = await common.dialer.dial(self._address, on_lost=partial(lost.set_result, None), on_push=self._pushed)
        try:
            deadline_s = asyncio.get_running_loop().time() + CONNECT_S
            login = common.finder.login()
            server = await shake_hands(lane, f"{self._name}-push", login, common.url.db, common.scripts, deadline_s)
            # What SUBSCRIBE answers in RESP3 are pushes; the reply that is waited for is that of PING.
            await lane.send(encode("SUBSCRIBE", self._channel) + encode("PING"), deadline_s)
            if self._server is None or server.primary != self._server.primary:
                await self._prepare(lane, server)
        except BaseException:
            await lane.aclose()
            raise
        self._server = server
        return lane

    async def _hold(self, lane: Lane, lost: asyncio.Future[None]) -> None:
        """Return when the connection is lost, or does not answer."""
        self._lane = lane
        try:
            while True:
                await asyncio.wait({lost}, timeout=HEARTBEAT_S)
                if self._replaced or lost.done():
                    break
                await lane.send(encode("PING"), asyncio.get_running_loop().time() + _ANSWER_S)
        except CALL_FAILED:
            pass
        finally:
            self._lane = None
            await lane.aclose()
        self._missed()

    def _pushed(self, push: list[Any]) -> None:
        match push:
            case [b"message", bytes(), bytes(payload)]:
                self._heard(payload)
            case _:
                return

    def _moved(self, news: PrimaryEvent) -> None:
        """Leave a primary that was replaced; what it announces may be about to be lost."""
        if isinstance(news, FailoverPause):
            return
        self._named = news.address
        if self._lane is not None and self._replaced:
            self._lane.close()

    @property
    def _replaced(self) -> bool:
        return self._named is not None and self._address != self._named
