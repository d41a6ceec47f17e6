"""Exception handlers of a Starlette or FastAPI application, for refusals that it does not see as exceptions.

Middleware runs outside of what handles exceptions there, so its refusals have to be brought to the handlers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Final

from tollhouse.asgi.types import App, Receive, Scope, Send
from tollhouse.limits.decision import REFUSAL_TYPES, RateLimited

_STARLETTE: Final = "starlette.applications"
_TYPES: Final = 64


def exception_handler(app: App, scope: Scope) -> Callable[[Scope, RateLimited], App] | None:
    """Return the handler that the application behind the middleware, or around it, has for RateLimited; None if none.

    The application is that of the scope, else `app`.
    """
    found: Any = scope.get("app", app)
    if not _is_starlette(found.__class__):
        return None
    handlers: dict[Any, Any] = {kind: one for kind, one in found.exception_handlers.items() if kind in REFUSAL_TYPES}
    return partial(_response, found, handlers) if handlers else None


@lru_cache(maxsize=_TYPES)
def _is_starlette(kind: type) -> bool:
    return any(one.__module__ == _STARLETTE for one in kind.__mro__)


def _response(app: Any, handlers: Mapping[Any, Any], _: Scope, refused: RateLimited) -> App:
    """Return an application that raises the refusal inside of what calls the handlers."""
    from starlette.middleware.exceptions import ExceptionMiddleware  # only applications of Starlette get here

    async def refuse(_: Scope, __: Receive, ___: Send) -> None:
        raise refused

    handled = ExceptionMiddleware(refuse, handlers=handlers)
    return lambda scope, receive, send: handled({**scope, "app": app}, receive, send)
