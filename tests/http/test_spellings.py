"""Paths that frameworks route to a handler although they are spelled otherwise: each meets the limit of the route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from litestar import Litestar
from litestar import post as litestar_post
from litestar.types import Receive, Scope, Send
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tests.asgi import django_application, limiter_with
from tests.worlds import StoreWorld, fake_world
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware

SPELLINGS = [
    "/login%0a",
    "//login",
    "/login/",
    "/login//",
    "/./login",
    "/x/../login",
    "/%2flogin",
    "/login%2f",
    "/LOGIN",
    "/login;a=b",
    "/login.",
    "/login%20",
    "/log%2569n",
    "/login%00",
    "http://app/login",
]
"""As a client writes them; a server decodes one level of escapes."""

Made = tuple[Any, list[str]]
"""An application, and the log of its login handler."""


@pytest.fixture
async def fake() -> AsyncIterator[StoreWorld]:
    """The stores of the limits in memory."""
    async with fake_world() as world:
        yield world


def starlette_app() -> Made:
    log: list[str] = []

    async def login(request: Request) -> PlainTextResponse:
        log.append("login")
        return PlainTextResponse("in")

    return Starlette(routes=[Route("/login", login, methods=["POST"])]), log


def fastapi_app() -> Made:
    log: list[str] = []
    app = FastAPI()
    app.add_api_route("/login", lambda: log.append("login"), methods=["POST"])
    return app, log


def litestar_app() -> Made:
    log: list[str] = []

    @litestar_post("/login")
    async def login() -> None:
        log.append("login")

    return Litestar([login], openapi_config=None), log


def django_app() -> Made:
    from django.http import HttpRequest, HttpResponse
    from django.urls import path, re_path

    log: list[str] = []

    def login(request: HttpRequest) -> HttpResponse:
        log.append("login")
        return HttpResponse(b"in")

    return django_application([path("login", login), re_path(r"^login/$", login)]), log


#   framework, spellings that reach its login handler when nothing limits it
FRAMEWORKS: list[tuple[Callable[[], Made], set[str]]] = [
    (starlette_app, {"/login%0a"}),
    (fastapi_app, {"/login%0a"}),
    (litestar_app, {"//login", "/login/", "/login//", "/%2flogin", "/login%2f"}),
    (django_app, {"/login/", "/login%2f"}),
]


async def post(app: Any, spelling: str, *, root_path: str = "") -> int:
    """Send a POST with a path as a server hands it over, and return the status."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": unquote(spelling),
        "raw_path": spelling.encode(),
        "root_path": root_path,
        "query_string": b"",
        "headers": [(b"host", b"app"), (b"content-length", b"0")],
        "client": ("192.0.2.1", 4711),
        "server": ("app", 80),
    }
    statuses: list[int] = []
    unread = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if not unread:
            await asyncio.Event().wait()
        return unread.pop()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    return statuses[0]


@pytest.mark.parametrize(("make", "routed"), FRAMEWORKS)
async def test_frameworks_route_paths_that_are_spelled_otherwise(make: Callable[[], Made], routed: set[str]) -> None:
    """The danger is real: these are the spellings that a framework itself routes to `POST /login`."""
    app, log = make()
    reached: set[str] = set()

    for spelling in SPELLINGS:
        await post(app, spelling)
        if log:
            reached.add(spelling)
        log.clear()

    assert reached == routed


@pytest.mark.parametrize("make", [make for make, _ in FRAMEWORKS])
async def test_a_spelling_passes_no_limit(fake: StoreWorld, make: Callable[[], Made]) -> None:
    """Once the limit of a route is reached, no spelling of its path reaches the handler, and plain others do."""
    app, log = make()
    limits = limiter_with(fake, {"login": "1/minute"})
    limited = RateLimitMiddleware(app, limiter=limits, policy=None, routes={"POST /login": "login", "/login/x": None})

    first = await post(limited, "/login")
    statuses = {spelling: await post(limited, spelling) for spelling in SPELLINGS}
    elsewhere = await post(limited, "/elsewhere")

    assert first < 300
    assert log == ["login"]
    assert set(statuses.values()) == {429}
    assert elsewhere == 404


async def test_a_spelling_passes_no_limit_inside_a_mount(fake: StoreWorld) -> None:
    """The same holds below a mount point, for the part of the path that the mounted application sees."""
    app, log = starlette_app()
    limits = limiter_with(fake, {"login": "1/minute"})
    limited = RateLimitMiddleware(app, limiter=limits, policy=None, routes={"POST /login": "login"})
    outer = Starlette(routes=[Mount("/api", app=limited)])

    first = await post(outer, "/api/login")
    again = await post(outer, "/api/login%0a")

    assert (first, again, log) == (200, 429, ["login"])


async def test_a_spelling_passes_no_limit_beside_the_root_path(fake: StoreWorld) -> None:
    """Litestar cuts a path at the root path wherever it stands: what it routes so is limited."""
    app, log = litestar_app()
    limits = limiter_with(fake, {"login": "1/minute"})
    limited = RateLimitMiddleware(app, limiter=limits, policy=None, routes={"POST /login": "login"})

    first = await post(limited, "/login", root_path="/api")
    others = [await post(limited, path, root_path="/api") for path in ("/x/api/login", "/apilogin", "/api/login")]

    assert (first, others, log) == (201, [429, 429, 429], ["login"])


async def test_a_root_path_of_the_application_is_known(fake: StoreWorld) -> None:
    """FastAPI routes `/api/login` to `/login` if it was made with `root_path="/api"`, also if it is wrapped whole."""
    log: list[str] = []
    app = FastAPI()
    app.root_path = "/api"
    app.add_api_route("/login", lambda: log.append("login"), methods=["POST"])
    limits = limiter_with(fake, {"login": "1/minute"})
    limited = RateLimitMiddleware(app, limiter=limits, policy=None, routes={"POST /login": "login"})

    statuses = [await post(limited, path) for path in ("/login", "/api/login", "/login%0a")]

    assert (statuses, log) == ([200, 429, 429], ["login"])


@pytest.mark.parametrize(("exclude", "expected"), [("^/health", [429, 429]), ("^/api/health", [429, 200])])
async def test_exclude_sees_the_whole_path_inside_a_mount(fake: StoreWorld, exclude: str, expected: list[int]) -> None:
    """`exclude` is matched against the path in the application, with the prefix of a mount, in every spelling."""
    from litestar import asgi

    from tollhouse.litestar.routes import RateLimitRoutes

    @asgi("/api", is_mount=True, copy_scope=True)
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    limits = RateLimitRoutes(limiter_with(fake, {"api": "1/minute"}), policy="api", exclude=exclude)
    app = Litestar([mounted], middleware=[limits], openapi_config=None)
    await post(app, "/api/first")

    statuses = [await post(app, path) for path in ("/api/health/../x", "/api/health")]

    assert statuses == expected
