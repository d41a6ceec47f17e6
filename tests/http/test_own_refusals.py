"""A response of the application's own to a refusal, at every edge, with everything that a refusal does beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fastapi import Depends, FastAPI, WebSocket
from litestar import Litestar, Router
from litestar import Request as LitestarRequest
from litestar import Response as LitestarResponse
from litestar import WebSocket as LitestarSocket
from litestar import get as litestar_get
from litestar import websocket as litestar_websocket
from litestar.middleware.rate_limit import RateLimitConfig
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from tests.asgi import connect, get, hello, limiter_with
from tests.worlds import StoreWorld
from tollhouse import (
    HttpResponse,
    RateLimited,
    RateLimitMiddleware,
    RateLimitRule,
    TollhouseError,
    current_decision,
    current_decisions,
    limit,
    rate_limited_response,
)
from tollhouse.errors import ConfigurationError
from tollhouse.fastapi import RateLimit, answer
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.litestar import AtomicRateLimitMiddleware, TollhousePlugin
from tollhouse.litestar.routes import RateLimitRoutes

POLICIES = {
    "site": "9/minute",
    "route": "1/minute",
    "tenant": "9/hour",
    "closed": parse_policy("closed", "9/minute", on_outage="closed"),
}
KEY = "192.0.2.1"


def own_text(refused: RateLimited) -> str:
    return f"slow down for {refused.decision.retry_after_ms} ms"


async def asgi_page(scope: Any, refused: RateLimited) -> Response:
    assert scope["path"] == "/"
    return HTMLResponse(own_text(refused), 429)


def http_page(_: Any, refused: RateLimited) -> HttpResponse:
    return HttpResponse(body=own_text(refused).encode(), status=429, media_type="text/html")


async def html_handler(request: Request, refused: Exception) -> Response:
    assert isinstance(refused, RateLimited)
    assert current_decision() == request.state.rate_limit == refused.decision
    return HTMLResponse(own_text(refused), 429, headers={"x-url": str(request.url)})


def threaded_handler(request: Request, refused: Exception) -> Response:
    assert isinstance(refused, RateLimited)
    assert current_decision() == refused.decision
    return HTMLResponse(own_text(refused), 429)


def litestar_page(request: LitestarRequest[Any, Any, Any], refused: Exception) -> LitestarResponse[str]:
    assert isinstance(refused, RateLimited)
    return LitestarResponse(own_text(refused), status_code=429, media_type="text/html")


async def ok(_: Request) -> Response:
    return PlainTextResponse("ok")


def bare(limits: Limiter, page: Any) -> Any:
    """The middleware around an application without a framework."""
    return RateLimitMiddleware(hello, limiter=limits, policy="route", on_refusal=page)


def rule(limits: Limiter, page: Any) -> Any:
    """The rule of one pattern."""
    return RateLimitMiddleware(
        hello, limiter=limits, policy="site", routes={"/": RateLimitRule(policy="route", on_refusal=page)}
    )


def bare_function(limits: Limiter, page: Any) -> Any:
    """`@limit` around an application without a framework, in a middleware that limits nothing."""
    return RateLimitMiddleware(limit("route")(hello), limiter=limits, policy=None, on_refusal=page)


def function(limits: Limiter, page: Any) -> Any:
    """`@limit` below a framework that sends a 500 for RateLimited."""
    inner = Starlette(routes=[Route("/", limit("route")(ok))])
    return RateLimitMiddleware(inner, limiter=limits, policy=None, on_refusal=page)


def decorator(limits: Limiter, page: Any) -> Any:
    """`@limit` with a response of its own, behind an application's handler that does not see it."""

    def response(refused: RateLimited, request: Request) -> Any:
        return HTMLResponse(own_text(refused), 429)

    app = Starlette(routes=[Route("/", limit("route", on_refusal=response)(ok))])
    app.add_middleware(RateLimitMiddleware, limiter=limits, policy=None)
    return app


def dependency(limits: Limiter, page: Any) -> Any:
    """A FastAPI dependency, which goes before the handler of the application."""

    def own(connection: HTTPConnection, refused: RateLimited) -> Any:
        return page(connection.scope, refused)

    app = FastAPI(exception_handlers={RateLimited: refuse_to_answer})
    app.add_api_route("/", lambda: "ok", dependencies=[Depends(RateLimit("route", limiter=limits, on_refusal=own))])
    return app


def dependency_in_middleware(limits: Limiter, page: Any) -> Any:
    """A FastAPI dependency without a response of its own, behind a middleware that has one."""
    app = FastAPI()
    app.add_api_route("/", lambda: "ok", dependencies=[Depends(RateLimit("route"))])
    app.add_middleware(RateLimitMiddleware, limiter=limits, policy=None, on_refusal=page)
    return app


def routes(limits: Limiter, page: Any) -> Any:
    """Litestar: the rule of a route."""

    @litestar_get("/", opt={"rate_limit": RateLimitRule(policy="route", on_refusal=page)})
    async def index() -> str:
        return "ok"

    return Litestar([index], middleware=[RateLimitRoutes(limits)], logging_config=None)


def plugin(limits: Limiter, page: Any) -> Any:
    """The Litestar plugin, for what it refuses and for `@limit` on a handler that it does not limit."""

    @litestar_get("/", opt={"rate_limit": False})
    @limit("route", limiter=limits)
    async def index() -> str:
        return "ok"

    given = TollhousePlugin("fake://own-refusals", policy="default", on_refusal=page)
    return Litestar([index], plugins=[given], logging_config=None)


def refuse_to_answer(request: Request, refused: Exception) -> Response:
    raise NotImplementedError


EDGES = [bare, rule, bare_function, function, decorator, dependency, dependency_in_middleware, routes, plugin]


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("page", [asgi_page, http_page])
async def test_an_edge_sends_the_response_that_it_was_given(
    world: StoreWorld, edge: Callable[..., Any], page: Callable[..., Any]
) -> None:
    """`on_refusal`, plain or async, makes the body and the status; the fields and Retry-After are added."""
    app = edge(limiter_with(world, POLICIES), page)

    responses = [await get(app) for _ in range(3)]

    assert [response.status_code for response in responses] == [200, 429, 429]
    for response in responses[1:]:
        assert response.text.startswith("slow down for")
        assert response.headers["content-type"].startswith("text/html")
        assert response.headers.get_list("retry-after") == [response.headers["retry-after"]]
        assert response.headers["ratelimit"].startswith('"route";r=0')


HANDLERS = [html_handler, threaded_handler]


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("error", [RateLimited, TollhouseError])
@pytest.mark.parametrize("kind", [Starlette, FastAPI])
@pytest.mark.parametrize("inside", [True, False])
async def test_the_handlers_of_an_application_are_asked(
    world: StoreWorld, handler: Any, error: Any, kind: Any, *, inside: bool
) -> None:
    """An exception handler for RateLimited answers the refusals of the middleware too, inside the app and around it."""
    limits = limiter_with(world, POLICIES)
    app = kind(exception_handlers={error: handler})
    app.add_route("/", ok)
    if inside:
        app.add_middleware(RateLimitMiddleware, limiter=limits, policy="route")
    else:
        app = RateLimitMiddleware(app, limiter=limits, policy="route")

    responses = [await get(app) for _ in range(2)]

    assert [response.status_code for response in responses] == [200, 429]
    assert responses[1].text.startswith("slow down")
    assert int(responses[1].headers["retry-after"]) > 0


async def calls_answer(request: Request, refused: Exception) -> Any:
    response = await answer(request, refused)
    response.headers["x-seen"] = "yes"
    return response


@pytest.mark.parametrize(("handler", "seen"), [(answer, None), (calls_answer, "yes")])
async def test_a_handler_may_answer_as_we_do(world: StoreWorld, handler: Any, seen: str | None) -> None:
    """A refusal of the middleware that is brought to `answer`, or to a handler that calls it, is the usual response."""
    app = FastAPI(exception_handlers={RateLimited: handler})
    app.add_route("/", ok)
    app.add_middleware(RateLimitMiddleware, limiter=limiter_with(world, POLICIES), policy="route")

    responses = [await get(app) for _ in range(2)]

    assert [response.status_code for response in responses] == [200, 429]
    assert responses[1].json()["title"] == "Quota Exceeded"
    assert responses[1].headers.get("x-seen") == seen


@pytest.mark.parametrize("edge", ["middleware", "dependency"])
async def test_on_refusal_may_answer_as_we_do(world: StoreWorld, edge: str) -> None:
    """An `on_refusal` that calls `answer` gets the usual response."""
    limits, is_middleware = limiter_with(world, POLICIES), edge == "middleware"

    async def page(of: Any, refused: RateLimited) -> Any:
        return await calls_answer(Request(of) if is_middleware else of, refused)

    own: Any = [] if is_middleware else [Depends(RateLimit("route", on_refusal=page))]
    app = FastAPI()
    app.add_api_route("/", lambda: "ok", dependencies=own)
    policy, given = ("route", page) if is_middleware else (None, None)
    limited = RateLimitMiddleware(app, limiter=limits, policy=policy, on_refusal=given)

    responses = [await get(limited) for _ in range(2)]

    assert [response.status_code for response in responses] == [200, 429]
    assert responses[1].json()["title"] == "Quota Exceeded"
    assert responses[1].headers["x-seen"] == "yes"
    assert responses[1].headers.get_list("retry-after") == [responses[1].headers["retry-after"]]


async def test_a_handler_for_all_exceptions_is_not_asked(world: StoreWorld) -> None:
    """A handler for Exception or 500 reports failures, which a refusal of the middleware is not."""
    app = Starlette(routes=[Route("/", ok)], exception_handlers={Exception: refuse_to_answer, 500: refuse_to_answer})
    app.add_middleware(RateLimitMiddleware, limiter=limiter_with(world, POLICIES), policy="route")

    assert [(await get(app)).headers["content-type"] for _ in range(2)][1] == "application/problem+json"


@pytest.mark.parametrize("layer", ["app", "router", "route"])
async def test_the_handlers_of_litestar_are_asked(world: StoreWorld, layer: str) -> None:
    """An exception handler of the application, a router or a route answers the refusals of the plugin."""
    handlers: dict[str, Any] = {"exception_handlers": {RateLimited: litestar_page}}

    @litestar_get("/", **(handlers if layer == "route" else {}))
    async def index() -> str:
        return "ok"

    router = Router("/", route_handlers=[index], **(handlers if layer == "router" else {}))
    app = Litestar(
        [router],
        middleware=[RateLimitRoutes(limiter_with(world, POLICIES), policy="route")],
        logging_config=None,
        **(handlers if layer == "app" else {}),
    )

    responses = [await get(app) for _ in range(2)]

    assert [response.status_code for response in responses] == [200, 429]
    assert responses[1].text.startswith("slow down")
    assert int(responses[1].headers["retry-after"]) > 0


async def test_litestar_renders_what_on_refusal_returns(world: StoreWorld) -> None:
    """`on_refusal` may return a Response of Litestar, such as a template."""

    @litestar_get("/")
    async def index() -> str:
        return "ok"

    def page(scope: Any, refused: RateLimited) -> LitestarResponse[dict[str, int | None]]:
        return LitestarResponse({"wait": refused.decision.retry_after_ms}, status_code=429)

    limited = RateLimitRoutes(limiter_with(world, POLICIES), policy="route", on_refusal=page)
    app = Litestar([index], middleware=[limited], logging_config=None)

    responses = [await get(app) for _ in range(2)]

    assert responses[1].status_code == 429
    assert responses[1].json()["wait"] > 0


DIALECTS = {"draft-11": "ratelimit", "x-ratelimit": "x-ratelimit-remaining", "draft-07": "ratelimit", "off": ""}


@pytest.mark.parametrize(("dialect", "field"), DIALECTS.items())
@pytest.mark.parametrize("status", [429, 503, 302])
async def test_own_refusals_under_several_limits(world: StoreWorld, dialect: Any, field: str, status: int) -> None:
    """With a status of an error the other limits get their units back; the fields are in the dialect, and there once.

    With another status the response is no refusal: everything is charged, and there is no Retry-After.
    """
    limits = limiter_with(world, POLICIES)

    def page(_: Any, refused: RateLimited) -> Response:
        return PlainTextResponse("wait", status)

    app = Starlette(routes=[Route("/", limit("tenant")(ok))])
    app.add_middleware(RateLimitMiddleware, limiter=limits, policy="route", on_refusal=page)
    outer = RateLimitMiddleware(app, limiter=limits, policy="site", headers=dialect)

    responses = [await get(outer) for _ in range(3)]
    await limits.aclose()

    is_refusal = status >= 400
    left = [(await limits.peek(name, KEY)).limits[0].remaining for name in ("site", "route", "tenant")]
    assert [response.status_code for response in responses] == [200, status, status]
    assert left == [8 if is_refusal else 6, 0, 8]
    assert ["retry-after" in response.headers for response in responses] == [False, is_refusal, is_refusal]
    if field:
        assert len(responses[1].headers.get_list(field)) == 1


async def test_of_nested_edges_the_innermost_handler_answers(world: StoreWorld) -> None:
    """An edge without a handler uses that of the edge around it; one that has its own uses that."""
    limits = limiter_with(world, POLICIES)

    def page(text: str) -> Callable[..., Response]:
        return lambda *_: PlainTextResponse(text, 429)

    async def refusal_of(**inner: Any) -> str:
        app = RateLimitMiddleware(hello, limiter=limits, policy="route", **inner)
        both = RateLimitMiddleware(app, limiter=limits, policy="site", on_refusal=page("outer"))
        return (await get(both)).text

    await get(RateLimitMiddleware(hello, limiter=limits, policy="route"))

    assert [await refusal_of(), await refusal_of(on_refusal=page("inner"))] == ["outer", "inner"]


async def test_takes_that_are_refused_as_one_have_an_own_response(world: StoreWorld) -> None:
    """The handler gets the refusal that decides, and our response for it tells of all policies."""
    limits = limiter_with(world, POLICIES)

    def page(_: Any, refused: RateLimited) -> Response:
        ours = rate_limited_response(refused)
        return Response(refused.decision.policy, ours.status, headers=ours.text_headers())

    app = RateLimitMiddleware(hello, limiter=limits, policy=("tenant", "route"), on_refusal=page)

    responses = [await get(app) for _ in range(2)]

    assert (responses[1].status_code, responses[1].text) == (429, "route")
    assert [part.partition(";")[0] for part in responses[1].headers["ratelimit"].split(", ")] == ['"tenant"', '"route"']


async def test_what_is_no_refusal_is_not_brought_to_the_handler(world: StoreWorld) -> None:
    """A key that no limiter accepts is 422 as ever: there is no decision to make a page of."""
    app = RateLimitMiddleware(
        hello, limiter=limiter_with(world, POLICIES), policy="site", key=lambda _: 1.5, on_refusal=refuse_to_answer
    )

    assert (await get(app)).status_code == 422


async def test_a_handler_that_returns_no_response_is_a_mistake(world: StoreWorld) -> None:
    """Any other value is a ConfigurationError with its type, and nothing was sent."""
    app = RateLimitMiddleware(hello, limiter=limiter_with(world, POLICIES), policy="route", on_refusal=lambda *_: "no")
    await get(app)

    with pytest.raises(ConfigurationError) as refused:
        await get(app)

    assert (refused.value.setting, refused.value.value) == ("on_refusal", "str")


async def test_a_function_may_return_something_else_when_it_is_refused(world: StoreWorld) -> None:
    """`on_refusal` of `@limit` is called in place of the function, in a request or not; a refusal below is raised."""
    limits = limiter_with(world, POLICIES)

    @limit("route", key="below", limiter=limits)
    async def below() -> None:
        return

    async def later(refused: RateLimited, text: str) -> str:
        return f"{text} after {refused.decision.policy}"

    @limit("2/minute", key="all", limiter=limits, name="work", on_refusal=later)
    async def work(text: str) -> str:
        await below()
        return text

    first = await work("one")
    with pytest.raises(RateLimited):
        await work("two")
    await limits.aclose()
    assert (await limits.peek("work", "all")).limits[0].remaining == 1
    await limits.take("work", "all")

    assert (first, await work("three")) == ("one", "three after work")


@pytest.mark.parametrize("handler", [lambda _, text: f"no {text}", None])
def test_a_plain_function_may_too(handler: Any) -> None:
    """In a thread without an event loop the handler is plain or async alike."""

    async def asynchronous(refused: RateLimited, text: str) -> str:
        return f"no {text}"

    @limit("1/minute", key=str(handler), limiter="fake://own-refusals-of-functions", on_refusal=handler or asynchronous)
    def work(text: str) -> str:
        return text

    assert [work("one"), work("two")] == ["one", "no two"]


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_failure_after_a_fallback_is_a_failure(world: StoreWorld, *, is_async: bool) -> None:
    """An application that goes on with what `on_refusal` returned, and fails then, has its own 500 and close code."""
    limits = limiter_with(world, POLICIES)

    async def cached(refused: RateLimited) -> str:
        return f"cached, for {refused.decision.policy}"

    async def loads() -> str:
        return "fresh"

    limited = limit("route", key="all", on_refusal=cached)
    load = limited(loads) if is_async else partial(asyncio.to_thread, limited(lambda: "fresh"))

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        failed = await load() != "fresh"
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 500 if failed else 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "websocket.close", "code": 1011 if failed else 1000})

    app = RateLimitMiddleware(failing, limiter=limits, policy=None)
    statuses = [(await get(app)).status_code for _ in range(2)]

    assert statuses == [200, 500]
    assert await connect(app) == [{"type": "websocket.close", "code": 1011}]


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


def socket_of_starlette(limits: Limiter) -> Any:
    app = Starlette(routes=[WebSocketRoute("/", echo)], exception_handlers={RateLimited: socket_handler})
    app.add_middleware(RateLimitMiddleware, limiter=limits, policy="route")
    return app


def socket_in_middleware(limits: Limiter) -> Any:
    app = Starlette(routes=[WebSocketRoute("/", echo)])
    return RateLimitMiddleware(app, limiter=limits, policy="route", on_refusal=asgi_page)


def socket_of_fastapi(limits: Limiter) -> Any:
    app = FastAPI()
    app.add_api_websocket_route(
        "/", echo, dependencies=[Depends(RateLimit("route", limiter=limits, on_refusal=http_page))]
    )
    return app


def socket_of_litestar(limits: Limiter) -> Any:
    @litestar_websocket("/")
    async def socket(socket: LitestarSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.close()

    limited = RateLimitRoutes(limits, policy="route", on_refusal=http_page)
    return Litestar([socket], middleware=[limited], logging_config=None)


async def socket_handler(connection: HTTPConnection, refused: Exception) -> Response:
    assert isinstance(refused, RateLimited)
    return HTMLResponse(own_text(refused), 429)


SOCKETS = [socket_of_starlette, socket_in_middleware, socket_of_fastapi, socket_of_litestar]


@pytest.mark.parametrize("edge", SOCKETS)
async def test_a_handshake_is_refused_by_the_own_response(world: StoreWorld, edge: Callable[..., Any]) -> None:
    """If the server can send a response to a handshake it is the application's own; else the handshake is closed."""
    app = edge(limiter_with(world, POLICIES))

    admitted = await connect(app)
    start, body = await connect(app)
    closed = await connect(app, can_deny=False)

    assert admitted[0]["type"] == "websocket.accept"
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 429)
    assert body["body"].startswith(b"slow down")
    assert [(message["type"], message["code"]) for message in closed] == [("websocket.close", 1013)]


def what_is_at_hand(request: Any) -> list[Any]:
    decisions = current_decisions()
    decision = request.state.rate_limit
    return [[one.policy for one in decisions], decision.limits[0].remaining, current_decision() in (decision, None)]


async def test_the_decision_is_at_hand_in_fastapi(world: StoreWorld) -> None:
    """Async handlers, and plain ones in their threads, have it behind a dependency, with and without a middleware."""
    limits = limiter_with(world, POLICIES)
    app = FastAPI()
    once = [Depends(RateLimit("site", limiter=limits)), Depends(RateLimit("tenant", limiter=limits))]

    @app.get("/async", dependencies=once)
    async def asynchronous(request: Request) -> list[Any]:
        return what_is_at_hand(request)

    @app.get("/thread", dependencies=once)
    def in_thread(request: Request) -> list[Any]:
        return what_is_at_hand(request)

    outer = RateLimitMiddleware(app, limiter=limits, policy="closed")
    bare_answers = [(await get(app, path)).json() for path in ("/async", "/thread")]
    answers = [(await get(outer, path)).json() for path in ("/async", "/thread")]

    assert bare_answers == [[["site", "tenant"], left, True] for left in (8, 7)]
    assert answers == [[["closed", "site", "tenant"], left, True] for left in (6, 5)]


@pytest.mark.parametrize("edge", ["plugin", "builtin"])
async def test_the_decision_is_at_hand_in_litestar(edge: str) -> None:
    """`request.state` has it behind the plugin and behind Litestar's own limit; plain handlers have it too."""

    @litestar_get("/async")
    async def asynchronous(request: LitestarRequest[Any, Any, Any]) -> list[Any]:
        return what_is_at_hand(request)

    @litestar_get("/thread", sync_to_thread=True)
    def in_thread(request: LitestarRequest[Any, Any, Any]) -> list[Any]:
        return what_is_at_hand(request)

    policies, url = {"api": "9/minute"}, f"fake://at-hand-{edge}"
    config = RateLimitConfig(("minute", 9), middleware_class=AtomicRateLimitMiddleware)
    app = Litestar(
        [asynchronous, in_thread],
        plugins=[TollhousePlugin(url, policies=policies, policy="api" if edge == "plugin" else None)],
        middleware=[] if edge == "plugin" else [config.middleware],
        logging_config=None,
    )

    answers = [(await get(app, path)).json() for path in ("/async", "/thread")]

    assert [answer[1:] for answer in answers] == [[8, True], [7, True]]
    assert answers[0][0] == (["api"] if edge == "plugin" else [])
