"""A pub/sub subscriber: one connection that listens to a channel, and reconnects when it was lost.

Messages published while it is down are lost, and the subscriber reports the gap. It follows the primary by itself, also
in a process that makes no calls, and replays there as other connections do: it subscribes first and replays then, so
that nothing is missed in between. After a failure that only an operator can mend, such as a wrong password, it tries
again ever more rarely, but at least every 30 s, and at once when there is a new primary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any

from tollhouse.logs import Log
from tollhouse.stores.discovery.locator import Address
from tollhouse.stores.discovery.primary_history import FailoverPause, PrimaryEvent
from tollhouse.stores.reconnecting import ConnectionConfig
from tollhouse.stores.rights import COSTS
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.dialer import LoginNow, login_now
from tollhouse.stores.transport.errors import CALL_FAILED, is_lacking, is_mistake
from tollhouse.stores.transport.handshake import shake_hands
from tollhouse.stores.transport.redial import Backoff, keep_connected, set_up

_log = Log("tollhouse.stores")

Subscription = tuple[Connection, "asyncio.Future[None]"]
"""A connection that is subscribed, and what is done when it was lost."""


class Subscriber:
    """Passes on the messages of a channel as `Store.listen` says, from `start` until `aclose`.

    The three callbacks must return at once.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        name: str,
        channel: str,
        on_message: Callable[[bytes], None],
        on_gap: Callable[[], None],
        on_subscribed: Callable[[], None],
    ) -> None:
        self._config = config
        self._timing = config.timing
        self._name = name
        self._channel = channel
        self._on_message = on_message
        self._on_gap = on_gap
        self._on_subscribed = on_subscribed
        times = config.timing
        self._backoff = Backoff(times.pause_min_s, times.pause_max_s, jitter=config.jitter)
        self._refused = Backoff(times.refused_pause_min_s, times.refused_pause_max_s, jitter=config.jitter)
        self._moved = asyncio.Event()
        self._connection: Connection | None = None
        self._address: Address | None = None
        self._primary: Address | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure_logged = False
        self._ended = False
        config.locator.subscribe(self._on_primary_event)

    def start(self) -> None:
        """Begin to listen; do nothing when that was done, or after the end."""
        if self._task is None and not self._ended:
            listening = keep_connected(
                self._subscribe,
                self._listen,
                self._backoff,
                on_failure=self._on_connect_failure,
                permanent=is_mistake,
                permanent_backoff=self._refused,
                permanent_pause=self._pause,
            )
            self._task = asyncio.get_running_loop().create_task(
                listening, name=f"tollhouse-listen-{self._name}", context=Context()
            )

    async def aclose(self) -> None:
        """Close the connection, or cancel the attempt to connect."""
        self._ended = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _subscribe(self) -> Subscription:
        config = self._config
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._moved.clear()
        login = await login_now(config.locator.login())
        async with asyncio.timeout(self._timing.connect_s):
            self._address = await config.locator.locate()
            on_lost = partial(lost.set_result, None)
            connection, _ = await config.dialer.dial(
                self._address, on_lost=on_lost, on_push=self._on_push, stall_s=self._timing.stall_s
            )
            await set_up(connection, self._shake_hands(connection, login))
        return connection, lost

    async def _shake_hands(self, connection: Connection, login: LoginNow) -> None:
        config = self._config
        deadline_s = asyncio.get_running_loop().time() + self._timing.connect_s
        name = f"{self._name}-push"
        server = await shake_hands(connection, name, login, config.database, config.scripts, deadline_s)
        # In RESP3 the replies of SUBSCRIBE are pushes; the reply that is awaited is that of PING.
        await connection.send(encode("SUBSCRIBE", self._channel) + encode("PING"), deadline_s)
        await config.prepare(connection, server)

    async def _pause(self, pause_s: float) -> None:
        """Wait, but only until there is a new primary: another server may know the login."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._moved.wait()

    async def _listen(self, subscription: Subscription) -> None:
        """Return when the connection was lost, does not answer, or leads to a former primary."""
        connection, lost = subscription
        self._connection = connection
        self._failure_logged = False
        self._backoff.reset()
        self._on_subscribed()
        try:
            while True:
                await asyncio.wait({lost}, timeout=self._timing.heartbeat_s)
                if self._primary_changed or lost.done():
                    break
                deadline_s = asyncio.get_running_loop().time() + self._timing.heartbeat_timeout_s
                await connection.send(encode("PING"), deadline_s)
        except CALL_FAILED:
            pass
        finally:
            self._connection = None
            await connection.aclose()
        self._on_gap()

    def _on_connect_failure(self, error: Exception) -> None:
        if not self._failure_logged:
            reason = str(error) or f"no answer within {self._timing.connect_s:g} s"
            fields = {"store": self._name, "reason": reason}
            cost = {"cost": COSTS["SUBSCRIBE"]} if is_lacking(error) else {}
            _log.warning("cannot listen to announcements", extra={**fields, **cost})
        self._failure_logged = True

    def _on_push(self, push: list[Any]) -> None:
        if len(push) == 3 and push[0] == b"message":
            self._on_message(push[2])

    def _on_primary_event(self, event: PrimaryEvent) -> None:
        """Leave a primary that was replaced: what it announces may be about to be lost."""
        if isinstance(event, FailoverPause):
            return
        self._primary = event.address
        self._refused.reset()
        self._moved.set()
        if self._connection is not None and self._primary_changed:
            self._connection.close()

    @property
    def _primary_changed(self) -> bool:
        return self._primary is not None and self._address != self._primary
