"""The HTTP/1.1 protocol: requests that are framed in one way only, with bounds on their size.

**Trailers** are counted and dropped: merged into the headers they would pass for what a proxy has checked (RFC 9110
6.5.1).

**Time** is measured by the sweep of all connections, not by a timer for each: uvicorn's would be one per response, and
would forget a connection whose body arrives after its response.

**A refusal** is written only if it is the next response that is due. Earlier requests keep their places: they are
answered, and the connection ends with the last answer.

**Requests that wait** behind one of the same connection cost far more memory than their bytes: a segment can hold ten
thousand. So few may wait, and nothing is read while more than one does.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import uvicorn
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tollhouse.asgi.disconnect import stop
from tollhouse.asgi.response import HttpResponse
from tollhouse.asgi.types import App, Scope
from tollhouse.serving.bounds import WAITING_MAX, HttpBounds, MessageSize
from tollhouse.serving.deadlines import Doing, Stopwatch, Timeouts
from tollhouse.serving.expectation import body_or_close, expects_continue
from tollhouse.serving.fast_path import FastExchange, FastRequests, failing, new_scope
from tollhouse.serving.framing import head_refusal, ignore_offer, is_plain, version_of
from tollhouse.serving.joined_writes import JoinedWrites
from tollhouse.serving.overload import ONE_REQUEST_EACH, ONE_REQUEST_MS, OVERLOADED, liveness_only
from tollhouse.serving.refusal import Refusal, Refused, head_too_large, last_response_bytes, malformed, too_slow
from tollhouse.serving.sweep import Sweep


class BoundedHttp(HttpToolsProtocol):
    """HTTP/1.1 by httptools, with bounds on the size of a message, on its time, and on the number of connections.

    A request head above its bound is answered with 431 (RFC 6585) and not buffered.
    """

    parser: HttpRequestParser
    scope: Any
    cycle: Any
    url = b""
    _idle = True
    _head_open = False
    _messages = 0
    _refusal: Refusal | None = None
    _one_request = False
    _served: RequestResponseCycle | FastExchange | None = None

    def __init__(
        self,
        bounds: HttpBounds,
        sweep: Sweep,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._bounds = bounds
        self._sweep = sweep
        self._stopwatch = Stopwatch(bounds.timeouts)
        self._size = MessageSize(bounds.head_bytes)
        self._fast = FastRequests(self.app)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] - as uvicorn types it
        """Begin with the first request, unless the worker has too many connections."""
        super().connection_made(cast("asyncio.Transport", JoinedWrites(transport, self.loop)))
        self._sweep.start(self.loop, self.connections, BoundedHttp.check)
        above = len(self.connections) - self._bounds.connections_max
        if above > 0:
            self._refuse_connection(above)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request that is served for its client, as uvicorn does with the newest, which may wait behind it."""
        served = self._served
        if served is not None and not served.response_complete:
            served.disconnected = True
            served.message_event.set()
        cast("JoinedWrites", self.transport).discard()
        super().connection_lost(exc)
        self.cycle = self._served = cast("Any", None)  # an exchange refers to this object, which is freed at once so
        self._fast.arrived()

    def shutdown(self) -> None:
        """Close the connection when its request is answered; end a response that has no end of its own.

        A request whose body has not arrived becomes a task, which uvicorn cancels if the body is not here in time.
        """
        self._fast.leave_to_asgi()
        super().shutdown()
        if isinstance(self._served, RequestResponseCycle):
            stop(cast("Scope", self._served.scope))

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then count the bytes of a message that is not complete."""
        was_idle, was_head, messages, size = self._idle, self._head_open, self._messages, self._size
        self._fast.begun = 0
        size.on_segment(len(data))
        try:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as offer:
                ignore_offer(self, memoryview(data)[offer.args[0] :])
        except HttpParserError:
            if isinstance(self._served, FastExchange) and self._served.is_deciding:
                raise  # a mistake of ours: the event loop logs it, and ends the connection
            self._refuse(self._refusal or malformed("this is no HTTP/1.1 request"))
            return
        if self._messages == messages:
            size.bytes += len(data)
        if self._head_open:
            all_of_it_is_head = (was_head or was_idle) and self._messages == messages + (not was_head)
            if size.is_part_too_long(self.url, all_of_it_is_head=all_of_it_is_head):
                self._refuse(head_too_large(self._bounds.head_bytes))
        elif size.bytes > self._bounds.message_bytes:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Start counting the bytes of a message; stop the parser if too many wait, which ends the connection.

        It stops too behind the last response of a connection (RFC 9112 9.6). A request that is not for ASGI needs no
        scope, which uvicorn would make here.
        """
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._idle = False
        self._head_open = True
        if (self.pipeline and len(self.pipeline) >= WAITING_MAX) or self.transport.is_closing():
            raise Refused
        self._messages += 1
        self._size.on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, without the whitespace around its value; drop a trailer, and stop the parser at the bound."""
        if self._head_open:
            self.headers.append((name.lower(), value.rstrip(b" \t")))
        elif self._size.is_trailer_too_long(name, value):
            self._stop(head_too_large(self._bounds.head_bytes))

    def on_headers_complete(self) -> None:
        """Start the request, whose body follows; a head with an offer to upgrade is left to `ignore_offer`."""
        parser, headers = self.parser, self.headers
        if self._size.is_head_too_long(self.url, headers):
            self._stop(head_too_large(self._bounds.head_bytes))
        if self._is_fast():
            return
        fields, offers = dict(headers), parser.should_upgrade()
        version = version_of(parser, fields)
        is_usual = version == "1.1" and not offers and parser.should_keep_alive()
        is_usual = is_usual and len(fields) == len(headers) and is_plain(self.url, fields)
        if not is_usual:
            refusal = head_refusal(parser.get_method(), self.url, version, headers)
            if refusal is not None:
                self._stop(refusal)
        if b"expect" in fields:
            self.expect_100_continue = expects_continue(headers)
        if not offers and not (is_usual and self._is_fast(fields)):
            self._begin(version)
            self._head_open = False

    def on_body(self, body: bytes) -> None:
        """Keep a part of a body."""
        arriving = self._fast.arriving
        if arriving is None:
            super().on_body(body)
        else:
            arriving.body += body

    def on_message_complete(self) -> None:
        """Mark the connection idle until the next message begins."""
        if self._head_open:
            return
        self._idle = True
        arriving = self._fast.arrived()
        if arriving is None:
            super().on_message_complete()
        else:
            arriving.on_complete()

    def on_response_complete(self) -> None:
        """Begin the next request if it is there; uvicorn's timer is not started, for the sweep sees when none comes."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._served, app = self.pipeline.pop()
            self._start_asgi_task(self._served, app)
            if self.pipeline:
                self.flow.pause_reading()

    def check(self, now_ms: int) -> None:
        """End the connection if its client takes longer than it may; the sweep calls this."""
        doing = self._doing()
        if not self._stopwatch.overdue(doing, now_ms):
            return
        activity = doing[0]
        if activity == "unread":
            self.transport.abort()
        elif activity == "idle" or not self._messages:
            self.transport.close()
        else:
            self._refuse(too_slow(activity, self._stopwatch.timeouts.of(activity)))

    def _doing(self) -> Doing:
        unread_bytes = self.transport.get_write_buffer_size()
        if unread_bytes:
            return "unread", unread_bytes
        if not (self._idle or self._head_open or self.flow.read_paused):
            return "body", self._messages
        if self._due() is not None:
            return "response", self._messages
        return "idle" if self._idle and self._messages else "head", self._messages

    def _due(self) -> RequestResponseCycle | FastExchange | None:
        """Return the newest request if its response is not complete."""
        cycle = self.cycle
        return None if cycle is None or cycle.response_complete else cycle

    def _refuse_connection(self, above: int) -> None:
        self._sweep.count_above()
        if above > ONE_REQUEST_EACH:
            self._write(OVERLOADED)
            self.transport.close()
            return
        self.app = liveness_only(self.app)
        self._fast.end()
        self._one_request = True
        self._stopwatch = Stopwatch(Timeouts(head_ms=ONE_REQUEST_MS, body_ms=ONE_REQUEST_MS, idle_ms=ONE_REQUEST_MS))

    def _is_fast(self, fields: dict[bytes, bytes] | None = None) -> bool:
        """Begin the request on the fast path and return True, if it may be answered there now.

        Without `fields` it is one whose head was answered there before: nothing of it has to be looked at again.
        """
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            return False
        exchange = self._fast.begin(self, fields)
        if exchange is None:
            return False
        self._served = self.cycle = exchange  # as far as uvicorn uses a cycle
        self._head_open = False
        return True

    def begin_passed_on(self, exchange: FastExchange, cycle: RequestResponseCycle, error: BaseException | None) -> None:
        """Begin a request that the fast path leaves to ASGI, in its place among those of the connection."""
        app = cast("App", self.app)  # type: ignore[reportUnknownMemberType] - uvicorn types it loosely
        if self._due() is exchange:
            self.cycle = cycle
        self._served = cycle
        self._start_asgi_task(cycle, cast("Any", app if error is None else failing(app, error)))

    def _begin(self, version: str) -> None:
        self.scope = new_scope(self, self.headers)
        app = cast("App", self.app)  # type: ignore[reportUnknownMemberType] - uvicorn types it loosely
        if self.expect_100_continue:
            self.expect_100_continue = version != "1.0"  # which has no such response (RFC 9110 10.1.1)
            self.app = body_or_close(app) if self.expect_100_continue else app
        super().on_headers_complete()
        self.app = app
        if not self.pipeline:
            self._served = self.cycle
        if self._one_request:
            self.cycle.keep_alive = False

    def _stop(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise Refused

    def _refuse(self, refusal: Refusal) -> None:
        """End the connection with the responses that are due: this refusal, or those of earlier requests."""
        due = self._due()
        if self.transport.is_closing():
            return
        if due is None:
            if self._head_open:
                self._write(refusal.response())
            self.transport.close()
        elif self._head_open:
            due.keep_alive = False
            self.headers.clear()
            self.transport.pause_reading()
        else:
            if not (self.pipeline or due.response_started):
                due.disconnected = True
                self._write(refusal.response())
            self.transport.close()

    def _write(self, response: HttpResponse) -> None:
        is_head = bool(self.url) and self.parser.get_method() == b"HEAD"
        self.transport.write(last_response_bytes(response, self.server_state.default_headers, is_head=is_head))
