"""The HTTP/1.1 protocol: requests that are framed in one way only, with bounds on their size.

**An offer to upgrade.** After a head with `Upgrade` and `Connection: upgrade` the parser takes the message for complete
and every byte that follows for another protocol, which uvicorn feeds to it as the next request. RFC 9110 7.8 lets a
server ignore the offer, not the body. So such a head starts no request: it is given to a fresh parser without its
`Upgrade` field, followed by the bytes behind it. One parser frames every body, by the fields that its client sent,
and no byte of a body can begin a request.

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
from http import HTTPStatus
from typing import Any, Final, cast

import uvicorn
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tollhouse.asgi.disconnect import stop
from tollhouse.asgi.response import HttpResponse, start_message
from tollhouse.asgi.types import App, Scope
from tollhouse.serving.deadlines import Activity, Doing, Stopwatch, Timeouts
from tollhouse.serving.expectation import body_or_close
from tollhouse.serving.framing import Refusal, head_refusal, is_plain, malformed, version_refusal, without_offer
from tollhouse.serving.overload import ONE_REQUEST_EACH, ONE_REQUEST_MS, OVERLOADED, liveness_only
from tollhouse.serving.sweep import Sweep

_NOTED: Final = frozenset({b"connection", b"expect"})
WAITING_MAX: Final = 32
"""How many requests of a connection may wait for the one before them."""


class HttpBounds(Struct, frozen=True, kw_only=True):
    """What a worker gives to its connections, and what each may take."""

    head_bytes: int
    message_bytes: int
    connections_max: int
    timeouts: Timeouts


class BoundedHttp(HttpToolsProtocol):
    """HTTP/1.1 by httptools, with bounds on the size of a message, on its time, and on the number of connections.

    A request head above its bound is answered with 431 (RFC 6585) and not buffered.
    """

    url = b""
    _idle = True
    _head_open = False
    _messages = 0
    _head_parsed_bytes = 0
    _head_fed_bytes = 0
    _message_bytes = 0
    _refusal: Refusal | None = None
    _one_request = False
    _served: RequestResponseCycle | None = None

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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] - as uvicorn types it
        """Begin with the first request, unless the worker has too many connections."""
        super().connection_made(transport)
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
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection when its request is answered; end a response that has no end of its own."""
        super().shutdown()
        if self._served is not None:
            stop(cast("Scope", self._served.scope))

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then count the bytes of a message that is not complete."""
        was_idle, was_head, messages = self._idle, self._head_open, self._messages
        try:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as offer:
                self._ignore_offer(memoryview(data)[offer.args[0] :])
        except HttpParserError:
            self._refuse(self._refusal or malformed("this is no HTTP/1.1 request"))
            return
        if self._messages == messages:
            self._message_bytes += len(data)
        if self._head_open:
            all_of_it_is_head = (was_head or was_idle) and self._messages == messages + (not was_head)
            self._head_fed_bytes += len(data) if all_of_it_is_head else 0
            if max(self._head_fed_bytes, len(self.url)) > self._bounds.head_bytes:
                self._refuse(self._head_too_large())
        elif self._message_bytes > self._bounds.message_bytes:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Start counting the bytes of a message; stop the parser if too many wait, which ends the connection."""
        super().on_message_begin()
        self._idle = False
        self._head_open = True
        if self.pipeline and len(self.pipeline) >= WAITING_MAX:
            raise _Refused
        self._messages += 1
        self._head_parsed_bytes = self._head_fed_bytes = self._message_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, without the whitespace around its value, and drop a trailer; stop the parser at the bound."""
        self._head_parsed_bytes += len(name) + len(value) + 4
        if self._head_parsed_bytes > self._bounds.head_bytes:
            self._stop(self._head_too_large())
        if self._head_open:
            name, value = name.lower(), value.rstrip(b" \t")
            if name in _NOTED:
                self._note(name, value)
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the request, whose body follows; a head with an offer to upgrade is left to `_ignore_offer`."""
        if self._head_parsed_bytes + len(self.url) > self._bounds.head_bytes:
            self._stop(self._head_too_large())
        parser = self.parser
        if parser.should_upgrade() or not parser.should_keep_alive() or not is_plain(self.url, self.headers):
            refusal = head_refusal(parser.get_method(), self.url, parser.get_http_version(), self.headers)
            if refusal is not None:
                self._stop(refusal)
            if parser.should_upgrade():
                return
        if self.expect_100_continue:
            self._start_expecting(parser.get_http_version())
        else:
            super().on_headers_complete()
        self._head_open = False
        if not self.pipeline:
            self._served = self.cycle
        if self._one_request:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Mark the connection idle until the next message begins."""
        if self._head_open:
            return
        self._idle = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin the next request if it is there; the sweep sees when none comes."""
        waiting = self.pipeline
        if waiting:
            self._served = waiting[-1][0]
        super().on_response_complete()
        self._unset_keepalive_if_required()
        if waiting:
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
            self._refuse(_too_slow(activity, self._stopwatch.timeouts))

    def _doing(self) -> Doing:
        unread_bytes = self.transport.get_write_buffer_size()
        if unread_bytes:
            return "unread", unread_bytes
        if not (self._idle or self._head_open or self.flow.read_paused):
            return "body", self._messages
        if self._due() is not None:
            return "response", self._messages
        return "idle" if self._idle and self._messages else "head", self._messages

    def _due(self) -> RequestResponseCycle | None:
        """Return the newest request if its response is not complete."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return None if cycle is None or cycle.response_complete else cycle

    def _refuse_connection(self, above: int) -> None:
        self._sweep.count_above()
        if above > ONE_REQUEST_EACH:
            self._write(OVERLOADED)
            self.transport.close()
            return
        self.app = liveness_only(self.app)
        self._one_request = True
        self._stopwatch = Stopwatch(Timeouts(head_ms=ONE_REQUEST_MS, body_ms=ONE_REQUEST_MS, idle_ms=ONE_REQUEST_MS))

    def _ignore_offer(self, unread: memoryview | None) -> None:
        """Read the head again without its offer to upgrade, and then what follows it, which may have offers too."""
        while unread is not None:
            head = without_offer(self.parser.get_method(), self.url, self.headers, self.parser.get_http_version())
            self.parser = HttpRequestParser(self)
            # As uvicorn: what follows a request with `Connection: close` is no error, and is not read.
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)
            try:
                self.parser.feed_data(unread)
                unread = None
            except HttpParserUpgrade as offer:
                unread = unread[offer.args[0] :]

    def _note(self, name: bytes, value: bytes) -> None:
        """Keep an expectation; refuse a version that no other check sees, as its connection is kept by this header."""
        if name == b"expect":
            self.expect_100_continue = self.expect_100_continue or value.lower() == b"100-continue"
            return
        refusal = version_refusal(self.parser.get_http_version())
        if refusal is not None:
            self._stop(refusal)

    def _start_expecting(self, version: str) -> None:
        """Start a request whose client may wait for 100; HTTP/1.0 has no such response (RFC 9110 10.1.1)."""
        app = cast("App", self.app)  # type: ignore[reportUnknownMemberType] - uvicorn types it loosely
        if version == "1.0":
            self.expect_100_continue = False
        else:
            self.app = body_or_close(app)
        super().on_headers_complete()
        self.app = app

    def _stop(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise _Refused

    def _head_too_large(self) -> Refusal:
        detail = f"request line and headers are longer than {self._bounds.head_bytes} bytes"
        return Refusal(status=431, kind="head-too-large", title="Request Head Too Large", detail=detail)

    def _refuse(self, refusal: Refusal) -> None:
        """End the connection with the responses that are due: this refusal, or those of earlier requests."""
        due = self._due()
        if due is None:
            if self._head_open:
                self._write(refusal.response())
            self.transport.close()
        elif self._head_open:
            due.keep_alive = False
            self.transport.pause_reading()
        else:
            if not (self.pipeline or due.response_started):
                due.disconnected = True
                self._write(refusal.response())
            self.transport.close()

    def _write(self, response: HttpResponse) -> None:
        headers = [*self.server_state.default_headers, *start_message(response)["headers"], (b"connection", b"close")]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        reason = HTTPStatus(response.status).phrase.encode()
        content = b"" if self.url and self.parser.get_method() == b"HEAD" else response.body
        self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (response.status, reason, lines, content))


def _too_slow(activity: Activity, timeouts: Timeouts) -> Refusal:
    detail = f"the {activity} of the request did not arrive within {timeouts.of(activity)} ms"
    return Refusal(status=408, kind="request-timeout", title="Request Timeout", detail=detail)


class _Refused(Exception):
    """Stops the parser."""
