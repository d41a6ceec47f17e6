"""CORS preflights, which browsers send by themselves, and the limits of what they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from fastapi import Depends, FastAPI
from litestar import Litestar
from litestar import get as litestar_get

from tests.asgi import get, hello, limiter_with
from tests.http.client import service_at
from tests.worlds import fake_world
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.fastapi import RateLimit
from tollhouse.limits.limiter import Limiter
from tollhouse.litestar.routes import RateLimitRoutes
from tollhouse.settings.model import LimitSettings, PolicySettings

PREFLIGHT: Final[Mapping[str, str]] = {"Origin": "http://shop", "Access-Control-Request-Method": "PUT"}


def middleware(limits: Limiter, *, preflights: bool = False) -> Any:
    return RateLimitMiddleware(hello, limiter=limits, policy="two", preflights=preflights)


def routes(limits: Limiter, *, preflights: bool = False) -> Any:
    return RateLimitMiddleware(hello, limiter=limits, policy=None, routes={"/*": "two"}, preflights=preflights)


def litestar(limits: Limiter, *, preflights: bool = False) -> Any:
    @litestar_get("/")
    async def index() -> str:
        return "hello"

    return Litestar([index], middleware=[RateLimitRoutes(limits, policy="two", preflights=preflights)])


def dependency(limits: Limiter, *, preflights: bool = False) -> Any:
    app = FastAPI(dependencies=[Depends(RateLimit("two", limiter=limits, preflights=preflights))])

    @app.api_route("/", methods=["GET", "OPTIONS"])
    async def index() -> str:
        return "hello"

    return app


EDGES = [middleware, routes, litestar, dependency]


async def statuses(app: Any, *requests: tuple[str, Mapping[str, str]]) -> list[int]:
    return [(await get(app, method=method, **headers)).status_code // 100 for method, headers in requests]


@pytest.mark.parametrize("edge", EDGES)
async def test_a_preflight_counts_nothing(edge: Callable[..., Any]) -> None:
    """OPTIONS with Access-Control-Request-Method is neither charged nor refused; any other OPTIONS is."""
    async with fake_world() as world:
        app = edge(limiter_with(world, {"two": "2/hour"}))

        found = await statuses(app, *[("OPTIONS", PREFLIGHT)] * 3, ("GET", {}), ("OPTIONS", {}), ("OPTIONS", {}))
        later = await statuses(app, ("GET", PREFLIGHT), ("OPTIONS", PREFLIGHT))

    assert found == [2, 2, 2, 2, 2, 4]
    assert later == [4, 2]


@pytest.mark.parametrize("edge", EDGES)
async def test_preflights_count_if_they_are_meant(edge: Callable[..., Any]) -> None:
    """With `preflights=True` they are requests like all others."""
    async with fake_world() as world:
        app = edge(limiter_with(world, {"two": "2/hour"}), preflights=True)

        assert await statuses(app, *[("OPTIONS", PREFLIGHT)] * 3) == [2, 2, 4]


async def test_the_service_counts_no_preflight() -> None:
    """A preflight for a route of the service takes nothing from the limit of its callers."""
    limits = LimitSettings(policies={"signup": PolicySettings(limit="1/hour")})
    async with service_at("fake://", limits=limits) as service:
        for _ in range(3):
            assert (await service.ask("OPTIONS", "/v1/accounts", headers=PREFLIGHT)).status_code == 204
        await service.sign_up()
