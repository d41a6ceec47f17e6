"""Handlers of frameworks with a cache: the frameworks see the signature, and call the function as it is."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Annotated, Any, cast
from uuid import UUID

import httpx2
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
from tollhouse.caching.keys import CacheKeys
from tollhouse.errors import InvalidInput
from tollhouse.fastapi import RateLimit
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


def left(response: httpx2.Response) -> str:
    """Return what the limit of the request still has."""
    return response.headers["ratelimit"].split(";")[1]


def keyed(name: str) -> str:
    return f"page:{name}"


def limited(routes: list[Route], world: StoreWorld) -> RateLimitMiddleware:
    return RateLimitMiddleware(Starlette(routes=routes), url=world.url, policies={"api": "9/minute"}, policy="api")


LONG = "a" * 1_100
#    decorator, what the client sent, field of the problem
OF_THE_CLIENT: list[tuple[Callable[[Any], Any], str, str]] = [
    (rcached(ttl=60, key=keyed), LONG, "key"),
    (rcached(ttl=60, key=lambda name: name), "", "key"),
    (rcached(ttl=60, key=lambda name: CacheKeys.model(name)), LONG, "model_id"),
    (rcached(ttl=60, key=lambda name: CacheKeys.model_list(int(name))), "-1", "page"),
    (rcached(ttl=60, tags=["page:{name}"]), LONG, "name"),
    (rcached(ttl=60), LONG * 1_000, "name"),
    (invalidate_cache(tags=["page:{name}"]), LONG, "name"),
    (invalidate_cache(["page:{name}"]), "a:*", "name"),
]


@pytest.mark.parametrize(("decorator", "sent", "field"), OF_THE_CLIENT)
async def test_what_a_client_sent_and_no_key_can_hold_is_its_mistake(
    fake: StoreWorld, decorator: Callable[[Any], Any], sent: str, field: str
) -> None:
    """P8: 422 with the field, as a key of `@limit` is, and the request is charged: the application has served it."""

    @decorator
    async def page(name: str) -> str:
        raise NotImplementedError

    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(await page(sent))

    app = limited([Route("/", endpoint)], fake)
    refused = [await get(app) for _ in range(2)]

    assert {(response.status_code, response.headers["content-type"]) for response in refused} == {
        (422, "application/problem+json")
    }
    assert {response.json()["field"] for response in refused} == {field}
    assert "ignore" not in refused[0].text
    assert [left(response) for response in refused] == ["r=8", "r=7"]


async def test_what_no_client_can_send_is_a_mistake_of_the_application(world: StoreWorld) -> None:
    """An argument or a key of another type is raised, because only the code can be at fault."""

    @rcached(ttl=60)
    async def page(request: Request) -> str:
        raise NotImplementedError

    @rcached(ttl=60, key=lambda _: cast("str", 7))
    async def other(request: Request) -> str:
        raise NotImplementedError

    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(await (page if request.url.path == "/page" else other)(request))

    app = limited([Route("/page", endpoint), Route("/other", endpoint)], world)

    for path, field in (("/page", "request"), ("/other", "key")):
        with pytest.raises(InvalidInput) as refused:
            await get(app, path)
        assert refused.value.field == field


async def test_what_a_function_raises_is_its_own_error(world: StoreWorld) -> None:
    """InvalidInput out of a cached function is not taken for one about its key."""

    @rcached(ttl=60)
    async def page(name: str) -> str:
        raise InvalidInput("name", name, "give another")

    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(await page(request.path_params["name"]))

    with pytest.raises(InvalidInput):
        await get(limited([Route("/{name}", endpoint)], world), "/a")


async def test_an_application_may_answer_by_itself(world: StoreWorld) -> None:
    """A handler for InvalidInput makes the response, and the request is charged once."""

    @rcached(ttl=60, key=keyed)
    async def page(name: str) -> str:
        raise NotImplementedError

    async def endpoint(request: Request) -> JSONResponse:
        try:
            return JSONResponse(await page(request.path_params["name"]))
        except InvalidInput as error:
            return JSONResponse({"wrong": error.field}, status_code=422)

    app = limited([Route("/{name}", endpoint)], world)
    found = [await get(app, f"/{LONG}") for _ in range(2)]

    assert [response.json() for response in found] == [{"wrong": "key"}] * 2
    assert [left(response) for response in found] == ["r=8", "r=7"]


async def test_without_our_middleware_a_route_with_a_limit_answers(world: StoreWorld) -> None:
    """FastAPI's dependency answers 422 for a cached function of its route too, and the request is charged."""
    app = FastAPI()

    @app.get("/{name}", dependencies=[Depends(RateLimit("9/minute", limiter=world.url))])
    @rcached(ttl=60, key=keyed, cache=world.url)
    async def page(name: str) -> str:
        return name

    refused, found = [await get(app, path) for path in (f"/{LONG}", "/a")]

    assert (refused.status_code, refused.json()["field"]) == (422, "key")
    assert (found.status_code, left(found)) == (200, "r=7")


async def test_in_litestar_the_plugin_answers(world: StoreWorld) -> None:
    """The plugin answers as the middleware does."""

    @get_route("/{name:str}")
    @rcached(ttl=60, key=keyed)
    async def page(name: FromPath[str]) -> str:
        return name

    plugin = TollhousePlugin(world.url, policies={"api": "9/minute"}, policy="api")
    app = Litestar([page], plugins=[plugin], openapi_config=None)
    found = [await get(app, path) for path in (f"/{LONG}", "/a")]
    await plugin.source.aclose()

    assert [response.status_code for response in found] == [422, 200]
    assert [left(response) for response in found] == ["r=8", "r=7"]
