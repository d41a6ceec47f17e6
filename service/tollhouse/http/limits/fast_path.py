"""A fast path below the application for its two hot routes: `take` and `take-batch` under `/v1/limits`.

What a server and a framework do for a request costs more than a take. So `tollhouse serve` offers its server to answer
plain requests itself (`serving/fast_path.py`): those with a service key, a short JSON body of a known length, and
nothing in them that concerns browsers, proxies or routing. Every other request goes to the application untouched. A
client cannot tell which of the two answered: both use the same keys, the same limiter with its bounds, and the same
functions from decisions to responses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from hmac import compare_digest
from typing import Any, Final

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder

from tollhouse.asgi.client_address import ClientAddresses, clients_of
from tollhouse.asgi.credentials import api_key
from tollhouse.asgi.forwarding_notices import FORWARDING_FIELDS
from tollhouse.asgi.types import App, Headers, Receive, Scope, Send
from tollhouse.http.api_keys import ApiKeys
from tollhouse.http.csrf import JSON
from tollhouse.http.limits.kept_head import KeptHead
from tollhouse.http.limits.responses import TakeResponses, batch_response
from tollhouse.http.limits.written import Written, WrittenTakes, written
from tollhouse.http.problems import answer_stopped
from tollhouse.limits.decision import Decision, Take
from tollhouse.limits.limiter import Limiter
from tollhouse.runtime.receiver import Receiver
from tollhouse.wiring import Tollhouse

_JSON: Final = frozenset({JSON.encode(), f"{JSON}; charset=utf-8".encode()})
_APP_HEADERS: Final = frozenset({b"cookie", b"origin", b"sec-fetch-site", b"transfer-encoding"})
"""A request with one of these is left to the application's rules for sessions, origins and streams."""
_BODY_BYTES_MAX: Final = 65_536
"""A longer body is left to the application, which lets the server read it no faster than it is used."""
_LENGTH_DIGITS_MAX: Final = 9
_DIFFERING_MAX: Final = 4
"""Heads in a row that are other than the last one, from which on a connection compares no more."""
_METHOD: Final = b"POST"
_TAKE: Final = Decoder(Take)
_TAKES: Final = Decoder(list[Take])


class TakeRoute(Struct, frozen=True, kw_only=True):
    """Answers a take as soon as it is decided: takes that arrive together are one call, and answered in one turn."""

    limits: Limiter
    respond: Callable[[Any], Written]

    def start(self, body: bytes, receiver: Receiver) -> Receiver | None:
        """Take for the receiver, and return it; None if the body is no take."""
        try:
            take = _TAKE.decode(body)
        except (MsgspecError, UnicodeDecodeError):
            return None
        self.limits.submit(receiver, take.policy, take.key, take.cost)
        return receiver


class BatchRoute(Struct, frozen=True, kw_only=True):
    """Answers a list of takes when all of them are decided."""

    limits: Limiter

    def start(self, body: bytes, _: Receiver) -> asyncio.Task[list[Decision]] | None:
        """Start to take, and return the task that decides; None if the body is no list of takes."""
        try:
            takes = _TAKES.decode(body)
        except (MsgspecError, UnicodeDecodeError):
            return None
        return self.limits.submit_batch(takes)

    def respond(self, decisions: Sequence[Decision]) -> Written:
        """Return the response to the takes."""
        return written(batch_response(decisions))


Route = TakeRoute | BatchRoute
Routes = Mapping[bytes, Route]
"""The routes of the fast path, by their targets."""


class FastPath:
    """Wraps the application that has the documented handlers; both have to accept the same `keys`."""

    def __init__(self, app: App, tollhouse: Tollhouse, keys: ApiKeys) -> None:
        self._app = app
        self._keys = keys
        self._clients = clients_of(tollhouse.settings)
        self._body_bytes = min(tollhouse.settings.body_bytes, _BODY_BYTES_MAX)
        limits, takes = tollhouse.limits, WrittenTakes(TakeResponses(tollhouse))
        self._routes: Routes = {
            b"/v1/limits/take": TakeRoute(limits=limits, respond=takes.take),
            b"/v1/limits/take-batch": BatchRoute(limits=limits),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection, or the lifespan of the application.

        A request that is cancelled, as those are that go on when the service has to end, is answered with 503.
        """
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if scope["type"] != "http" or not await answer_stopped(send):
                raise

    def fast_connection(self) -> TakeConnection:
        """Return what finds the routes of a new connection."""
        return TakeConnection(self._routes, self._keys, self._clients, self._body_bytes)


class TakeConnection:
    """Finds the routes of one connection, which remembers the head and the credential that it was accepted with.

    Clients send the same ones with each request of a connection, and to check them anew costs as much as the decision.
    Those that write something else into each head, as a trace does, are compared a few times only.
    """

    __slots__ = ("_accepted", "_accepted_from", "_body_bytes", "_clients", "_differing", "_kept", "_keys", "_routes")

    def __init__(self, routes: Routes, keys: ApiKeys, clients: ClientAddresses, body_bytes: int) -> None:
        self._routes = routes
        self._keys = keys
        self._clients = clients
        self._body_bytes = body_bytes
        self._accepted = b""
        self._accepted_from: tuple[bytes, str] = b"", ""
        self._kept: tuple[KeptHead, Route] | None = None
        self._differing = 0

    def repeated(self, method: bytes, target: bytes, headers: Headers) -> Route | None:
        """Return the route of a request whose head is that of the last one with a route, but for its length."""
        if (kept := self._kept) is None:
            return None
        length = kept[0].length_of(target, headers) if method == _METHOD else None
        if length is None:
            self._kept = None
            self._differing += 1
            return None
        self._differing = 0
        return kept[1] if self._may_be_long(length) else None

    def route(self, method: bytes, target: bytes, fields: Mapping[bytes, bytes], scope: Scope) -> Route | None:
        """Return the route of a request that no rule of the application could refuse or change; else None."""
        route = self._routes.get(target)
        if route is None or method != _METHOD or scope["root_path"] or not _APP_HEADERS.isdisjoint(fields):
            return None
        is_plain = (
            fields.get(b"content-type") in _JSON
            and self._may_be_long(fields.get(b"content-length", b""))
            and self._is_authorized(fields, scope)
        )
        if not is_plain:
            return None
        if self._differing < _DIFFERING_MAX and FORWARDING_FIELDS.isdisjoint(fields):  # which are searched for notices
            self._kept = KeptHead(target, scope["headers"], self._accepted_from[0]), route
        return route

    def _may_be_long(self, length: bytes) -> bool:
        """Return True if it is the length of a body that is read whole before it is used."""
        return length.isdigit() and len(length) <= _LENGTH_DIGITS_MAX and int(length) <= self._body_bytes

    def _is_authorized(self, fields: Mapping[bytes, bytes], scope: Scope) -> bool:
        name = b"authorization" if b"authorization" in fields else b"x-api-key"
        given = fields.get(name, b"")
        if name == b"authorization" and b"x-api-key" in fields:
            return False
        address = self._clients.client_of(scope)
        if (name, address) == self._accepted_from and compare_digest(self._accepted, given):
            return True
        text = given.decode("latin-1")
        key = api_key("", text) if name == b"authorization" else api_key(text, "")
        if not key or "service" not in self._keys.accepted_roles(key, address):
            return False
        self._accepted, self._accepted_from = given, (name, address)
        return True
