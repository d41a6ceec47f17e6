"""The route that a framework has matched: its name, and whether a function is its handler.

Read from what Starlette, FastAPI and Litestar write into the scope. Other frameworks tell nothing about their routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import isclass
from typing import Any, Final

from tollhouse.asgi.types import Scope

_ANY: Final = {"http": ("*",), "websocket": ("WS",)}


def route_name(scope: Scope) -> str:
    """Return the methods and the template of the route, such as `GET|PUT /users/{id}`, the same in every process.

    Return "" if the framework does not tell the template. `WS` stands for the methods of a websocket, `*` for any.
    """
    template = _template(scope)
    if not template:
        return ""
    given = (getattr(scope.get("route"), "methods", None), getattr(scope.get("route_handler"), "http_methods", None))
    methods: Iterable[str] = next(filter(None, given), _ANY[scope["type"]])
    mounted = scope.get("root_path", "").removeprefix(scope.get("app_root_path", ""))
    return f"{'|'.join(sorted(methods))} {mounted}{template}"


def is_handler(scope: Scope, function: object) -> bool:
    """Return True if the function serves the route: itself, below decorators, or as a method of a class."""
    endpoint = scope.get("endpoint") or getattr(scope.get("route_handler"), "fn", None)
    if isclass(endpoint):
        endpoint = getattr(endpoint, getattr(function, "__name__", ""), None)
    return any(one is function for one in _unwrapped(endpoint))


def _template(scope: Scope) -> str:
    """Return the template; a FastAPI router that was included knows its part only, and the whole stands beside it."""
    included = scope.get("fastapi", {}).get("effective_route_context")
    candidates = (getattr(included, "starlette_route", None), included, scope.get("route"))
    templates = (getattr(one, "path_format", "") for one in candidates)
    return next(filter(None, templates), "") or scope.get("path_template", "")


def _unwrapped(endpoint: Any) -> Iterator[object]:
    while endpoint is not None:
        yield endpoint
        endpoint = getattr(endpoint, "__wrapped__", None) or getattr(endpoint, "func", None)
