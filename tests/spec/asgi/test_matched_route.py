"""What frameworks tell of the route that serves a request, in their own words."""

from __future__ import annotations

from functools import partial, wraps
from types import SimpleNamespace
from typing import Any

import pytest

from tollhouse.asgi.matched_route import is_handler, route_name

USERS = SimpleNamespace(path_format="/users/{id}", methods={"PUT", "GET"})
CHAT = SimpleNamespace(path_format="/chat", methods=None)
INCLUDED = SimpleNamespace(starlette_route=SimpleNamespace(path_format="/v1/users/{id}"))
LITESTAR = SimpleNamespace(http_methods={"POST"}, fn=None)

#   what a scope has beside its type, type, name
NAMES = [
    ({"route": USERS}, "http", "GET|PUT /users/{id}"),
    ({"route": USERS, "root_path": "/proxy/api", "app_root_path": "/proxy"}, "http", "GET|PUT /api/users/{id}"),
    ({"route": USERS, "fastapi": {"effective_route_context": INCLUDED}}, "http", "GET|PUT /v1/users/{id}"),
    ({"route": CHAT}, "websocket", "WS /chat"),
    ({"route": CHAT}, "http", "* /chat"),
    ({"route_handler": LITESTAR, "path_template": "/a/{id:int}"}, "http", "POST /a/{id:int}"),
    ({"path_template": "/chat"}, "websocket", "WS /chat"),
    ({"endpoint": print}, "http", ""),
    ({}, "http", ""),
]


@pytest.mark.parametrize(("told", "kind", "name"), NAMES)
def test_a_route_is_named_by_its_methods_and_its_template(told: dict[str, Any], kind: str, name: str) -> None:
    """The name holds for every request of the route and in every process; without a template there is none."""
    assert route_name({"type": kind, **told}) == name


def handler() -> None:
    raise NotImplementedError


@wraps(handler)
def decorated() -> None:
    raise NotImplementedError


class Endpoint:
    handler = staticmethod(decorated)

    def bound(self) -> None:
        raise NotImplementedError


#   what serves the route, whether it is the handler
ENDPOINTS = [
    ({"endpoint": handler}, True),
    ({"endpoint": decorated}, True),
    ({"endpoint": partial(decorated)}, True),
    ({"endpoint": Endpoint}, True),
    ({"endpoint": Endpoint().bound}, False),
    ({"endpoint": object}, False),
    ({"route_handler": SimpleNamespace(fn=decorated)}, True),
    ({"route_handler": LITESTAR}, False),
    ({}, False),
]


@pytest.mark.parametrize(("told", "expected"), ENDPOINTS)
def test_a_handler_is_found_below_its_decorators(told: dict[str, Any], expected: bool) -> None:
    """A function is the handler of a route itself, below decorators, in a partial, or as a method of a class."""
    assert is_handler({"type": "http", **told}, handler) is expected
