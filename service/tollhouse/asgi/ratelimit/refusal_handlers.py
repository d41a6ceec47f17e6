"""The application's own response to a refusal: made by a function that an edge was given, or by the framework.

A function gets the ASGI scope and the RateLimited, plain or async, and returns an HttpResponse or any ASGI application,
which the responses of Starlette are. A plain one runs in the event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from tollhouse.asgi.response import HttpResponse, send_response
from tollhouse.asgi.types import App, Receive, Scope, Send, resolve
from tollhouse.errors import ConfigurationError
from tollhouse.limits.decision import RateLimited

RefusalHandler = Callable[[Scope, RateLimited], Any]
"""Returns the response to a refusal: an HttpResponse or an ASGI application, or an awaitable of one."""
OwnResponse = Callable[[RateLimited], Awaitable[Callable[[Send], Awaitable[None]]]]
"""Makes the response to a refusal of one request, and returns the function that sends it."""
HandlerLookup = Callable[[Scope], RefusalHandler | None]
"""Returns what a framework has for RateLimited, as a handler; None if it has nothing."""


def own_response(handler: RefusalHandler, scope: Scope, receive: Receive) -> OwnResponse:
    """Return the handler bound to a request."""
    return partial(_bound, handler, scope, receive)


async def _bound(
    handler: RefusalHandler, scope: Scope, receive: Receive, refused: RateLimited
) -> Callable[[Send], Awaitable[None]]:
    return partial(response_app(await resolve(handler, scope, refused)), scope, receive)


def response_app(made: object) -> App:
    """Return what a handler made as an ASGI application; raises ConfigurationError if it is no response."""
    if isinstance(made, HttpResponse):
        return partial(_send, made)
    if callable(made):
        return cast("App", made)
    remedy = "return an HttpResponse or an ASGI response, such as one of Starlette"
    raise ConfigurationError("on_refusal", type(made).__name__, remedy)


async def _send(response: HttpResponse, scope: Scope, _: Receive, send: Send) -> None:
    await send_response(response, send, "websocket.http" if scope["type"] == "websocket" else "http")
