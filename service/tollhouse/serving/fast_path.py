"""The fast path: requests that are answered below ASGI, by an application that offers it.

An ASGI request costs a task, a dictionary of its head and two messages before its application does anything, which for
a take is as much as the rest of it. An application may offer routes for some of its requests: the protocol gives such a
route the body, and writes what it decides as soon as it is decided: the responses to takes that are decided by one call
leave one after the other, without a turn of the event loop in between. The route may leave a request to ASGI at
any time before it is answered, also with an error in place of the body: then the application answers it as it answers
the errors of its handlers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tollhouse.asgi.response import header_lines
from tollhouse.asgi.types import App, Headers, Message, Receive, Scope, Send
from tollhouse.errors import TollhouseError
from tollhouse.runtime.receiver import Receiver, hand_over
from tollhouse.serving.bounds import WAITING_MAX
from tollhouse.serving.framing import version_of
from tollhouse.serving.refusal import CLOSE, status_line

_LAST: Final = header_lines([CLOSE]) + b"\r\n"


class FastRoute(Protocol):
    """Answers the requests of one target."""

    def start(self, body: bytes, receiver: Receiver, /) -> Receiver | asyncio.Future[Any] | None:
        """Start to decide, and return what has the outcome, or will have it: the receiver, or a future.

        None leaves the request to ASGI, if nothing was done for it.
        """
        ...

    def respond(self, outcome: Any, /) -> tuple[int, bytes, bytes]:
        """Return the response: its status, the lines of its headers and its body."""
        ...


class FastConnection(Protocol):
    """Finds the routes of one connection."""

    def route(self, method: bytes, target: bytes, fields: Mapping[bytes, bytes], scope: Scope) -> FastRoute | None:
        """Return the route of a request with this head, or None if it is left to ASGI.

        It is one of `is_plain`: no two of its headers have one name, so `fields` are all of them, and its host has no
        unusual signs. The scope has no more than the headers, the client and the root path.
        """
        ...

    def repeated(self, method: bytes, target: bytes, headers: Headers) -> FastRoute | None:
        """Return the route of a request whose head is that of the last one with a route, but for the body's length.

        None if it is another head: then `route` is asked. Versions are compared by the caller.
        """
        ...


class FastApp(Protocol):
    """An application that answers some of its requests below ASGI."""

    def fast_connection(self) -> FastConnection:
        """Return what finds the routes of a new connection."""
        ...


class FastExchange:
    """One request that is answered without ASGI, in the place of uvicorn's own cycle of a request and its response.

    It receives the outcome of its route. While it waits it is among the tasks of the server, which waits for these, and
    may cancel them.
    """

    __slots__ = (
        *("_headers", "_is_done", "_line", "_protocol", "_requests", "_route", "body", "disconnected", "is_deciding"),
        *("keep_alive", "response_complete", "response_started"),
    )

    message_event = asyncio.Event()
    """What uvicorn sets when there is news for the application of a request; here no task waits for it."""

    def __init__(self, requests: FastRequests, protocol: Any, route: FastRoute, line: tuple[bytes, bytes]) -> None:
        self._requests = requests
        self._protocol = protocol
        self._route = route
        self._line = line
        self._headers: Headers = protocol.headers
        self.body = b""
        self.keep_alive = True
        self._is_done = False
        self.disconnected = self.response_started = self.response_complete = self.is_deciding = False

    def on_complete(self) -> None:
        """Answer the request, whose body is here; an error of its route is answered by the application."""
        self.is_deciding = True  # it stays so if the route raises another error, which is a mistake of ours
        try:
            started = self._route.start(self.body, self)
        except TollhouseError as error:
            self._pass_on(error)
        else:
            if started is None:
                self._pass_on()
            else:
                self.body = b""  # this object is kept while the connection is idle
                if not started.done():
                    self._protocol.tasks.add(started)
                if started is not self:
                    self._follow(cast("asyncio.Future[Any]", started))
        self.is_deciding = False

    def _follow(self, future: asyncio.Future[Any]) -> None:
        future.add_done_callback(self._protocol.tasks.discard)
        hand_over(future, self)

    def leave_to_asgi(self) -> None:
        """Begin the request with the part of its body that is here: the rest arrives for uvicorn's own cycle."""
        self._pass_on(more_body=True)

    def done(self) -> bool:
        """Return True if the route need not decide any more."""
        return self._is_done

    def cancel(self, msg: object = None) -> None:  # noqa: ARG002 - as of a task
        """End the wait: the application answers, in the next turn of the event loop, as a task that is cancelled."""
        if not self._is_done:
            self._is_done = True
            self._protocol.loop.call_soon(self.set_exception, asyncio.CancelledError())

    def set_exception(self, exception: BaseException) -> None:
        """Leave the request to the application, with the error in place of its body."""
        self._is_done = True
        self._protocol.tasks.discard(self)
        self._pass_on(exception)

    def set_result(self, result: Any) -> None:
        """Write the response. A mistake in it is logged by the event loop: it must not fail other requests."""
        self._is_done = True
        self._protocol.tasks.discard(self)
        try:
            self._respond(result)
        except Exception as error:
            if self.is_deciding:
                raise
            self._protocol.loop.call_exception_handler({"message": "no response to a request", "exception": error})

    def _respond(self, outcome: Any) -> None:
        """Write the response; should there be none because of a mistake in it, end the connection."""
        if self.disconnected:
            return
        protocol = self._protocol
        try:
            status, lines, body = self._route.respond(outcome)
            first = self._requests.default_lines(protocol.server_state.default_headers)
            last = b"\r\n" if self.keep_alive else _LAST
            protocol.transport.write(b"".join((status_line(status), first, lines, last, body)))
            self.response_started = self.response_complete = True
        finally:
            if not (self.keep_alive and self.response_complete):
                protocol.transport.close()
        protocol.on_response_complete()

    def _pass_on(self, error: BaseException | None = None, *, more_body: bool = False) -> None:
        """Begin the request as uvicorn would have, for the application to answer it, or only to log an error."""
        if self.disconnected and error is None:
            return
        protocol, (method, target) = self._protocol, self._line
        scope = new_scope(protocol, self._headers)
        path = target.decode("ascii")
        scope.update(method=method.decode("ascii"), path=path, raw_path=target, query_string=b"")
        cycle = RequestResponseCycle(
            scope=cast("Any", scope),  # as uvicorn has it, which types it by its own class
            transport=protocol.transport,
            flow=protocol.flow,
            logger=protocol.logger,
            access_logger=protocol.access_logger,
            access_log=protocol.access_log,
            default_headers=protocol.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=self.keep_alive,
            on_response=protocol.on_response_complete,
        )
        cycle.body, cycle.more_body, cycle.disconnected = bytearray(self.body), more_body, self.disconnected
        if not more_body:
            cycle.message_event.set()
        protocol.begin_passed_on(self, cycle, error)


class FastRequests:
    """The requests of one connection that its application answers below ASGI; at most `WAITING_MAX` of a segment.

    Many that need no store would be answered at once, while other connections wait. `arriving` is the one whose body
    arrives, and `begun` how many of the segment have begun.
    """

    __slots__ = ("_connection", "_default_headers", "_default_lines", "_fields", "arriving", "begun")

    def __init__(self, app: object) -> None:
        fast = cast("FastApp | None", app if hasattr(app, "fast_connection") else None)
        self._connection = None if fast is None else fast.fast_connection()
        self._default_headers: object = None
        self._default_lines = b""
        self._fields: Mapping[bytes, bytes] = {}
        self.begun = 0
        self.arriving: FastExchange | None = None

    def end(self) -> None:
        """Leave all later requests to ASGI."""
        self._connection = None

    def default_lines(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return the lines of the headers that uvicorn gives to all responses; it makes them anew once a second."""
        if headers is not self._default_headers:
            self._default_headers, self._default_lines = headers, header_lines(headers)
        return self._default_lines

    def leave_to_asgi(self) -> None:
        """Begin the request whose body arrives as uvicorn would have."""
        arriving = self.arrived()
        if arriving is not None:
            arriving.leave_to_asgi()

    def begin(self, protocol: Any, fields: Mapping[bytes, bytes] | None = None) -> FastExchange | None:
        """Return the exchange for the request whose head the protocol has just read; None if it is left to ASGI.

        Without `fields` only a head that is repeated is answered here.
        """
        connection = self._connection
        if connection is None or self.begun >= WAITING_MAX or protocol.flow.write_paused:
            return None
        line = method, target = protocol.parser.get_method(), protocol.url
        if fields is None:
            route = connection.repeated(method, target, protocol.headers)
            if route is None or version_of(protocol.parser, self._fields) != "1.1":
                return None
        elif protocol.expect_100_continue:
            return None
        else:
            scope = {"headers": protocol.headers, "client": protocol.client, "root_path": protocol.root_path}
            route = connection.route(method, target, fields, scope)
            if route is None:
                return None
            self._fields = fields
        self.begun += 1
        self.arriving = exchange = FastExchange(self, protocol, route, line)
        return exchange

    def arrived(self) -> FastExchange | None:
        """Return that request, whose body is here, or will not be waited for."""
        arriving, self.arriving = self.arriving, None
        return arriving


def new_scope(protocol: HttpToolsProtocol, headers: Headers) -> Scope:
    """Return the scope with which uvicorn begins a request; its request line is missing."""
    return {
        "type": "http",
        "asgi": {"version": protocol.config.asgi_version, "spec_version": "2.3"},
        "http_version": "1.1",
        "server": protocol.server,
        "client": protocol.client,
        "scheme": protocol.scheme,
        "root_path": protocol.root_path,
        "headers": headers,
        "state": protocol.app_state.copy(),
    }


def failing(app: App, error: BaseException) -> App:
    """Return the application for a request whose body cannot be received because of an error."""

    async def fail() -> Message:
        raise error

    async def answer(scope: Scope, _: Receive, send: Send) -> None:
        await app(scope, fail, send)

    return answer
