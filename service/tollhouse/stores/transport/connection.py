"""A multiplexed connection: many callers share one socket (RESP pipelining).

Calls of one event-loop tick leave in few writes, and replies arrive in the order of the calls. A call that finds
nothing in flight, as the one before it did, is written at once: it comes alone, and would wait a tick for no other.

Each call owns a slot in a first-in first-out queue. When its caller is cancelled or runs out of time, the slot stays:
the reply that arrives later is matched with it and dropped. So no reply can reach the wrong caller, and no cancellation
costs a connection.

Calls above the bound on slots wait in a queue. When replies free slots, calls that wait take them before any other call
can: while some wait, every slot is in use.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

from hiredis import (
    ProtocolError,
    PushNotification,
    Reader,
    pack_command,  # pyright: ignore[reportUnknownVariableType] - its stub takes a 1-tuple only
)

from tollhouse.stores.transport.errors import ConnectionFull, ConnectionLost, DeadlinePassed, ServerError
from tollhouse.stores.transport.waiting_calls import WaitingCalls

IN_FLIGHT_MAX = 4096
"""Bound of the calls without a reply; those above it wait."""
UNSENT_BYTES_MAX = 8 * 1024 * 1024
"""Bound of the bytes that wait for the socket."""
UNREAD_BYTES_MAX = 64 * 1024 * 1024
"""Bound of an incomplete reply; a cached entry has at most 1 MiB, a list of a user's sessions less."""
WRITE_MAX = 16
"""Calls in one write. With all calls of a tick in one write, the server would be idle while they are encoded, and the
callers while it answers. Measured with 50 callers: 1.2 to 1.6 times the throughput."""
STALL_S = 2.0
"""A connection is closed when its oldest call has had no reply for so long."""
_SWEEP_S = 0.01
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for no time: close() discards what is unsent, and resets the connection (tcp(7), socket(7))."""

Slot = tuple["asyncio.Future[Any]", float, float]
"""The caller's future, its deadline, and when it was sent, on the loop's clock."""


class Connection(asyncio.Protocol):
    """One connection that carries many calls. asyncio's `create_connection` makes it, `close` ends it."""

    def __init__(
        self,
        *,
        on_lost: Callable[[], None] | None = None,
        on_push: Callable[[list[Any]], None] = lambda _: None,
        stall_s: float = STALL_S,
        in_flight_max: int = IN_FLIGHT_MAX,
        waiting: WaitingCalls | None = None,
        unread_bytes_max: int = UNREAD_BYTES_MAX,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(notEnoughData=_NOTHING, replyError=ServerError)
        self._slots: deque[Slot] = deque()
        self._unsent: list[bytes] = []
        self._alone = False
        self._waiting = WaitingCalls() if waiting is None else waiting
        self._some_wait = False
        self._transport: asyncio.Transport | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._on_lost = on_lost
        self._on_push = on_push
        self._stall_s = stall_s
        self._in_flight_max = in_flight_max
        self._unread_bytes_max = unread_bytes_max
        self._draining = False
        self._owned: tuple[asyncio.Task[None], ...] = ()

    @property
    def alive(self) -> bool:
        """Return whether calls can be sent."""
        return self._transport is not None and not self._draining and not self._transport.is_closing()

    @property
    def ended(self) -> bool:
        """Return whether the socket is closed."""
        return self._ended.done()

    @property
    def in_flight(self) -> int:
        """Return the number of calls without a reply, those of cancelled callers included."""
        return len(self._slots)

    def send(self, frame: bytes, deadline_s: float) -> asyncio.Future[Any]:
        """Send one call; its future returns the reply, or raises ServerError, ConnectionLost or DeadlinePassed.

        `deadline_s` is on the loop's clock. A call above the bound on calls in flight waits for its turn; its future
        raises ConnectionFull when there is none in time, Unreachable when the connection ends first. If too many wait,
        or the connection is closed, raise ConnectionFull. In all these cases nothing was sent.
        """
        transport = self._transport
        if transport is None or self._draining or transport.is_closing():
            raise ConnectionFull("the connection is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        if len(self._slots) >= self._in_flight_max:
            self._waiting.add(frame, future, deadline_s)
            self._some_wait = True
            return future
        alone, self._alone = self._alone, not self._slots
        if alone and self._alone:
            transport.write(frame)
        else:
            self._gather(frame, transport)
        self._slots.append((future, deadline_s, self._loop.time()))
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
        return future

    def own(self, task: asyncio.Task[None]) -> None:
        """Cancel a task when the connection ends."""
        self._owned += (task,)
        if not self.alive:
            task.cancel()

    def drain(self, grace_s: float) -> None:
        """Send nothing more, and close when every call was answered, after `grace_s` at the latest.

        The server is not the primary any more. Its refusals are passed on, so that those calls can be sent to the next
        one. What it still runs is about to be lost: such a call raises ConnectionLost.
        """
        self._draining = True
        self._waiting.fail()
        if self._slots:
            self._loop.call_later(grace_s, self.close)
        else:
            self.close()

    def close(self) -> None:
        """Close the connection at once; calls in flight raise ConnectionLost.

        What the server has not received of them by now it never receives.
        """
        if self._transport is not None:
            if self._slots:
                _discard_unsent(self._transport)
            self._transport.abort()
        self._lose()

    async def aclose(self) -> None:
        """Close the connection, and return when its socket is closed."""
        self.close()
        if self._transport is not None:
            await asyncio.shield(self._ended)  # a cancelled caller does not cancel the future of the others

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; asyncio calls this."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Resolve the futures of the calls that are answered; asyncio calls this."""
        self._reader.feed(data)
        while True:
            try:
                reply = self._reader.gets()
            except ProtocolError:
                self.close()  # the rest of the stream cannot be parsed
                return
            if reply is _NOTHING:
                if self._reader.len() > self._unread_bytes_max:
                    self.close()  # no reply of ours is so long
                if self._some_wait:
                    self._send_waiting()
                return
            if isinstance(reply, PushNotification):
                self._on_push(cast("list[Any]", reply))
            elif self._slots:
                _answer(self._slots.popleft()[0], self._filter_reply(reply) if self._draining else reply)
            else:
                self.close()  # a reply without a call: replies can no longer be matched with calls
                return

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all calls in flight, and say why the socket failed, such as the alert of TLS; asyncio calls this."""
        self._lose("the connection ended" if exc is None else f"the connection ended: {exc}")
        self._ended.set_result(None)
        if self._on_lost is not None:
            self._on_lost()

    def _gather(self, frame: bytes, transport: asyncio.Transport) -> None:
        """Write a frame together with the others of this tick."""
        if not self._unsent:
            if transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
                raise ConnectionFull("the server does not read what it is sent")
            self._loop.call_soon(self._flush)
        self._unsent.append(frame)
        if len(self._unsent) >= WRITE_MAX:
            self._flush()

    def _filter_reply(self, reply: object) -> object:
        """Return what a call gets of a server that steps down: its refusals."""
        if not self._slots:
            self._loop.call_soon(self.close)
        return reply if isinstance(reply, ServerError) else ConnectionLost("the server was replaced before it answered")

    def _send_waiting(self) -> None:
        """Send calls that waited, as far as replies have freed slots."""
        while len(self._slots) < self._in_flight_max and (call := self._waiting.next()) is not None:
            frame, future, deadline_s = call
            self._unsent.append(frame)
            self._slots.append((future, deadline_s, self._loop.time()))
            if len(self._unsent) >= WRITE_MAX:
                self._flush()
        self._flush()
        self._some_wait = bool(self._waiting)

    def _flush(self) -> None:
        if self._transport is not None and self._unsent:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _sweep(self) -> None:
        """Fail the calls whose deadline has passed; close the connection when the oldest call has stalled."""
        self._sweeper = None
        now = self._loop.time()
        for future, deadline_s, _ in self._slots:
            if deadline_s <= now and not future.done():
                future.set_exception(DeadlinePassed("no reply in time"))
        self._waiting.expire(now)
        if self._slots and now - self._slots[0][2] > self._stall_s:
            self.close()
        elif self._slots:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    def _lose(self, reason: str = "the connection ended") -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._unsent.clear()
        self._waiting.fail()
        for task in self._owned:
            task.cancel()
        while self._slots:
            _answer(self._slots.popleft()[0], ConnectionLost(reason))


pack: Final = cast("Callable[[tuple[str | bytes | int, ...]], bytes]", pack_command)
"""Return the bytes of one command, given as a tuple: each call of a store is packed once."""


def encode(*parts: str | bytes | int) -> bytes:
    """Return the bytes of one command."""
    return pack(parts)


def _discard_unsent(transport: asyncio.Transport) -> None:
    """Make the end of the connection a reset.

    After a plain close the kernel goes on to send what was not acknowledged: a server that was cut off would run it
    when it is reached again, minutes after it was repeated on the next primary and perhaps undone there.
    """
    connected = transport.get_extra_info("socket")
    if connected is not None and not transport.is_closing():
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _answer(future: asyncio.Future[Any], reply: object) -> None:
    if future.done():
        return
    if isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)


_NOTHING = object()
