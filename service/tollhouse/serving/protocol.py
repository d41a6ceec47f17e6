"""The HTTP/1.1 protocol: requests that are framed in one way only, with bounds on their size.

**An offer to upgrade.** After a head with `Upgrade` and `Connection: upgrade` the parser takes the message for complete
and every byte that follows for another protocol, which uvicorn feeds to it as the next request. RFC 9110 7.8 lets a
server ignore the offer, not the body. So such a head starts no request: it is given to a fresh parser without its
`Upgrade` field, followed by the bytes behind it. One parser frames every body, by the fields that its client sent,
and no byte of a body can begin a request.

**Trailers** are counted and dropped: merged into the headers they would pass for what a proxy has checked (RFC 9110
6.5.1).

**A refusal** is written only if it is the next response that is due. An earlier request keeps its place: its response
is sent, and the connection ends with it.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

import uvicorn
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tollhouse.asgi.response import problem_response, start_message
from tollhouse.serving.framing import Refusal, head_refusal, is_plain, malformed, without_offer


class HttpBounds(Struct, frozen=True, kw_only=True):
    """What one message may take of a connection."""

    head_bytes: int
    message_bytes: int


class BoundedHttp(HttpToolsProtocol):
    """HTTP/1.1 by httptools; a request head above its bound is answered with 431 (RFC 6585) and not buffered."""

    _idle = True
    _head_open = False
    _messages = 0
    _head_parsed_bytes = 0
    _head_fed_bytes = 0
    _message_bytes = 0
    _refusal: Refusal | None = None

    def __init__(
        self,
        bounds: HttpBounds,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._bounds = bounds

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then count the bytes of a message that is not complete."""
        was_idle, was_head, messages = self._idle, self._head_open, self._messages
        self._unset_keepalive_if_required()
        try:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as offer:
                self._ignore_offer(memoryview(data)[offer.args[0] :])
        except HttpParserError:
            self._refuse(self._refusal or malformed("this is no HTTP/1.1 request"))
            return
        self._message_bytes += len(data)
        all_of_it_is_head = was_head or (was_idle and self._messages == messages + 1)
        if self._head_open and all_of_it_is_head:
            self._head_fed_bytes += len(data)
            if self._head_fed_bytes > self._bounds.head_bytes:
                self._refuse(self._head_too_large())
        elif self._message_bytes > self._bounds.message_bytes:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Start counting the bytes of a message."""
        super().on_message_begin()
        self._idle = False
        self._head_open = True
        self._messages += 1
        self._head_parsed_bytes = self._head_fed_bytes = self._message_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, without the whitespace around its value, and drop a trailer; stop the parser at the bound."""
        self._head_parsed_bytes += len(name) + len(value) + 4
        if self._head_parsed_bytes > self._bounds.head_bytes:
            self._stop(self._head_too_large())
        if self._head_open:
            name, value = name.lower(), value.rstrip(b" \t")
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the request, whose body follows; a head with an offer to upgrade is left to `_ignore_offer`."""
        if self._head_parsed_bytes + len(self.url) > self._bounds.head_bytes:
            self._stop(self._head_too_large())
        parser = self.parser
        if parser.should_upgrade() or not parser.should_keep_alive() or not is_plain(self.headers):
            refusal = head_refusal(parser.get_method(), parser.get_http_version(), self.headers)
            if refusal is not None:
                self._stop(refusal)
            if parser.should_upgrade():
                return
        self._head_open = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Mark the connection idle until the next message begins."""
        if self._head_open:
            return
        self._idle = True
        super().on_message_complete()

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

    def _stop(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise _Refused

    def _head_too_large(self) -> Refusal:
        detail = f"request line and headers are longer than {self._bounds.head_bytes} bytes"
        return Refusal(status=431, kind="head-too-large", title="Request Head Too Large", detail=detail)

    def _refuse(self, refusal: Refusal) -> None:
        """End the connection with the response that is due: this refusal, or that of an earlier request."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete:
            if self._head_open:
                self._write(refusal)
            self.transport.close()
        elif self._head_open and not self.pipeline:
            cycle.keep_alive = False
            self.transport.pause_reading()
        else:
            if not (self._head_open or self.pipeline or cycle.response_started):
                cycle.disconnected = True
                self._write(refusal)
            self.transport.close()

    def _write(self, refusal: Refusal) -> None:
        response = problem_response(refusal.status, refusal.kind, refusal.title, refusal.detail)
        headers = [*start_message(response)["headers"], (b"connection", b"close")]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        reason = HTTPStatus(refusal.status).phrase.encode()
        self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (refusal.status, reason, lines, response.body))


class _Refused(Exception):
    """Stops the parser."""
