"""The two hot routes, answered in front of routing: `POST /v1/limits/take` and `POST /v1/limits/take-batch`.

What a framework does for a request costs more than a take. So a plain request is answered here: an API key that may
take, a JSON body that comes at once, and nothing for a browser, a proxy or a router to decide. Whatever is not plain
goes on to the documented handlers, untouched. A client cannot tell which of the two answered: they share the keys,
the limiter and its bounds, and the functions from its decisions to answers.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder

from tollhouse.asgi.ratelimit.answer import encoded
from tollhouse.asgi.ratelimit.headers import Dialect
from tollhouse.asgi.ratelimit.refusal_response import Refusal
from tollhouse.asgi.types import App, Message, Receive, Scope, Send
from tollhouse.errors import TollhouseError
from tollhouse.http.authentication import ApiKeys
from tollhouse.http.limits.responses import Answer, TakeResponses, batch_response
from tollhouse.limits.decision import Take
from tollhouse.limits.limiter import Limiter

_JSON: Final = frozenset({b"application/json", b"application/json; charset=utf-8"})
_HANDLED_BY_APP: Final = frozenset({b"cookie", b"origin", b"sec-fetch-site", b"transfer-encoding"})
"""A request with one of these is judged by the rules of sessions, origins or streams."""
_HOST: Final = re.compile(rb"[0-9A-Za-z.:\[\]-]*")
_LENGTH_DIGITS_MAX: Final = 9
_BEARER: Final = b"Bearer "


class _Route(Struct, frozen=True, kw_only=True):
    """How a body is read, and what answers it."""

    decoder: Decoder[Any]
    answer: Callable[[Any], Awaitable[Answer | Refusal]]


class FastPath:
    """Wraps an application that has the documented handlers; whatever else it serves passes untouched."""

    def __init__(self, app: App, limits: Limiter, keys: ApiKeys, *, body_bytes: int, dialect: Dialect) -> None:
        self.app = app
        self._limits = limits
        self._keys = keys
        self._body_bytes = body_bytes
        self._answers = TakeResponses(limits, dialect)
        self._routes = {
            "/v1/limits/take": _Route(decoder=Decoder(Take), answer=self._take),
            "/v1/limits/take-batch": _Route(decoder=Decoder(list[Take]), answer=self._take_batch),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        route = self._routes.get(scope["path"])
        if route is not None and self._is_plain(scope):
            left = await self._answer(route, receive, send)
            if left is None:
                return
            receive = left
        await self.app(scope, receive, send)

    async def _answer(self, route: _Route, receive: Receive, send: Send) -> Receive | None:
        """Answer the request; where that cannot be done here, give what the application shall read."""
        message = await receive()
        asked = self._decode(route.decoder, message)
        if asked is None:
            return _replaying(message, receive)
        try:
            answer = await route.answer(asked)
        except TollhouseError as error:
            return _raising(error)
        await _respond(answer, send)
        return None

    def _is_plain(self, scope: Scope) -> bool:
        """Tell whether every rule that the application has for this request is known to let it through."""
        if scope.get("method") != "POST" or scope["query_string"] or scope.get("root_path"):
            return False
        given = scope["headers"]
        headers: dict[bytes, bytes] = dict(given)
        if len(headers) != len(given) or not _HANDLED_BY_APP.isdisjoint(headers):
            return False
        length = headers.get(b"content-length", b"")
        return (
            headers.get(b"content-type") in _JSON
            and length.isdigit()
            and len(length) <= _LENGTH_DIGITS_MAX
            and int(length) <= self._body_bytes
            and _HOST.fullmatch(headers.get(b"host", b"")) is not None
            and self._is_authorized(headers)
        )

    def _is_authorized(self, headers: dict[bytes, bytes]) -> bool:
        api_key, bearer = headers.get(b"x-api-key"), headers.get(b"authorization")
        if api_key is not None and bearer is None:
            return "service" in self._keys.roles(api_key.decode("latin-1"))
        if api_key is not None or bearer is None or not bearer.startswith(_BEARER):
            return False
        return "service" in self._keys.roles(bearer[len(_BEARER) :].decode("latin-1"))

    def _decode(self, decoder: Decoder[Any], message: Message) -> Any:
        """Give what is asked; None where the body is not there yet, or cannot be read so."""
        if message["type"] != "http.request" or message.get("more_body") or len(message["body"]) > self._body_bytes:
            return None
        try:
            return decoder.decode(message["body"])
        except (MsgspecError, UnicodeDecodeError):
            return None

    async def _take(self, asked: Take) -> Answer | Refusal:
        return self._answers.take(await self._limits.take(asked.policy, asked.key, asked.cost))

    async def _take_batch(self, asked: list[Take]) -> Answer:
        return batch_response(await self._limits.take_batch(asked))


def _replaying(message: Message, receive: Receive) -> Receive:
    """Give what was read once more, then what comes."""
    unread = [message]

    async def again() -> Message:
        return unread.pop() if unread else await receive()

    return again


def _raising(error: TollhouseError) -> Receive:
    """Fail where the application reads the body: it answers that failure as it answers those of its handlers."""

    async def fail() -> Message:
        raise error

    return fail


async def _respond(answer: Answer | Refusal, send: Send) -> None:
    headers = [
        *encoded(answer.headers),
        (b"content-type", answer.media_type.encode("latin-1")),
        (b"content-length", b"%d" % len(answer.body)),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
