"""A lane: one multiplexed connection.

Calls of one event-loop tick leave in few writes, and replies come back in the order of the calls
(RESP pipelining). Each call owns a slot in a first-in first-out queue. A caller that is cancelled
or runs out of time leaves its slot behind: the reply that arrives later finds the slot, sees that
nobody waits, and is dropped. So no reply can reach the wrong caller, and no cancellation costs a
connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from hiredis import (
    ProtocolError,
    PushNotification,
    Reader,
    pack_command,  # pyright: ignore[reportUnknownVariableType] - its stub takes a 1-tuple only
)

from tollhouse.stores.transport.errors import ConnectionFull, ConnectionLost, DeadlinePassed, ServerError

IN_FLIGHT_MAX = 4096
"""Calls that one lane carries at a time."""
UNSENT_BYTES_MAX = 8 * 1024 * 1024
"""Bytes that may wait for the socket."""
UNREAD_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of one reply that are gathered; a cached entry has 1 MiB, a listing of a user's sessions less."""
WRITE_MAX = 16
"""Calls that leave in one write. With all of a tick in one, the server would rest while they are made, and the callers
while it answers; measured at 50 callers, so many carry 1.2 to 1.6 times as much."""
STALL_S = 2.0
"""A lane whose oldest call is unanswered for so long is given up."""
_SWEEP_S = 0.01

Slot = tuple["asyncio.Future[Any]", float, float]
"""Who waits, until when, and since when, on the loop's clock."""


class Connection(asyncio.Protocol):
    """One connection that carries many calls; made by `connect` functions of asyncio, ended by `close`."""

    def __init__(
        self,
        *,
        on_lost: Callable[[], None] | None = None,
        on_push: Callable[[list[Any]], None] | None = None,
        stall_s: float = STALL_S,
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(notEnoughData=_NOTHING, replyError=ServerError)
        self._slots: deque[Slot] = deque()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._on_lost = on_lost
        self._on_push = on_push
        self._stall_s = stall_s
        self._in_flight_max = in_flight_max
        self._draining = False

    @property
    def alive(self) -> bool:
        """Tell whether calls can be sent."""
        return self._transport is not None and not self._draining and not self._transport.is_closing()

    @property
    def ended(self) -> bool:
        """Tell whether its socket is closed."""
        return self._ended.done()

    @property
    def in_flight(self) -> int:
        """Count the calls whose reply has not arrived, those nobody waits for included."""
        return len(self._slots)

    def send(self, frame: bytes, deadline_s: float) -> asyncio.Future[Any]:
        """Send one call; the future gives its reply, or raises ServerError, LaneLost or DeadlinePassed.

        `deadline_s` is on the loop's clock. Raises LaneFull, and sends nothing, at the lane's bounds.
        """
        if not self.alive:
            raise ConnectionFull("the connection is closed")
        if len(self._slots) >= self._in_flight_max:
            raise ConnectionFull(f"{len(self._slots)} calls are in flight")
        if not self._unsent:
            if self._transport is not None and self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
                raise ConnectionFull("the server does not read what it is sent")
            self._loop.call_soon(self._flush)
        self._unsent.append(frame)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._slots.append((future, deadline_s, self._loop.time()))
        if len(self._unsent) >= WRITE_MAX:
            self._flush()
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
        return future

    def drain(self, grace_s: float) -> None:
        """Send nothing more, and end the connection when all is answered, or after the grace at the latest.

        The server is not the primary any more. That it refused a call is still believed, so that the call can be
        sent again; that it ran one is not, since what it did is about to be lost: such a call raises LaneLost.
        """
        self._draining = True
        if self._slots:
            self._loop.call_later(grace_s, self.close)
        else:
            self.close()

    def close(self) -> None:
        """End the connection at once; calls under way raise LaneLost."""
        if self._transport is not None:
            self._transport.abort()
        self._lose()

    async def aclose(self) -> None:
        """End the connection, and return when its socket is closed."""
        self.close()
        if self._transport is not None:
            await asyncio.shield(self._ended)  # whoever is cancelled here does not end the wait of others

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; asyncio calls this."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand replies to whoever waits for them; asyncio calls this."""
        self._reader.feed(data)
        while True:
            try:
                reply = self._reader.gets()
            except ProtocolError:
                self.close()  # nothing that follows can be framed
                return
            if reply is _NOTHING:
                if self._reader.len() > UNREAD_BYTES_MAX:
                    self.close()  # no reply of ours is so long: it would only be gathered for ever
                return
            if isinstance(reply, PushNotification):
                if self._on_push is not None:
                    self._on_push(cast("list[Any]", reply))
            elif self._slots:
                _answer(self._slots.popleft()[0], self._filter_reply(reply))
            else:
                self.close()  # a reply that nobody asked for: the order can no longer be trusted
                return

    def connection_lost(self, exc: Exception | None) -> None:
        """Let every caller go; asyncio calls this."""
        del exc
        self._lose()
        self._ended.set_result(None)
        if self._on_lost is not None:
            self._on_lost()

    def _filter_reply(self, reply: object) -> object:
        if not self._draining:
            return reply
        if not self._slots:
            self._loop.call_soon(self.close)
        return reply if isinstance(reply, ServerError) else ConnectionLost("the server was replaced before it answered")

    def _flush(self) -> None:
        if self._transport is not None and self._unsent:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _sweep(self) -> None:
        """Let overdue callers go, and give up a connection that answers nothing."""
        self._sweeper = None
        now = self._loop.time()
        for future, deadline_s, _ in self._slots:
            if deadline_s <= now and not future.done():
                future.set_exception(DeadlinePassed("no reply in time"))
        if self._slots and now - self._slots[0][2] > self._stall_s:
            self.close()
        elif self._slots:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    def _lose(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._unsent.clear()
        while self._slots:
            future = self._slots.popleft()[0]
            if not future.done():
                future.set_exception(ConnectionLost("the connection ended"))


def encode(*parts: str | bytes | int) -> bytes:
    """Give the bytes of one command."""
    return cast("bytes", pack_command(cast("Any", parts)))


def _answer(future: asyncio.Future[Any], reply: object) -> None:
    if future.done():
        return
    if isinstance(reply, ServerError | ConnectionLost):
        future.set_exception(reply)
    else:
        future.set_result(reply)


_NOTHING = object()
