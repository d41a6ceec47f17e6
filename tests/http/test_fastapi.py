"""Limits as FastAPI dependencies: on routes, routers and websockets, with nothing set up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.requests import HTTPConnection

from tests.asgi import Message, blamed, connect, get, limiter_with
from tests.structured_fields import parse_list
from tests.worlds import StoreWorld
from tollhouse import RateLimited, RateLimitMiddleware, limit, rate_limited_response, wiring
from tollhouse.asgi.ratelimit.limiter_source import default_source
from tollhouse.errors import ConfigurationError, InvalidInput, TollhouseError
from tollhouse.fastapi import RateLimit
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.settings import Settings

POLICIES = {
    "site": "9/minute",
    "login": "1/minute",
    "jobs": parse_policy("jobs", "1/minute", "concurrency"),
    "tenant": parse_policy("tenant", "1/minute", key="path:tenant"),
}


def application(*limited: RateLimit, path: str = "/") -> FastAPI:
    app = FastAPI()
    app.add_api_route(path, lambda: "ok", dependencies=[Depends(one) for one in limited])
    return app


async def statuses(app: FastAPI, *paths: str, **headers: str) -> list[int]:
    return [(await get(app, path, **headers)).status_code for path in paths]


def names(response: Any) -> list[str]:
    return [str(name) for name, _ in parse_list(response.headers["ratelimit"])]


async def test_a_route_is_limited_by_one_dependency(world: StoreWorld) -> None:
    """A limit on a route is told of in its response, and refuses with 429 problem+json, without any setup."""
    app = application(RateLimit("2/minute; 9/hour", limiter=limiter_with(world, {})))

    first, _, refused = [await get(app) for _ in range(3)]

    assert (first.status_code, refused.status_code) == (200, 429)
    assert [name.rpartition("/")[2] for name in names(first)] == ["60", "3600"]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["cache-control"] == "no-store"
    assert int(refused.headers["retry-after"]) == -(-refused.json()["retry_after_ms"] // 1000)
    assert refused.json()["type"].endswith("#quota-exceeded")
    assert len(refused.json()["violated-policies"]) == 1
    assert "192.0.2.1" not in refused.text


async def test_routes_do_not_share_a_counter_unless_asked(world: StoreWorld) -> None:
    """The same limit counts for each route by itself; with a name it is one counter for all."""
    app = FastAPI()
    limits = limiter_with(world, {})
    own, shared = RateLimit("1/minute", limiter=limits), RateLimit("1/minute", name="shared", limiter=limits)
    for path in ("/a/{id}", "/b/{id}"):
        app.add_api_route(f"/own{path}", lambda: "ok", dependencies=[Depends(own)])
        app.add_api_route(f"/shared{path}", lambda: "ok", dependencies=[Depends(shared)])

    assert await statuses(app, "/own/a/1", "/own/a/2", "/own/b/1") == [200, 429, 200]
    assert await statuses(app, "/shared/a/1", "/shared/b/1") == [200, 429]


def included(limits: Limiter) -> FastAPI:
    """Make an application whose routes come by routers, in a mount, and twice."""
    app, mounted = FastAPI(), FastAPI()
    router = APIRouter(prefix="/users", dependencies=[Depends(RateLimit("1/minute", limiter=limits))])
    router.add_api_route("/{id}", lambda: "got", methods=["GET"])
    router.add_api_route("/{id}", lambda: "put", methods=["PUT"])
    app.include_router(router, prefix="/v1")
    app.include_router(router, prefix="/v2")
    mounted.include_router(router)
    app.mount("/mounted", mounted)
    return app


async def test_a_router_limits_each_of_its_routes(world: StoreWorld) -> None:
    """A limit on a router counts for each of its routes, methods, prefixes and mounts by itself, in every process."""
    limits = limiter_with(world, {})
    places = [("GET", "/v1"), ("PUT", "/v1"), ("GET", "/v2"), ("GET", "/mounted")]

    app = included(limits)
    first = [await get(app, f"{prefix}/users/1", method=method) for method, prefix in places]
    again = [await get(included(limits), f"{prefix}/users/2", method=method) for method, prefix in places]

    assert [response.status_code for response in first] == [200] * 4
    assert [response.status_code for response in again] == [429] * 4
    assert names(first[0])[0].startswith("get-v1-users-id.")
    assert names(first[3])[0].startswith("get-mounted-users-id.")


async def test_nothing_but_the_dependency_is_needed() -> None:
    """Without limiter and middleware the application opens one limiter for all its routes, as `tollhouse.open` does."""
    shared = RateLimit("1/minute", name="shared")
    app = FastAPI()
    for path in ("/a", "/b"):
        app.add_api_route(path, lambda: "ok", dependencies=[Depends(shared), Depends(RateLimit("5/minute"))])

    assert await statuses(app, "/a", "/b") == [200, 429]

    source = default_source(wiring.default_settings)
    assert source is not None
    await source.aclose()


async def test_the_limiter_may_be_given_by_its_place(world: StoreWorld) -> None:
    """`limiter` is a limiter, a Tollhouse, its settings or its URL."""
    settings = Settings(url=world.url, secret=(b"s" * 32,))
    by_settings, by_url = RateLimit("1/minute", limiter=settings), RateLimit("1/minute", limiter=world.url)

    assert await statuses(application(by_settings), "/", "/") == [200, 429]
    assert await statuses(application(by_url, path="/b"), "/b", "/b") == [200, 429]


async def test_behind_the_middleware_its_limiter_is_used(world: StoreWorld) -> None:
    """The middleware's limiter and policies hold for dependencies too; one response tells of all of them."""
    app = application(RateLimit("login"), RateLimit("5/minute"))
    app.add_middleware(RateLimitMiddleware, limiter=limiter_with(world, POLICIES), policy="site")

    served, refused = await get(app), await get(app)

    assert names(served)[:2] == ["site", "login"]
    assert len(names(served)) == 3
    assert (refused.status_code, names(refused)) == (429, ["site", "login"])
    assert len(refused.headers.get_list("ratelimit")) == 1


async def test_a_route_with_a_response_of_its_own_is_told_of_behind_the_middleware(world: StoreWorld) -> None:
    """A Response that a route returns itself has the fields behind the middleware, and is limited in any case."""
    alone, behind = FastAPI(), FastAPI()
    for app in (alone, behind):
        limited = RateLimit("login", limiter=limiter_with(world, POLICIES), key=lambda request: request.app.title)
        app.add_api_route("/", lambda: PlainTextResponse("ok"), dependencies=[Depends(limited)])
    behind.title = "behind"
    behind.add_middleware(RateLimitMiddleware, limiter=limiter_with(world, POLICIES), policy=None)

    first = [await get(app) for app in (alone, behind)]
    again = [await get(app) for app in (alone, behind)]

    assert ["ratelimit" in response.headers for response in first] == [False, True]
    assert [response.status_code for response in again] == [429, 429]


async def test_who_is_counted_may_be_a_rule_or_a_function(world: StoreWorld) -> None:
    """A key is a rule in words, or a function of the request, plain or async; else the policy's own rule."""
    limits = limiter_with(world, POLICIES)

    async def later(request: Request) -> str:
        return request.headers["x-user"]

    by_rule = application(RateLimit("1/minute", key="header:x-user", limiter=limits), path="/rule")
    by_function = application(RateLimit("1/minute", key=later, limiter=limits), path="/function")
    by_policy = application(RateLimit("tenant", limiter=limits), path="/{tenant}")

    for app, path in ((by_rule, "/rule"), (by_function, "/function")):
        assert [(await statuses(app, path, **{"x-user": user}))[0] for user in ("a", "b", "a")] == [200, 200, 429]
    assert await statuses(by_policy, "/acme", "/other", "/acme") == [200, 200, 429]


async def test_the_cost_may_depend_on_the_request(world: StoreWorld) -> None:
    """A cost is a number or a function of the request; one above the limit is 422."""
    limited = RateLimit(
        "5/minute", cost=lambda request: int(request.headers["x-cost"]), limiter=limiter_with(world, {})
    )
    app = application(limited)

    assert [(await statuses(app, "/", **{"x-cost": cost}))[0] for cost in ("3", "3", "2", "6")] == [200, 429, 200, 422]


async def test_a_permit_is_held_until_the_response_was_sent(world: StoreWorld) -> None:
    """A policy of permits bounds how many requests a route serves at once."""
    limits = limiter_with(world, POLICIES)
    app = FastAPI()
    inner: list[int] = []

    @app.get("/{depth}", dependencies=[Depends(RateLimit("jobs", limiter=limits))])
    async def job(depth: int) -> str:
        inner.extend([] if depth == 0 else await statuses(app, f"/{depth - 1}"))
        return "done"

    assert await statuses(app, "/1", "/0") == [200, 200]
    assert inner == [429]


async def test_a_key_that_cannot_be_counted_is_the_clients_fault(world: StoreWorld) -> None:
    """A key out of bounds is 422 problem details; a policy out of nowhere is our own fault."""
    limits = limiter_with(world, POLICIES)
    long = application(RateLimit("1/minute", key="header:x-user", limiter=limits))
    wrong = application(RateLimit("missing", limiter=limits))

    response = await get(long, **{"x-user": "k" * 600})

    assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")
    assert response.json()["field"] == "key"
    with pytest.raises(InvalidInput) as refused:
        await get(wrong)
    assert refused.value.field == "policy"


async def test_a_handler_of_the_application_answers_invalid_input_too(world: StoreWorld) -> None:
    """An application that handles our errors, by whichever of their classes, answers them as it likes."""
    app = application(RateLimit("1/minute", key=lambda _: "", limiter=limiter_with(world, {})))

    @app.exception_handler(TollhouseError)
    async def answer(_: Request, __: TollhouseError) -> Response:
        return PlainTextResponse("ours", status_code=400)

    assert (await get(app)).text == "ours"


async def test_an_answer_of_the_application_wins(world: StoreWorld) -> None:
    """An application that has a handler for RateLimited answers as it likes."""
    app = application(RateLimit("1/minute", limiter=limiter_with(world, {})))

    @app.exception_handler(RateLimited)
    async def answer(_: Request, refused: RateLimited) -> Response:
        return JSONResponse({"wait": refused.decision.retry_after_ms}, status_code=420)

    await get(app)
    response = await get(app)

    assert response.status_code == 420
    assert response.json()["wait"] > 0


async def test_a_limited_function_in_a_limited_route_is_answered_too(world: StoreWorld) -> None:
    """RateLimited from anywhere below a limited route becomes the 429."""
    limits = limiter_with(world, {})
    app = FastAPI()

    @app.get("/", dependencies=[Depends(RateLimit("9/minute", limiter=limits))])
    @limit("1/minute", key="all", limiter=limits)
    async def endpoint(request: Request) -> str:
        return request.url.path

    first, refused = await get(app), await get(app)

    assert (first.status_code, first.json()) == (200, "/")
    assert refused.status_code == 429
    assert len(names(refused)) == 2


async def test_a_limited_function_of_another_route_is_answered_too(world: StoreWorld) -> None:
    """Once a route with a RateLimit was requested, RateLimited from any other route becomes the 429 as well."""
    limits = limiter_with(world, {})
    app = application(RateLimit("9/minute", limiter=limits))

    @app.get("/function")
    @limit("1/minute", key="all", limiter=limits)
    async def endpoint() -> str:
        return "ok"

    assert await statuses(app, "/", "/function", "/function") == [200, 200, 429]


async def test_a_refusal_gives_back_what_other_dependencies_took(world: StoreWorld) -> None:
    """Of two limits of a route the one that admits is not charged for a request that the other refuses."""
    limits = limiter_with(world, POLICIES)
    app = application(RateLimit("site", limiter=limits), RateLimit("login", limiter=limits))

    assert await statuses(app, "/", "/", "/") == [200, 429, 429]

    assert (await limits.peek("site", "192.0.2.1")).limits[0].remaining == 8


async def test_an_answer_of_the_application_is_the_refusal(world: StoreWorld) -> None:
    """Whatever status its handler for RateLimited gives, nothing else is charged; it can render our response."""
    limits = limiter_with(world, POLICIES)
    app = application(RateLimit("site", limiter=limits), RateLimit("login", limiter=limits))

    @app.exception_handler(RateLimited)
    async def answer(_: Request, refused: RateLimited) -> Response:
        ours = rate_limited_response(refused)
        return Response(ours.body, 420, headers=ours.text_headers())

    first, refused = await get(app), await get(app)

    assert (first.status_code, refused.status_code) == (200, 420)
    assert names(refused) == ["site", "login"]
    assert int(refused.headers["retry-after"]) >= 1
    assert (await limits.peek("site", "192.0.2.1")).limits[0].remaining == 8


async def test_a_request_inside_another_application_is_its_own(world: StoreWorld) -> None:
    """A FastAPI application that is called inside a limited request shows its limits in its own response."""
    limits = limiter_with(world, POLICIES)
    app = application(RateLimit("login", limiter=limits))

    async def endpoint() -> list[str]:
        return names(await get(app))

    outer = FastAPI()
    outer.add_api_route("/", endpoint)
    outer.add_middleware(RateLimitMiddleware, limiter=limits, policy="site")
    response = await get(outer)

    assert (response.json(), names(response)) == (["login"], ["site"])


def sockets(limits: Limiter, **arguments: Any) -> FastAPI:
    app = FastAPI()

    @app.websocket("/", dependencies=[Depends(RateLimit("1/minute", limiter=limits, **arguments))])
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    return app


def kinds(sent: list[Message]) -> list[str]:
    return [message["type"].removeprefix("websocket.") for message in sent]


async def test_a_websocket_is_limited_when_it_connects(world: StoreWorld) -> None:
    """Above the limit a websocket gets the response of a request if the server can send one, else close code 1013."""
    app = sockets(limiter_with(world, {}))

    served = await connect(app, ["a"])
    told = await connect(app)
    closed = await connect(app, can_deny=False)

    assert kinds(served) == ["accept", "send"]
    assert (kinds(told), told[0]["status"]) == (["http.response.start", "http.response.body"], 429)
    assert [(message["type"], message["code"]) for message in closed] == [("websocket.close", 1013)]


async def test_a_websocket_with_a_key_out_of_bounds_is_closed(world: StoreWorld) -> None:
    """A key that no limiter takes is 422 if the server can send it, else it violates a policy."""
    app = sockets(limiter_with(world, {}), key=lambda _: "k" * 600)

    told = await connect(app)
    closed = await connect(app, can_deny=False)

    assert (kinds(told), told[0]["status"]) == (["http.response.start", "http.response.body"], 422)
    assert [(message["type"], message["code"]) for message in closed] == [("websocket.close", 1008)]


async def test_a_limited_function_may_end_a_websocket(world: StoreWorld) -> None:
    """RateLimited after the websocket was accepted closes it with 1013."""
    limits = limiter_with(world, {})
    app = FastAPI()

    @limit("1/minute", key="all", limiter=limits)
    async def answer(websocket: WebSocket, text: str) -> None:
        await websocket.send_text(text)

    @app.websocket("/", dependencies=[Depends(RateLimit("9/minute", limiter=limits))])
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await answer(websocket, text)

    sent = await connect(app, ["a", "b", "c"])

    assert kinds(sent) == ["accept", "send", "close"]
    assert sent[-1]["code"] == 1013


@pytest.mark.parametrize("place", ["background task", "stream", "websocket"])
async def test_a_refusal_after_the_response_has_begun_gives_nothing_back(world: StoreWorld, place: str) -> None:
    """P1: who uses an inner limit up is still charged for what is served: before a task, a stream, or messages fail."""
    limits = limiter_with(world, POLICIES)
    app = FastAPI()
    site = [Depends(RateLimit("site", limiter=limits))]

    @limit("login", key="all")
    async def work() -> bytes:
        return b"done"

    @app.get("/", dependencies=site)
    async def route(tasks: BackgroundTasks) -> Any:
        async def body() -> AsyncIterator[bytes]:
            yield b"served"
            yield await work()

        tasks.add_task(work)
        return StreamingResponse(body()) if place == "stream" else "served"

    @app.websocket("/", dependencies=site)
    async def accepting(websocket: WebSocket) -> None:
        await websocket.accept()
        await work()

    for _ in range(3):
        with suppress(RuntimeError):  # "Caught handled exception, but response already started."
            await (connect(app) if place == "websocket" else get(app))
    await limits.aclose()

    assert (await limits.peek("site", "192.0.2.1")).limits[0].remaining == 6


async def test_without_starlettes_handlers_the_refusal_is_raised(world: StoreWorld) -> None:
    """Without handlers for exceptions RateLimited reaches the server of the application."""
    limited = RateLimit("1/minute", limiter=limiter_with(world, {}))

    async def enter() -> AsyncIterator[None]:
        connection = HTTPConnection({"type": "http", "client": ("192.0.2.1", 1), "headers": []})
        entered = limited(connection, Response())
        yield await anext(entered)

    async for _ in enter():
        pass
    with pytest.raises(RateLimited):
        await anext(enter())


MISTAKES = [
    (("5/mn",), {}, "policies.written", "5/mn"),
    (("5/minute",), {"key": "adress"}, "key", "adress"),
    (("5/minute",), {"key": "session", "limiter": "redis://elsewhere"}, "key", "session"),
    (("5/minute",), {"limiter": "nonsense://h"}, "limiter", "nonsense"),
]


@pytest.mark.parametrize(("given", "arguments", "named", "value"), MISTAKES)
def test_what_cannot_work_is_refused_at_once(
    given: tuple[str], arguments: dict[str, Any], named: str, value: str
) -> None:
    """A limit, a key or a server that cannot be used is refused when the route is made."""
    with pytest.raises((ConfigurationError, InvalidInput)) as refused:
        RateLimit(*given, **arguments)

    assert (blamed(refused.value), refused.value.value) == (named, value)
