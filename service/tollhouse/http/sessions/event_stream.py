"""Server-Sent Events: a stream of session events to one client, and the bound on how many streams there are.

Each stream has a reader of its own. Nothing waits in memory for a client that reads slowly: its stream polls again when
it has taken what there was, and the server disconnects one that takes nothing (`idle_timeout_ms`). A store that does
not answer ends no stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from itertools import chain
from typing import Final

import msgspec
from msgspec import Struct

from tollhouse.asgi.disconnect import on_stop, while_connected
from tollhouse.asgi.response import NO_STORE, RETRY_SOON, problem_response, send_response
from tollhouse.asgi.types import Headers, Receive, Scope, Send
from tollhouse.errors import ConfigurationError, StoreError
from tollhouse.metrics import Metrics
from tollhouse.sessions.events.event import SessionEvent, parse_id
from tollhouse.sessions.events.reader import SessionEventBatch, SessionEventReader

MEDIA_TYPE: Final = "text/event-stream"
STREAMS_MAX: Final = 8
"""How many streams a process serves: a poll of one costs it about 5 ms of its time."""

_RETRY_MS: Final = 2_000
"""How soon a client is to connect again."""
_EVENTS_AT_ONCE: Final = 64
_DOWN: Final = b": events cannot be read now; the stream goes on when they can\n\n"
_HEADERS: Final[Headers] = [
    (b"content-type", f"{MEDIA_TYPE}; charset=utf-8".encode()),
    NO_STORE,
    (b"x-accel-buffering", b"no"),
]
_ENCODER: Final = msgspec.json.Encoder()


class Pace(Struct, frozen=True, kw_only=True):
    """How often a stream polls, and how long it may be silent."""

    poll_s: float = 1.0
    heartbeat_s: float = 15.0


PACE: Final = Pace()


class EventStreams:
    """The streams that a process serves."""

    def __init__(self, metrics: Metrics, *, most: int = STREAMS_MAX, pace: Pace = PACE) -> None:
        self.pace = pace
        self.most = most
        self._metrics = metrics
        self.open: set[EventStream] = set()

    def admit(self, stream: EventStream) -> bool:
        """Count a stream that begins; return False if there are as many as there may be."""
        has_room = len(self.open) < self.most
        self._metrics.session("stream", "ok" if has_room else "overloaded")
        if has_room:
            self.open.add(stream)
        return has_room

    def leave(self, stream: EventStream) -> None:
        """Forget a stream that is over."""
        self.open.discard(stream)

    def end(self) -> None:
        """End every stream at its next step."""
        for stream in self.open:
            stream.end()


class EventStream:
    """The response to one request, as an ASGI application."""

    def __init__(self, streams: EventStreams, reader: SessionEventReader) -> None:
        self._streams = streams
        self._reader = reader
        self._is_over = asyncio.Event()
        self._is_down = False
        self._clock = asyncio.get_running_loop().time
        self._spoken_s = self._clock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client leaves or the server stops; 503 if there are too many streams."""
        if not self._streams.admit(self):
            detail = f"this process serves {self._streams.most} streams of events; end one, or share one"
            await send_response(problem_response(503, "overloaded", "Overloaded", detail, headers=[RETRY_SOON]), send)
            return
        try:
            on_stop(scope, self.end)
            first = await self._read()  # before the client knows of the stream: what it does then is an event of it
            await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS]})
            await while_connected(receive, self._send_parts(first, send))
        finally:
            self._streams.leave(self)

    def end(self) -> None:
        """End the stream at its next step; its client connects again, elsewhere."""
        self._is_over.set()

    async def _send_parts(self, first: SessionEventBatch | None, send: Send) -> None:
        async with aclosing(self._parts(first)) as parts:
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _parts(self, batch: SessionEventBatch | None) -> AsyncGenerator[bytes]:
        """Yield what is to be sent, from the first batch on, until the stream is over."""
        yield b"retry: %d\n\n" % _RETRY_MS
        while not self._is_over.is_set():
            for part in chain(() if batch is None else _messages(batch), self._silence(batch)):
                yield part
                self._spoken_s = self._clock()
            if batch is None or not batch.more:
                await self._pause()
            batch = await self._read()

    def _silence(self, batch: SessionEventBatch | None) -> Iterator[bytes]:
        """Yield what is sent without an event: that an outage begins, and now and then that the stream lives."""
        begins, self._is_down = batch is None and not self._is_down, batch is None
        if begins or self._clock() - self._spoken_s >= self._streams.pace.heartbeat_s:
            yield _DOWN if batch is None else _heartbeat(batch)

    async def _read(self) -> SessionEventBatch | None:
        try:
            return await self._reader.read()
        except StoreError:
            return None
        except ConfigurationError:  # of stores that were closed meanwhile
            if not self._is_over.is_set():
                raise
            return None

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._streams.pace.poll_s):
                await self._is_over.wait()


def _messages(batch: SessionEventBatch) -> Iterator[bytes]:
    """Yield the messages for what a poll found; after the last of them a client goes on from the right place."""
    if batch.gap is not None:
        yield _message(batch.position, "gap", {"reason": batch.gap})
    for first in range(0, len(batch.events), _EVENTS_AT_ONCE):
        yield b"".join(_message(one.id, one.kind, one) for one in batch.events[first : first + _EVENTS_AT_ONCE])
    if batch.events and _is_ahead(batch.events[-1], batch.position):
        yield _heartbeat(batch)


def _heartbeat(batch: SessionEventBatch) -> bytes:
    """Return a message without data: it moves the place from which its client goes on, and is no event."""
    return f": still here\nid: {batch.position}\n\n".encode()


def _message(position: str, kind: str, data: object) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (position.encode(), kind.encode(), _ENCODER.encode(data))


def _is_ahead(event: SessionEvent, position: str) -> bool:
    """Return whether an event is later than the place up to which all was delivered."""
    place, reached = parse_id(event.id), parse_id(position)
    return place is None or reached is None or reached < place
