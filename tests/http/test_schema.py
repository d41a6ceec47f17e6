"""The OpenAPI document: which credentials a route takes, and the problems that it answers with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from litestar.routes import HTTPRoute

from tests.http.client import settings_at
from tests.worlds import fake_world
from tollhouse import wiring
from tollhouse.app import create_app


async def document(*, plain_http: bool = True) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """Return the document, and the method and path of every route that reads credentials."""
    async with fake_world() as world, wiring.open(settings_at(world.url, plain_http=plain_http)) as tollhouse:
        app = create_app(tollhouse)
        reading = {
            (method.lower(), route.path_format)
            for route in app.routes
            if isinstance(route, HTTPRoute)
            for handler in route.route_handlers
            for method in handler.http_methods
            if handler.opt.get("auth")
        }
        return app.openapi_schema.to_schema(), reading


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


async def test_every_route_that_reads_credentials_says_which() -> None:
    """A route has security requirements if and only if it reads credentials, and they name schemes that exist."""
    schema, reading = await document()
    schemes = schema["components"]["securitySchemes"]

    for method, path, operation in operations(schema):
        required = operation.get("security", [])
        assert bool(required) == ((method, path) in reading), (method, path)
        assert {name for one in required for name in one} <= set(schemes)
    assert {name: (one["type"], one.get("name"), one.get("in")) for name, one in schemes.items()} == {
        "key": ("apiKey", "X-Api-Key", "header"),
        "bearer": ("http", None, None),
        "session": ("apiKey", "tollhouse-dev", "cookie"),
    }


@pytest.mark.parametrize(("plain_http", "name"), [(True, "tollhouse-dev"), (False, "__Host-tollhouse")])
async def test_the_schema_names_the_cookie_that_counts(plain_http: bool, name: str) -> None:
    """The cookie of the document is the one that the service reads under its settings."""
    schema, _ = await document(plain_http=plain_http)

    assert schema["components"]["securitySchemes"]["session"]["name"] == name


async def test_every_refusal_is_described_as_a_problem() -> None:
    """A route that reads credentials describes 401, 403 and 429; every problem is application/problem+json."""
    schema, reading = await document()

    for method, path, operation in operations(schema):
        refusals = {status for status in operation["responses"] if status >= "400"}
        if (method, path) in reading:
            assert {"401", "403", "429"} <= refusals, (method, path)
        for status in refusals - {"503"}:
            assert set(operation["responses"][status]["content"]) == {"application/problem+json"}, (
                method,
                path,
                status,
            )


#   method, path, further statuses that a client of the route meets
FURTHER = [
    ("post", "/v1/accounts", {"400", "403", "409", "422", "429", "503"}),
    ("post", "/v1/login", {"400", "401", "403", "409", "422", "429", "503"}),
    ("post", "/v1/logout", {"503"}),
    ("get", "/v1/session", {"503"}),
    ("delete", "/v1/sessions/{sid}", {"404", "503"}),
    ("post", "/v1/session/rotate", {"400", "503"}),
    ("post", "/v1/session/renew", {"400", "503"}),
    ("get", "/v1/session/csrf-token", {"503"}),
    ("post", "/v1/session/reauth", {"400", "415", "422", "503"}),
    ("post", "/v1/sessions/step-up", {"400", "409", "415", "422", "503"}),
    ("post", "/v1/sessions", {"201", "400", "409", "415", "422", "503"}),
    ("post", "/v1/introspect", {"400", "413", "415", "503"}),
    ("get", "/v1/admin/users/{uid}/sessions", {"422", "503"}),
    ("delete", "/v1/admin/users/{uid}/sessions", {"204", "422", "503"}),
    ("delete", "/v1/admin/users/{uid}/sessions/{sid}", {"204", "404", "422", "503"}),
    ("post", "/v1/admin/users/{uid}/disable", {"204", "422", "503"}),
    ("post", "/v1/admin/users/{uid}/enable", {"204", "422", "503"}),
    ("post", "/v1/admin/users/{uid}/impersonate", {"201", "400", "409", "415", "422", "503"}),
    ("post", "/v1/session/stop-impersonating", {"200", "204", "400", "409", "415", "422", "503"}),
    ("get", "/v1/session/data", {"304", "400", "503"}),
    ("patch", "/v1/session/data", {"400", "412", "413", "415", "422", "503"}),
    ("post", "/v1/session/data/take", {"400", "415", "422", "503"}),
    ("post", "/v1/session/data/increment", {"400", "409", "413", "415", "422", "503"}),
    ("post", "/v1/limits/take", {"400", "422", "503"}),
    ("post", "/v1/limits/settle", {"400", "422", "503"}),
    ("post", "/v1/ai/{model}", {"400", "422", "502", "503"}),
    ("get", "/readyz", {"400", "503"}),
]


async def test_further_problems_of_a_route_are_described() -> None:
    """Bad input, conflicts and outages stand in the document of each route that has them."""
    schema, _ = await document()

    for method, path, statuses in FURTHER:
        assert statuses <= set(schema["paths"][path][method]["responses"]), (method, path)


#   method, path of every route that begins, ends or replaces sessions
DURABLE = [
    ("post", "/v1/login"),
    ("post", "/v1/logout"),
    ("post", "/v1/sessions"),
    ("post", "/v1/session/rotate"),
    ("post", "/v1/session/renew"),
    ("post", "/v1/session/reauth"),
    ("post", "/v1/sessions/step-up"),
    ("delete", "/v1/admin/users/{uid}/sessions"),
    ("delete", "/v1/admin/users/{uid}/sessions/{sid}"),
    ("post", "/v1/admin/users/{uid}/disable"),
    ("post", "/v1/admin/users/{uid}/enable"),
    ("post", "/v1/admin/users/{uid}/impersonate"),
    ("post", "/v1/session/stop-impersonating"),
    ("delete", "/v1/sessions"),
    ("delete", "/v1/sessions/{sid}"),
]


async def test_the_form_of_an_introspection_is_described() -> None:
    """It is the one body that is no JSON, so a generated client has to learn that from the document."""
    schema, _ = await document()

    body = schema["paths"]["/v1/introspect"]["post"]["requestBody"]
    (form,) = body["content"].values()
    assert (body["required"], set(body["content"])) == (True, {"application/x-www-form-urlencoded"})
    assert form["schema"]["required"] == ["token"]
    assert set(form["schema"]["properties"]) == {"token", "token_type_hint", "csrf_token"}


async def test_routes_that_change_sessions_describe_whether_that_is_durable() -> None:
    """`Tollhouse-Durable` stands in the document of each route that begins, ends or replaces sessions."""
    schema, _ = await document()

    for method, path in DURABLE:
        responses = schema["paths"][path][method]["responses"]
        assert "Tollhouse-Durable" in responses[min(responses)]["headers"], (method, path)
