"""What every response of the service says, whichever caller it is for and whatever made it."""

from __future__ import annotations

import logging
import re
from typing import Any, cast

import pytest
from litestar import Request
from litestar.routes import HTTPRoute
from msgspec.structs import replace

from tests.asgi import get, hello, limiter_with
from tests.http.client import ADMIN, SERVICE, Service
from tests.http.twins import HttpRequest, twins
from tests.worlds import StoreWorld, fake_world
from tollhouse.app import create_app
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.http.headers import DURABLE_FIELD, durable_header
from tollhouse.http.problems import HANDLERS

TOKEN = "v1.00000000." + "ab" * 16 + "." + "a" * 26 + "." + "A" * 43
NOTHING = "default-src 'none'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
PRIVATE = "Authorization, Cookie, X-Api-Key"
OVER, WRONG = {"Authorization": f"Bearer {TOKEN}"}, {"X-Api-Key": "a-wrong-key-of-ours"}
CALLERS: list[dict[str, str]] = [{}, SERVICE, ADMIN, OVER, WRONG]
NOWHERE = [("GET", "/nowhere"), ("PUT", "/v1/login"), ("GET", "/schema/nowhere"), ("GET", "/readyz?verbose")]


_PATH_PARTS = {"uid": "nobody", "model": "langid"}


def routes_of(service: Service) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the method, the path and the `opt` of every handler."""
    app = create_app(service.tollhouse)
    return [
        (
            method,
            re.sub(r"\{(\w+):str\}", lambda found: _PATH_PARTS.get(found[1], "none"), route.path),
            dict(handler.opt),
        )
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
    ]


@pytest.mark.asvs("3.2.1", "3.4.2", "3.4.3", "3.4.4", "3.4.5", "3.4.6", "3.5.7")
async def test_no_response_of_any_route_is_stored_sniffed_or_mixed_up(service: Service) -> None:
    """RFC 9111, 5.2.2.5: every response says no-store and nosniff; if credentials are read, Vary names them.

    To browsers it also says that nothing of it may run, be embedded or name its address elsewhere; no other site may
    read it. Refusals too: a cached 401, 403 or 503 would be served to a caller with other credentials.
    """
    statuses: set[int] = set()
    for method, path, opt in routes_of(service):
        for caller in CALLERS:
            if opt.get("endless") and caller == ADMIN:
                continue
            response = await service.ask(method, path, headers=caller, **({"json": {}} if method == "POST" else {}))

            statuses.add(response.status_code)
            assert response.headers.get_list("cache-control") == ["no-store"], (method, path)
            assert response.headers.get_list("x-content-type-options") == ["nosniff"], (method, path)
            assert response.headers.get_list("content-security-policy") == [NOTHING], (method, path)
            assert response.headers.get_list("referrer-policy") == ["no-referrer"], (method, path)
            assert "access-control-allow-origin" not in response.headers, (method, path)
            if opt.get("auth") and response.content:
                assert "json" in response.headers["content-type"], path
            assert response.headers.get_list("vary") == ([PRIVATE] if opt.get("auth") else []), (method, path)
    assert {200, 204, 400, 401, 403} <= statuses


@pytest.mark.parametrize(("method", "path"), NOWHERE)
async def test_what_no_handler_made_is_not_stored_either(service: Service, method: str, path: str) -> None:
    """Paths and methods that do not exist, and requests that are refused before a handler."""
    response = await service.ask(method, path)

    assert response.status_code in (401, 404, 405)
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_the_fast_path_says_the_same() -> None:
    """Decisions and refusals of the fast path have the headers, each once, as those of the documented handlers."""
    refused = replace(HttpRequest(), chunks=(b'{"policy":"api","key":"ada","cost":9}',))
    async with twins() as both:
        answers = [await both.served.answer(asked) for asked in (HttpRequest(), refused)]

    assert both.served.passed_on == 0
    assert [answer[0]["status"] for answer in answers] == [200, 422]
    for answer in answers:
        names = [name for name, _ in answer[0]["headers"]]
        headers = dict(answer[0]["headers"])
        assert len(names) == len(set(names))
        assert headers[b"cache-control"] == b"no-store"
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert headers[b"vary"] == PRIVATE.encode()
        assert (headers[b"content-security-policy"], headers[b"referrer-policy"]) == (NOTHING.encode(), b"no-referrer")


async def test_a_refusal_of_the_middleware_is_not_sniffed() -> None:
    """The middleware's own responses, with what a client sent in them, are never run as a script."""
    async with fake_world() as world:
        app = RateLimitMiddleware(hello, limiter=limiter_with(cast("StoreWorld", world), {"default": "1/minute"}))
        responses = [await get(app) for _ in range(2)]

    assert [response.status_code for response in responses] == [200, 429]
    assert responses[1].headers["x-content-type-options"] == "nosniff"
    assert "x-content-type-options" not in responses[0].headers, "the application's own response is left alone"


def test_durability_is_true_or_false() -> None:
    """The header says one of two words, under the name that the document describes."""
    headers = [durable_header(durable=durable) for durable in (True, False)]

    assert headers == [{"Tollhouse-Durable": "true"}, {"Tollhouse-Durable": "false"}]
    assert {DURABLE_FIELD.name} == {name for header in headers for name in header}


#   method, path, status
MISPLACED = [
    ("GET", f"/{TOKEN}", 404),
    ("GET", f"/v1/session/{TOKEN}", 404),
    ("GET", f"/schema/{TOKEN}", 404),
    ("GET", f"/livez?{TOKEN}", 400),
    ("GET", f"/livez?{TOKEN}=1", 400),
    ("POST", f"/v1/ai/{TOKEN}", 422),
]


@pytest.mark.parametrize(("method", "path", "status"), MISPLACED)
async def test_a_token_in_the_wrong_place_is_not_repeated(
    service: Service, caplog: pytest.LogCaptureFixture, method: str, path: str, status: int
) -> None:
    """A secret that a client put into the path or the query is in no response, which others log, and in no log."""
    caplog.set_level(logging.DEBUG)

    response = await service.ask(method, path, headers=SERVICE, **({"json": {"input": 1}} if method == "POST" else {}))

    assert response.status_code == status
    assert TOKEN not in response.text
    assert not [
        record for record in caplog.records if record.name.startswith("tollhouse") and TOKEN in repr(vars(record))
    ]


async def test_an_unexpected_failure_is_logged_by_its_route(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the route as it was declared: a path may have a secret in it."""
    scope: Any = {
        "type": "http",
        "method": "DELETE",
        "path": f"/v1/sessions/{TOKEN}",
        "path_template": "/v1/sessions/{sid}",
        "query_string": b"",
        "headers": [],
        "root_path": "",
        "server": ("app", 80),
        "scheme": "http",
    }

    response = HANDLERS[Exception](Request(scope), ZeroDivisionError("a defect"))

    (record,) = caplog.records
    assert response.status_code == 500
    assert vars(record)["route"] == "/v1/sessions/{sid}"
    assert TOKEN not in repr({name: value for name, value in vars(record).items() if name != "exc_info"})
