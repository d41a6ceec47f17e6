"""Handlers of frameworks with a cache: the frameworks see the signature, and call the function as it is."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import Depends, FastAPI
from fastapi import Request as FastAPIRequest
from litestar import Controller, Litestar
from litestar import get as get_route
from litestar import post as post_route
from litestar.params import FromPath, FromQuery
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.asgi import get
from tests.worlds import StoreWorld
from tollhouse import RateLimitMiddleware
from tollhouse.caching.decorators import cache_response, rcached
from tollhouse.caching.invalidating import invalidate_cache, invalidate_cache_for
from tollhouse.errors import InvalidInput
from tollhouse.litestar import TollhousePlugin


class Comparison(BaseModel):
    ids: list[UUID]
    metric: str = "accuracy"


class Metrics(BaseModel):
    run: str
    calls: int


class Session:
    """A database session, as far as a cache can tell."""


async def session() -> AsyncIterator[Session]:
    yield Session()


Database = Annotated[Session, Depends(session)]


def fastapi_app(url: str) -> FastAPI:
    app, calls = FastAPI(), list[str]()
    app.add_middleware(RateLimitMiddleware, url=url, policy=None)

    @app.get("/metrics/{run}")
    @cache_response(key_prefix="model:metrics", ttl=3600, tags=["model:{run}"], ignore=("request", "database"))
    async def metrics(
        run: str, request: FastAPIRequest, database: Database, top: int = 10, *, use_cache: bool = True
    ) -> Metrics:
        calls.append(run)
        return Metrics(run=f"{run} {top} {type(database).__name__}", calls=len(calls))

    @app.get("/plain/{run}")
    @rcached(ttl=60, tags=["model:{run}"])
    def plain(run: UUID, since: datetime | None = None) -> dict[str, str | int]:
        calls.append("plain")
        return {"run": f"{run} {since}", "calls": len(calls), "thread": threading.current_thread().name}

    @app.post("/compare")
    @rcached(ttl=60)
    async def compare(asked: Comparison) -> Metrics:
        calls.append("compare")
        return Metrics(run=asked.metric, calls=len(calls))

    @app.post("/train/{run}")
    @invalidate_cache(tags=["model:{run}"])
    async def train(run: str, database: Database) -> str:
        return run

    @app.post("/train-plain/{run}")
    @invalidate_cache_for(plain)
    def train_plain(run: str) -> str:
        return run

    @app.get("/refused")
    @rcached(ttl=60)
    async def refused(database: Database) -> int:
        raise NotImplementedError

    return app


async def called(app: Any, path: str, method: str = "GET") -> Any:
    response = await get(app, path, method=method)
    assert response.is_success, response.text
    return response.json()["calls"] if response.text.startswith("{") else response.json()


async def test_a_handler_of_fastapi_is_cached(world: StoreWorld) -> None:
    """S4-04, S4-18, S4-19, S4-33: parameters, models and dependencies are as without a cache; tags invalidate."""
    app = fastapi_app(world.url)

    found = [await called(app, path) for path in ("/metrics/a", "/metrics/a?top=10", "/metrics/a?top=5", "/metrics/b")]
    bypassed = await called(app, "/metrics/a?use_cache=false")
    await called(app, "/train/a", "POST")
    again = [await called(app, path) for path in ("/metrics/a", "/metrics/a", "/metrics/b")]

    assert (found, bypassed, again) == ([1, 1, 2, 3], 4, [5, 5, 3])
    assert (await get(app, "/metrics/a")).json()["run"] == "a 10 Session"


async def test_a_handler_that_is_not_async_is_cached_in_its_thread(world: StoreWorld) -> None:
    """Such a handler of FastAPI waits in its thread for the loop of the request, and runs in that thread."""
    app, run = fastapi_app(world.url), UUID(int=1)

    found = [await called(app, f"/plain/{run}{query}") for query in ("", "", "?since=2026-01-01T00:00:00Z", "")]
    await called(app, "/train-plain/a", "POST")

    assert found == [1, 1, 2, 1]
    assert await called(app, f"/plain/{run}?since=2026-01-01T00:00:00Z") == 3
    assert "loop" not in (await get(app, f"/plain/{run}")).json()["thread"]


async def test_a_body_is_part_of_the_key(world: StoreWorld) -> None:
    """S4-21, S4-22: a model in the arguments is told apart by its fields, the metric among them."""
    import httpx2

    transport = httpx2.ASGITransport(app=fastapi_app(world.url))
    bodies = [{"ids": []}, {"ids": [], "metric": "accuracy"}, {"ids": [], "metric": "f1"}, {"ids": [str(UUID(int=1))]}]
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as client:
        found = [(await client.post("/compare", json=body)).json()["calls"] for body in bodies]

    assert found == [1, 1, 2, 3]


async def test_a_dependency_that_is_no_value_is_refused_with_the_remedy(world: StoreWorld) -> None:
    """A database session in the arguments is InvalidInput that says how to ignore it."""
    with pytest.raises(InvalidInput) as refused:
        await get(fastapi_app(world.url), "/refused")

    assert (refused.value.field, "ignore=('database',)" in refused.value.remedy) == ("database", True)


async def test_a_function_behind_a_handler_of_starlette_is_cached(world: StoreWorld) -> None:
    """A Response is no value that can be cached, so the function below the handler is; its key may ask the request."""
    calls: list[str] = []

    @rcached(ttl=60, key=lambda request: f"page:{request.path_params['number']}")
    async def page(request: Request) -> dict[str, int]:
        calls.append(request.url.path)
        return {"calls": len(calls)}

    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(await page(request))

    app = RateLimitMiddleware(Starlette(routes=[Route("/{number}", endpoint)]), url=world.url, policy=None)

    assert [await called(app, path) for path in ("/1", "/1?x=1", "/2")] == [1, 1, 2]


async def test_a_handler_of_litestar_is_cached(world: StoreWorld) -> None:
    """Functions and methods of controllers are cached behind the plugin, which brings the store."""
    calls: list[str] = []

    @get_route("/item/{number:int}")
    @rcached(ttl=60, tags=["items"])
    async def item(number: FromPath[int], use_cache: FromQuery[bool] = True) -> dict[str, int]:
        calls.append("item")
        return {"calls": len(calls)}

    class Items(Controller):
        path = "/items"

        @get_route("/")
        @rcached(ttl=60, tags=["items"], ignore=("self",))
        async def every(self, page: FromQuery[int] = 1) -> dict[str, int]:
            calls.append("every")
            return {"calls": len(calls)}

        @get_route("/plain", sync_to_thread=True)
        @rcached(ttl=60, ignore=("self",))
        def plain(self) -> dict[str, int]:
            calls.append("plain")
            return {"calls": len(calls)}

        @post_route("/")
        @invalidate_cache(tags=["items"])
        async def change(self) -> dict[str, int]:
            return {"calls": 0}

    plugin = TollhousePlugin(world.url, policy=None)
    app = Litestar([item, Items], plugins=[plugin], openapi_config=None)
    paths = ["/item/1", "/item/1", "/item/1?use_cache=false", "/items", "/items?page=1", "/items/plain", "/items/plain"]

    found = [await called(app, path) for path in paths]
    await called(app, "/items", "POST")

    assert found == [1, 1, 2, 3, 3, 4, 4]
    assert [await called(app, "/item/1"), await called(app, "/items")] == [5, 6]
    await plugin.source.aclose()
