"""Limits that are written in the code: which functions and routes share a counter, and which limits count once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from litestar import Controller, Litestar
from litestar import get as litestar_get
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tests.asgi import get, limiter_with
from tests.worlds import fake_world
from tollhouse.asgi.ratelimit.decorator import limit
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.fastapi import RateLimit
from tollhouse.limits.decision import RateLimited
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.litestar.routes import RateLimitRoutes


@pytest.fixture
async def limits() -> AsyncIterator[Limiter]:
    """A limiter in memory, without policies."""
    async with fake_world() as world:
        yield limiter_with(world, {})


def behind_middleware(app: Any, limits: Limiter) -> Any:
    """Put a middleware that limits nothing itself around an application."""
    return RateLimitMiddleware(app, limiter=limits, policy=None)


def starlette_factory(limits: Limiter) -> Any:
    def handler() -> Any:
        @limit("1/minute", key="all")
        async def hello(_: Request) -> PlainTextResponse:
            return PlainTextResponse("hello")

        return hello

    mounted = Mount("/b", routes=[Route("/{id}", handler())])
    return behind_middleware(Starlette(routes=[Route("/a", handler()), mounted]), limits)


def starlette_redefined(limits: Limiter) -> Any:
    @limit("1/minute", key="all")
    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("a")

    first = hello

    @limit("1/minute", key="all")
    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("b")

    return behind_middleware(Starlette(routes=[Route("/a", first), Route("/b/{id}", hello)]), limits)


def starlette_inherited(limits: Limiter) -> Any:
    class Base(HTTPEndpoint):
        @limit("1/minute", key="all")
        async def get(self, _: Request) -> PlainTextResponse:
            return PlainTextResponse("hello")

    class First(Base):
        """The first."""

    class Second(Base):
        """The second."""

    return behind_middleware(Starlette(routes=[Route("/a", First), Route("/b/{id}", Second)]), limits)


def fastapi_factory(limits: Limiter) -> Any:
    app, router = FastAPI(), APIRouter(prefix="/b")

    def add(routes: Any, path: str) -> None:
        @routes.get(path)
        @limit("1/minute", key="all")
        async def hello() -> str:
            return "hello"

    add(app, "/a")
    add(router, "/{id}")
    app.include_router(router)
    return behind_middleware(app, limits)


def fastapi_threads(limits: Limiter) -> Any:
    app = FastAPI()
    for path in ("/a", "/b/{id}"):

        @app.get(path)
        @limit("1/minute", key="all")
        def hello() -> str:
            return "hello"

    return behind_middleware(app, limits)


def litestar_inherited(limits: Limiter) -> Any:
    class Base(Controller):
        @litestar_get("/{id:int}")
        @limit("1/minute", key="all")
        async def hello(self) -> str:
            return "hello"

    class First(Base):
        path = "/a"

    class Second(Base):
        path = "/b"

    return Litestar([First, Second], middleware=[RateLimitRoutes(limits)], openapi_config=None)


HANDLERS = [
    starlette_factory,
    starlette_redefined,
    starlette_inherited,
    fastapi_factory,
    fastapi_threads,
    litestar_inherited,
]


@pytest.mark.parametrize("make", HANDLERS)
async def test_each_route_of_a_handler_counts_for_itself(limits: Limiter, make: Callable[[Limiter], Any]) -> None:
    """Handlers of one name, made by a factory, redefined or inherited, count for their routes, in every process."""
    paths = ["/a/1" if make is litestar_inherited else "/a", "/b/1", "/b/2"]
    app, elsewhere = make(limits), make(limits)

    statuses = [(await get(app, path)).status_code for path in paths]
    again = [(await get(elsewhere, path)).status_code for path in paths]

    assert statuses == [200, 200, 429]
    assert again == [429, 429, 429]


async def test_a_function_that_handlers_call_counts_for_all_of_them(limits: Limiter) -> None:
    """A limit of a function that is no handler is one limit, whichever route calls it."""

    @limit("1/minute", key="all")
    async def send() -> str:
        return "sent"

    async def first(_: Request) -> PlainTextResponse:
        return PlainTextResponse(await send())

    async def second(_: Request) -> PlainTextResponse:
        return PlainTextResponse(await send())

    app = behind_middleware(Starlette(routes=[Route("/a", first), Route("/b", second)]), limits)

    assert [(await get(app, path)).status_code for path in ("/a", "/b")] == [200, 429]


async def test_outside_a_request_functions_of_one_name_share_a_counter(limits: Limiter) -> None:
    """What a factory makes is one function to its limit, unless each has a `name` of its own."""

    def make(**name: str) -> Callable[[], Any]:
        @limit("1/minute", key="all", limiter=limits, **name)
        async def work() -> str:
            return "done"

        return work

    await make()()
    with pytest.raises(RateLimited):
        await make()()
    assert [await make(name=name)() for name in ("one", "two")] == ["done", "done"]


@pytest.mark.parametrize("behind", [True, False])
async def test_the_same_limit_on_a_router_and_its_route_counts_once(limits: Limiter, behind: bool) -> None:
    """A limit that a request meets twice, by the application, a router or the route, is charged and held once."""
    limits.replace_policies({"jobs": parse_policy("jobs", "1/minute", "concurrency")})

    def twice(text: str, **how: Any) -> list[Any]:
        return [Depends(RateLimit(text, limiter=limits, **how)) for _ in range(2)]

    app = FastAPI(dependencies=twice("3/minute"))
    router = APIRouter(dependencies=[*twice("3/minute"), *twice("jobs")])
    router.add_api_route("/", lambda: "hello", dependencies=[*twice("3/minute"), *twice("jobs")])
    app.include_router(router)
    served = behind_middleware(app, limits) if behind else app

    assert [(await get(served)).status_code for _ in range(4)] == [200, 200, 200, 429]


async def test_limits_that_differ_count_each(limits: Limiter) -> None:
    """Another number, cost, key or name makes another limit, and each is charged."""
    limits.replace_policies({"api": parse_policy("api", "9/minute")})
    app = FastAPI(dependencies=[Depends(RateLimit("api", limiter=limits))])
    same = RateLimit("api", limiter=limits, cost=1)
    cost, key = RateLimit("api", limiter=limits, cost=2), RateLimit("api", limiter=limits, key=lambda _: "other")
    app.add_api_route("/", lambda: "hello", dependencies=[Depends(one) for one in (same, cost, key)])

    await get(app)

    left = [(await limits.peek("api", key)).limits[0].remaining for key in ("192.0.2.1", "other")]
    assert left == [6, 8]
