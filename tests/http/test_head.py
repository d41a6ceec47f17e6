"""HEAD, and what the service says of itself at its root."""

from __future__ import annotations

from importlib.metadata import version

import httpx2
import pytest
from litestar.routes import HTTPRoute

from tests.http.client import ADMIN, SERVICE, Service
from tollhouse.app import create_app

CHANGING = frozenset({"content-length", "ratelimit", "date"})
"""Fields that tell of a moment: what is left of a limit, and the length of metrics that count requests."""


def paths_with_get(service: Service) -> list[str]:
    app = create_app(service.tollhouse)
    return [
        path
        for route in app.routes
        if isinstance(route, HTTPRoute)
        and any("GET" in handler.http_methods and not handler.opt.get("endless") for handler in route.route_handlers)
        for path in [route.path.replace("{sid:str}", "none")]
    ]


def described(response: httpx2.Response) -> tuple[int, dict[str, str]]:
    fields = {name: value for name, value in response.headers.items() if name not in CHANGING}
    return response.status_code, fields


async def test_head_answers_as_get_does_without_content(service: Service) -> None:
    """RFC 9110, 9.3.2: every route with GET answers HEAD with the same status and fields, and no content."""
    await service.sign_up()
    session = await service.log_in()
    paths = paths_with_get(service)
    statuses: set[int] = set()

    for path in [*paths, "/readyz?verbose", "/nowhere"]:
        for caller in ({}, SERVICE, ADMIN, session):
            got = await service.ask("GET", path, headers=caller)
            head = await service.ask("HEAD", path, headers=caller)

            statuses.add(got.status_code)
            assert described(head) == described(got), path
            assert head.content == b""
            assert int(head.headers["content-length"]) > 0
    assert {200, 401, 404} <= statuses
    assert {"/", "/livez", "/metrics", "/readyz", "/schema", "/v1/limits", "/v1/session"} <= {*paths}


@pytest.mark.parametrize("path", ["/v1/login", "/v1/limits/take"])
async def test_head_without_get_is_405(service: Service, path: str) -> None:
    """A route without GET has no HEAD either, and nothing runs for it."""
    response = await service.ask("HEAD", path, headers=SERVICE)

    assert response.status_code == 405
    assert response.content == b""


@pytest.mark.parametrize("path", ["/livez", "/v1/sessions", "/v1/login"])
async def test_a_refused_method_is_told_what_there_is(service: Service, path: str) -> None:
    """RFC 9110, 10.2.1: `Allow` names HEAD for every route with GET, and for no other."""
    for method in ("PUT", "OPTIONS"):
        response = await service.ask(method, path, headers=await _session(service))
        allowed = response.headers["allow"].split(", ")

        assert ("HEAD" in allowed) == ("GET" in allowed) == (path != "/v1/login")


async def _session(service: Service) -> dict[str, str]:
    await service.renew()
    await service.sign_up()
    return await service.log_in()


async def test_the_root_says_what_this_is(service: Service) -> None:
    """`/` names the service, its version and what to read next, to every caller, and nothing of its configuration."""
    response = await service.ask("GET", "/")

    said = response.json()
    assert response.status_code == 200
    assert (said["name"], said["version"]) == ("tollhouse", version("tollhouse"))
    for link in (said["schema"], said["ready"]):
        assert (await service.ask("GET", link)).status_code == 200
    assert set(said) == {"name", "version", "about", "schema", "ready"}
