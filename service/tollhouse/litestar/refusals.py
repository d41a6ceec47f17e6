"""The response to a refusal in Litestar: by the application's exception handlers, by `on_refusal`, or ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from litestar import Request, Response

from tollhouse.asgi.ratelimit.current import rate_limited_response, refused_request
from tollhouse.asgi.ratelimit.refusal_handlers import OwnResponse, RefusalHandler
from tollhouse.asgi.types import App, Receive, Scope, Send, resolve
from tollhouse.http.problems import litestar_response
from tollhouse.limits.decision import REFUSAL_TYPES, RateLimited


def rate_limited(_: Request[Any, Any, Any], refused: RateLimited) -> Response[Any]:
    """Return the response to RateLimited from a function with `@limit`: by `on_refusal` of the plugin, else ours."""
    ours, request = rate_limited_response(refused), refused_request(refused)
    own = None if request is None else request.claim_own_response()
    return litestar_response(ours) if own is None else cast("Response[Any]", _OwnAnswer(own, refused))


def exception_handler(scope: Scope) -> RefusalHandler | None:
    """Return the handler that the route, or what is around it, has for RateLimited; None if it is the plugin's own."""
    if scope["type"] != "http":  # Litestar asks no handlers for websockets
        return None
    handlers = scope["route_handler"].resolve_exception_handlers()
    handler = next((handlers[kind] for kind in REFUSAL_TYPES if kind in handlers), rate_limited)
    return None if handler is rate_limited else in_asgi(partial(_handled, handler))


def in_asgi(handler: RefusalHandler) -> RefusalHandler:
    """Return the handler so that its result is an ASGI application if it was a Response of Litestar."""

    async def handled(scope: Scope, refused: RateLimited) -> Any:
        made = await resolve(handler, scope, refused)
        return _asgi_response(cast("Any", made), scope) if isinstance(made, Response) else made

    return handled


class _OwnAnswer:
    """In place of a Response for Litestar to send: the application's own, which is made when it is sent."""

    def __init__(self, own: OwnResponse, refused: RateLimited) -> None:
        self._own = own
        self._refused = refused

    def to_asgi_response(self, *_: object, **__: object) -> App:
        """Return what makes the response and sends it; Litestar calls this."""
        return self._send

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - called by name
        await (await self._own(self._refused))(send)


def _handled(handler: Callable[..., Any], scope: Scope, refused: RateLimited) -> Any:
    return handler(_request(scope), refused)


def _asgi_response(response: Any, scope: Scope) -> App:
    encoders = scope["route_handler"].resolve_type_encoders()
    return response.to_asgi_response(app=None, request=_request(scope), type_encoders=encoders)


def _request(scope: Scope) -> Request[Any, Any, Any]:
    return scope["litestar_app"].request_class(scope)
