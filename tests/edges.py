"""Applications behind each edge, whose keys and costs are whatever the client sends: hostile input for tests.

`X-Key` and `X-Cost` hold JSON, so a client decides about the type of a value too; a header that is no JSON is text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import Depends, FastAPI, WebSocket
from litestar import Litestar, Request, get
from litestar import WebSocket as LitestarSocket
from litestar import websocket as litestar_websocket
from litestar.middleware.rate_limit import RateLimitConfig
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket as StarletteSocket

from tollhouse import RateLimitMiddleware, RateLimitRule, limit
from tollhouse.asgi.types import header_of
from tollhouse.fastapi import RateLimit
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Policy
from tollhouse.litestar import AtomicRateLimitMiddleware, TollhousePlugin
from tollhouse.litestar.routes import RateLimitRoutes

App = Callable[[Any, Any, Any], Any]
LIMIT: Final = "1000000000/minute"
POLICIES: Final[Mapping[str, Policy]] = {
    "api": parse_policy("api", LIMIT),
    "other": parse_policy("other", f"{LIMIT}; {LIMIT[:9]}/hour"),
    "jobs": parse_policy("jobs", "1000/minute", "concurrency"),
}


def sent(scope: Any, name: bytes, otherwise: Any) -> Any:
    """Return the JSON value of a header, or its text."""
    text = header_of(scope, name)
    if text is None:
        return otherwise
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def key_of(scope: Any) -> Any:
    return sent(scope, b"x-key", None)


def cost_of(scope: Any) -> Any:
    return sent(scope, b"x-cost", 1)


def _key(connection: Any) -> Any:
    return key_of(connection.scope)


def _cost(connection: Any) -> Any:
    return cost_of(connection.scope)


async def _echo(socket: Any) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


async def _plain(scope: Any, receive: Any, send: Any) -> None:
    """Serve requests and websockets without a framework."""
    if scope["type"] == "websocket":
        await _echo(StarletteSocket(scope, receive, send))
    else:
        await PlainTextResponse("served")(scope, receive, send)


async def _found(connection: HTTPConnection) -> Response:
    return PlainTextResponse("served")


def middleware(limits: Limiter) -> App:
    return RateLimitMiddleware(_plain, limiter=limits, policy="api", key=key_of, cost=cost_of, messages="api")


def several(limits: Limiter) -> App:
    """Two policies that are decided as one, and a lease beside them for one of the routes."""
    routes = {"/job": RateLimitRule(policy=("api", "jobs"))}
    return RateLimitMiddleware(
        _plain, limiter=limits, policy=("api", "other"), routes=routes, key=key_of, cost=cost_of, charge="2xx"
    )


def words(limits: Limiter) -> App:
    """The rules in words that read headers and paths."""
    keys = {"api": "header:x-key", "other": "api-key"}
    routes = {"/key/{name}": RateLimitRule(policy="api", key="path:name"), "/user": RateLimitRule(key="user")}
    return RateLimitMiddleware(_plain, limiter=limits, policy=("api", "other"), routes=routes, key=keys)


def plugin(limits: Limiter) -> App:
    """Litestar: the middleware, and functions with limits of their own behind it."""

    @get(["/", "/{rest:path}"])
    async def index() -> str:
        return "served"

    @get("/function", opt={"rate_limit": False})
    @limit("api", key=lambda request: key_of(request.scope), cost=lambda request: cost_of(request.scope))
    async def function(request: Request[Any, Any, Any]) -> str:
        return "served"

    @litestar_websocket("/socket")
    async def socket(socket: LitestarSocket[Any, Any, Any]) -> None:
        await socket.accept()
        async for text in socket.iter_data():
            await socket.send_text(text)

    limited = RateLimitRoutes(limits, policy="api", key=key_of, cost=cost_of, messages="api")
    return Litestar([index, function, socket], middleware=[limited], logging_config=None)  # type: ignore[return-value] - Litestar types its scope


def own_plugin(limits: Limiter) -> App:
    """The plugin with a store of its own."""

    @get(["/", "/{rest:path}"])
    async def index() -> str:
        return "served"

    given = TollhousePlugin("fake://edges", policies={"api": LIMIT}, policy="api", key=key_of, cost=cost_of)
    return Litestar([index], plugins=[given], logging_config=None)  # type: ignore[return-value] - Litestar types its scope


def builtin(limits: Limiter) -> App:
    """Litestar's own rate limit, decided by ours; it makes text of every key itself."""

    @get(["/", "/{rest:path}"])
    async def index() -> str:
        return "served"

    config = RateLimitConfig(
        rate_limit=("minute", 10**9),
        identifier_for_request=lambda request: f"{key_of(request.scope)}",
        middleware_class=AtomicRateLimitMiddleware,
    )
    given = TollhousePlugin("fake://edges", policies={"api": LIMIT}, policy=None)
    return Litestar([index], plugins=[given], middleware=[config.middleware], logging_config=None)  # type: ignore[return-value] - Litestar types its scope


def dependency(limits: Limiter) -> App:
    limited = RateLimit("api", key=_key, cost=_cost, limiter=limits)
    permitted = RateLimit("jobs", key=_key, limiter=limits)
    app = FastAPI()
    app.add_api_route("/job", lambda: "served", dependencies=[Depends(permitted)])
    app.add_api_route("/{rest:path}", lambda: "served", dependencies=[Depends(limited)])

    @app.websocket("/socket", dependencies=[Depends(limited)])
    async def socket(websocket: WebSocket) -> None:
        await _echo(websocket)

    return app


def function(limits: Limiter) -> App:
    """`@limit` on endpoints of Starlette, behind a middleware that limits nothing itself."""

    @limit("jobs", key=_key)
    async def job(request: HTTPConnection) -> Response:
        return PlainTextResponse("served")

    @limit("api", key=_key, cost=_cost, wait_ms=20)
    async def waiting(request: HTTPConnection) -> Response:
        return PlainTextResponse("served")

    @limit("api", key=_key, cost=_cost)
    def in_thread(request: HTTPConnection) -> Response:
        return PlainTextResponse("served")

    limited = limit("api", key=_key, cost=_cost)
    routes = [
        Route("/job", job),
        Route("/waiting", waiting),
        Route("/thread", in_thread),
        WebSocketRoute("/socket", limited(_echo)),
        Route("/{rest:path}", limited(_found)),
    ]
    return RateLimitMiddleware(Starlette(routes=routes), limiter=limits, policy=None)


def bare(limits: Limiter) -> App:
    """`@limit` in an application without a framework, which answers no exception itself."""
    limited = limit("api", key=lambda scope, *_: key_of(scope), cost=lambda scope, *_: cost_of(scope))
    return RateLimitMiddleware(limited(_plain), limiter=limits, policy=None)


EDGES: Final[Mapping[str, Callable[[Limiter], App]]] = {
    "middleware": middleware,
    "several": several,
    "words": words,
    "plugin": plugin,
    "own plugin": own_plugin,
    "builtin": builtin,
    "dependency": dependency,
    "function": function,
    "bare": bare,
}
