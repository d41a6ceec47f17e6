"""A fast path in front of the application for its two hot routes: `take` and `take-batch` under `/v1/limits`.

What a framework does for a request costs more than a take. So a plain request is answered here: one with a service key,
a JSON body that arrives in one message, and nothing in it that concerns browsers, proxies or routing. Every other
request goes to the application untouched. A client cannot tell which of the two answered: both use the same keys, the
same limiter with its bounds, and the same functions from decisions to responses.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder

from tollhouse.asgi.client_address import clients_of
from tollhouse.asgi.credentials import api_key
from tollhouse.asgi.response import HttpResponse, body_message, start_message
from tollhouse.asgi.types import App, Message, Receive, Scope, Send
from tollhouse.errors import TollhouseError
from tollhouse.http.api_keys import ApiKeys
from tollhouse.http.csrf import JSON
from tollhouse.http.headers import complete_headers
from tollhouse.http.limits.responses import TakeResponses, batch_response
from tollhouse.http.problems import answer_stopped
from tollhouse.limits.decision import Take
from tollhouse.wiring import Tollhouse

_JSON: Final = frozenset({JSON.encode(), f"{JSON}; charset=utf-8".encode()})
_APP_HEADERS: Final = frozenset({b"cookie", b"origin", b"sec-fetch-site", b"transfer-encoding"})
"""A request with one of these is left to the application's rules for sessions, origins and streams."""
_HOST: Final = re.compile(rb"[0-9A-Za-z.:\[\]-]*")
_LENGTH_DIGITS_MAX: Final = 9


class _Route(Struct, frozen=True, kw_only=True):
    """The decoder of a body, and the function that answers what it decodes."""

    decoder: Decoder[Any]
    answer: Callable[[Any], Awaitable[HttpResponse]]


class FastPath:
    """Wraps the application that has the documented handlers; both have to accept the same `keys`."""

    def __init__(self, app: App, tollhouse: Tollhouse, keys: ApiKeys) -> None:
        self._app = app
        self._limits = tollhouse.limits
        self._keys = keys
        self._clients = clients_of(tollhouse.settings)
        self._body_bytes = tollhouse.settings.body_bytes
        self._responses = TakeResponses(tollhouse)
        self._routes = {
            "/v1/limits/take": _Route(decoder=Decoder(Take), answer=self._take),
            "/v1/limits/take-batch": _Route(decoder=Decoder(list[Take]), answer=self._take_batch),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection, or the lifespan of the application.

        A request that is cancelled, as those are that go on when the service has to end, is answered with 503.
        """
        route = self._routes.get(scope.get("path", ""))
        try:
            if route is not None and self._is_plain(scope):
                app_receive = await self._answer(route, receive, send)
                if app_receive is None:
                    return
                receive = app_receive
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if scope["type"] != "http" or not await answer_stopped(send):
                raise

    async def _answer(self, route: _Route, receive: Receive, send: Send) -> Receive | None:
        """Answer the request and return None; or return the `receive` with which the application must answer it."""
        message = await receive()
        body = self._decode(route.decoder, message)
        if body is None:
            return _replaying(message, receive)
        try:
            answer = await route.answer(body)
        except TollhouseError as error:
            return _raising(error)
        start = start_message(answer)
        complete_headers(start["headers"], reads_credentials=True)
        await send(start)
        await send(body_message(answer))
        return None

    def _is_plain(self, scope: Scope) -> bool:
        """Return True if no rule of the application could refuse or change this request."""
        if scope.get("method") != "POST" or scope["query_string"] or scope.get("root_path"):
            return False
        given = scope["headers"]
        headers: dict[bytes, bytes] = dict(given)
        if len(headers) != len(given) or not _APP_HEADERS.isdisjoint(headers):
            return False
        length = headers.get(b"content-length", b"")
        return (
            headers.get(b"content-type") in _JSON
            and length.isdigit()
            and len(length) <= _LENGTH_DIGITS_MAX
            and int(length) <= self._body_bytes
            and _HOST.fullmatch(headers.get(b"host", b"")) is not None
            and self._is_authorized(headers, scope)
        )

    def _is_authorized(self, headers: dict[bytes, bytes], scope: Scope) -> bool:
        x_api_key, authorization = headers.get(b"x-api-key"), headers.get(b"authorization")
        if x_api_key is not None and authorization is not None:
            return False
        key = api_key((x_api_key or b"").decode("latin-1"), (authorization or b"").decode("latin-1"))
        return bool(key) and "service" in self._keys.accepted_roles(key, self._clients.client_of(scope))

    def _decode(self, decoder: Decoder[Any], message: Message) -> Any:
        """Return the decoded body; None if it is incomplete, too long, or not what the decoder expects."""
        if message["type"] != "http.request" or message.get("more_body") or len(message["body"]) > self._body_bytes:
            return None
        try:
            return decoder.decode(message["body"])
        except (MsgspecError, UnicodeDecodeError):
            return None

    async def _take(self, take: Take) -> HttpResponse:
        return self._responses.take(await self._limits.take(take.policy, take.key, take.cost))

    async def _take_batch(self, takes: list[Take]) -> HttpResponse:
        return batch_response(await self._limits.take_batch(takes))


def _replaying(message: Message, receive: Receive) -> Receive:
    """Return a `receive` that repeats `message` first, and continues with what follows it."""
    unread = [message]

    async def replay() -> Message:
        return unread.pop() if unread else await receive()

    return replay


def _raising(error: TollhouseError) -> Receive:
    """Return a `receive` that raises `error`: the application answers it as it answers those of its handlers."""

    async def fail() -> Message:
        raise error

    return fail
