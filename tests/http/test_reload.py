"""Applications whose code names a policy, while the settings file loses it."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from litestar import Litestar
from litestar import get as litestar_get
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.asgi import get
from tollhouse import wiring
from tollhouse.asgi.ratelimit.decorator import limit
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.fastapi import RateLimit
from tollhouse.litestar.routes import RateLimitRoutes
from tollhouse.wiring import Tollhouse

FILE = '[limits.policies.api]\nlimit = "3/minute"\n'


@pytest.fixture
async def opened(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tollhouse]:
    """A Tollhouse in this process, with no variable set."""
    for name in [name for name in os.environ if name.startswith(("TOLLHOUSE_", "REDIS_", "CACHE_"))]:
        monkeypatch.delenv(name)
    async with wiring.open(f"fake://{secrets.token_hex(8)}") as tollhouse:
        yield tollhouse


async def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def by_middleware(opened: Tollhouse) -> Any:
    return RateLimitMiddleware(Starlette(routes=[Route("/", hello)]), limiter=opened, policy="api")


def by_route(opened: Tollhouse) -> Any:
    app = Starlette(routes=[Route("/", hello)])
    return RateLimitMiddleware(app, limiter=opened, policy=None, routes={"/": "api"})


def by_function(opened: Tollhouse) -> Any:
    app = Starlette(routes=[Route("/", limit("api", key="all", limiter=opened)(hello))])
    return RateLimitMiddleware(app, limiter=opened, policy=None)


def by_dependency(opened: Tollhouse) -> Any:
    app = FastAPI()
    app.add_api_route("/", lambda: "hello", dependencies=[Depends(RateLimit("api", limiter=opened))])
    return app


def by_litestar_route(opened: Tollhouse) -> Any:
    @litestar_get("/", opt={"rate_limit": "api"})
    async def hello() -> str:
        return "hello"

    return Litestar([hello], middleware=[RateLimitRoutes(opened)], openapi_config=None)


@pytest.mark.parametrize("make", [by_middleware, by_route, by_function, by_dependency, by_litestar_route])
async def test_a_policy_that_the_file_loses_is_no_500(
    opened: Tollhouse, tmp_path: Path, make: Callable[[Tollhouse], Any]
) -> None:
    """Whatever names a policy goes on to be limited by it when the file no longer has it, and keeps its count."""
    file = tmp_path / "tollhouse.toml"
    file.write_text(FILE)
    watch = await opened.watch(file)
    app = make(opened)

    statuses = [(await get(app)).status_code for _ in range(2)]
    file.write_text("")
    assert await watch.check() == "applied"
    statuses += [(await get(app)).status_code for _ in range(2)]

    assert statuses == [200, 200, 200, 429]
