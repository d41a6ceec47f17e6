"""One request at several edges: one set of fields, what a refusal gives back, and how long leases last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.asgi import Message, connect, get, hello, limiter_with
from tests.structured_fields import parse_list
from tests.watched import Setup, ticks
from tests.worlds import StoreWorld
from tollhouse.asgi.ratelimit.current import rate_limited_response
from tollhouse.asgi.ratelimit.decorator import limit
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.asgi.ratelimit.refunds import Charge
from tollhouse.asgi.response import discard
from tollhouse.limits.decision import RateLimited
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy

POLICIES = {
    "site": "9/minute",
    "route": "1/minute",
    "steps": "2/minute",
    "jobs": parse_policy("jobs", "1/minute", "concurrency"),
}
KEY = "192.0.2.1"


async def left(limits: Limiter, policy: str, key: str = KEY) -> int:
    return (await limits.peek(policy, key)).limits[0].remaining


def starlette(endpoint: Callable[[Request], Awaitable[Response]], limits: Limiter, **arguments: Any) -> Starlette:
    app = Starlette(routes=[Route("/", endpoint)], exception_handlers=arguments.pop("exception_handlers", {}))
    app.add_middleware(RateLimitMiddleware, limiter=limits, policy="site", **arguments)
    return app


@pytest.mark.parametrize("dialect", ["x-ratelimit", "draft-11"])
async def test_middlewares_in_each_other_send_one_set_of_fields(world: StoreWorld, dialect: Any) -> None:
    """The response has the fields once, in the dialect of the outermost middleware, and they tell of both limits."""
    limits = limiter_with(world, POLICIES)
    inner = RateLimitMiddleware(hello, limiter=limits, policy="steps", headers="draft-07")
    app = RateLimitMiddleware(inner, limiter=limits, policy="site", headers=dialect)

    responses = [await get(app) for _ in range(3)]

    assert [response.status_code for response in responses] == [200, 200, 429]
    for response in responses:
        names = [name for name, _ in response.headers.multi_items() if "ratelimit" in name]
        assert len(names) == len(set(names)) == (3 if dialect == "x-ratelimit" else 2)
        if dialect == "draft-11":
            assert [str(name) for name, _ in parse_list(response.headers["ratelimit"])] == ["site", "steps"]
        else:
            assert response.headers["x-ratelimit-limit"] == "2"
    assert await left(limits, "site") == 7


async def test_a_request_that_an_application_makes_itself_is_another_one(world: StoreWorld) -> None:
    """Limits of an application that is called inside a request are shown in its own response, not in the outer one."""
    limits = limiter_with(world, POLICIES)
    inner = RateLimitMiddleware(hello, limiter=limits, policy="route")

    async def endpoint(_: Request) -> Response:
        return JSONResponse([(await get(inner)).headers["ratelimit"][:8], (await get(inner)).status_code])

    response = await get(starlette(endpoint, limits))

    assert response.json() == ['"route";', 429]
    assert (response.status_code, response.headers["ratelimit"][:7]) == (200, '"site";')


async def test_a_refusal_gives_back_what_other_limits_took(world: StoreWorld) -> None:
    """Of a request that one limit refuses nothing is charged: not by the middleware, nor by a decorator around it."""
    limits = limiter_with(world, POLICIES)

    @limit("steps")
    @limit("route")
    async def endpoint(_: Request) -> Response:
        return PlainTextResponse("done")

    app = starlette(endpoint, limits)
    statuses = [(await get(app)).status_code for _ in range(3)]
    await limits.aclose()

    assert statuses == [200, 429, 429]
    assert [await left(limits, policy) for policy in ("site", "steps", "route")] == [8, 1, 0]


async def test_two_decorators_charge_nothing_for_a_refusal_outside_a_request(world: StoreWorld) -> None:
    """RateLimited out of a function means that nothing was charged, by any decorator that it passed."""
    limits = limiter_with(world, POLICIES)

    @limit("steps", key=KEY, limiter=limits)
    @limit("route", key=KEY, limiter=limits)
    async def work() -> str:
        return "done"

    assert await work() == "done"
    with pytest.raises(RateLimited):
        await work()

    assert await left(limits, "steps") == 1
    with pytest.raises(RateLimited):
        await work()
    await limits.aclose()
    assert await left(limits, "steps") == 1


async def test_work_that_was_done_before_a_refusal_stays_charged(world: StoreWorld) -> None:
    """Calls that ended before another one was refused are charged: else a client could repeat them for nothing."""
    limits = limiter_with(world, POLICIES)
    done: list[int] = []

    @limit("steps")
    async def step() -> None:
        done.append(len(done))

    async def endpoint(_: Request) -> Response:
        await step()
        await step()
        await step()
        raise NotImplementedError

    statuses = [(await get(starlette(endpoint, limits))).status_code for _ in range(2)]

    assert statuses == [429, 429]
    assert len(done) == 2
    assert (await left(limits, "steps"), await left(limits, "site")) == (0, 9)


async def as_refusal(_: Request, refused: Exception) -> Response:
    assert isinstance(refused, RateLimited)
    response = rate_limited_response(refused)
    return Response(response.body, 420, headers=response.text_headers(), media_type=response.media_type)


async def as_429(_: Request, refused: Exception) -> Response:
    return PlainTextResponse("slow down", status_code=429, headers={"Retry-After": "7"})


async def otherwise(_: Request, refused: Exception) -> Response:
    return PlainTextResponse("something else", status_code=200)


#   handler, status, units left of the site's 9 after a served and a refused request, charge
ANSWERS = [
    (as_refusal, 420, 8, None),
    (as_429, 429, 8, None),
    (otherwise, 200, 7, None),
    (as_429, 429, 8, "4xx"),
    (as_429, 429, 8, "2xx"),
    (otherwise, 200, 9, "4xx"),
]


@pytest.mark.parametrize(("handler", "status", "site_left", "charge"), ANSWERS)
async def test_the_answer_decides_whether_a_refused_request_is_charged(
    world: StoreWorld, handler: Any, status: int, site_left: int, charge: Charge | None
) -> None:
    """An application's own answer is the refusal if it has its status or was rendered by us; `charge` goes first."""
    limits = limiter_with(world, POLICIES)

    @limit("route")
    async def endpoint(_: Request) -> Response:
        return PlainTextResponse("done")

    app = starlette(endpoint, limits, exception_handlers={RateLimited: handler}, charge=charge)
    await get(app)
    response = await get(app)

    assert response.status_code == status
    assert await left(limits, "site") == site_left
    names = [str(name) for name, _ in parse_list(response.headers["ratelimit"])]
    assert names == (["site"] if status == 200 else ["site", "route"])
    assert len(response.headers.get_list("retry-after")) == (status != 200)
    assert len(response.headers.get_list("ratelimit")) == 1


async def test_a_refusal_without_a_request_can_be_rendered(world: StoreWorld) -> None:
    """Outside of a request the response has the fields of the refusing limit, in the dialect of its settings."""
    policy = parse_policy("bucket", "1/second burst 1", "gcra")

    @limit("bucket", key="all", limiter=limiter_with(world, {"bucket": policy}))
    async def work() -> None:
        return None

    await work()
    with pytest.raises(RateLimited) as refused:
        await work()
    ours, foreign = rate_limited_response(refused.value), rate_limited_response(RateLimited(refused.value.decision))

    for response in (ours, foreign):
        assert response.status == 429
        assert [name for name, _ in response.headers][:3] == [b"ratelimit-policy", b"ratelimit", b"retry-after"]


class Client:
    """Sends one request and looks at what is free whenever a message comes."""

    def __init__(self, limits: Limiter) -> None:
        self._limits = limits
        self.free: list[int] = []

    async def ask(self, app: Any, kind: str = "http") -> None:
        asked: list[bool] = []

        async def send(_: Message) -> None:
            self.free.append(await left(self._limits, "jobs"))

        async def receive() -> Message:
            if asked:
                await asyncio.Event().wait()
            asked.append(True)
            return {"type": f"{kind}.request" if kind == "http" else "websocket.connect", "body": b""}

        scope = {"type": kind, "method": "HEAD", "path": "/", "headers": [], "client": (KEY, 1), "query_string": b""}
        await app(scope, receive, send)


def parts(*more: bool) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for one in more:
            await send({"type": "http.response.body", "body": b"x", "more_body": one})

    return app


async def sends_a_file(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.pathsend", "path": "/dev/null"})


async def closes(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "x"})
    await send({"type": "websocket.close"})


async def denies(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"no"})


#   application, kind, free permits whenever a message is sent
SENT = [
    (parts(False), "http", [0, 1]),
    (parts(True, True, False), "http", [0, 0, 0, 1]),
    (parts(True, True), "http", [0, 0, 0]),
    (parts(), "http", [0]),
    (sends_a_file, "http", [0, 1]),
    (closes, "websocket", [0, 0, 1]),
    (denies, "websocket", [0, 1]),
]


@pytest.mark.parametrize(("app", "kind", "free"), SENT)
async def test_a_permit_is_free_before_the_last_message_is_passed_on(
    world: StoreWorld, app: Any, kind: str, free: list[int]
) -> None:
    """A client that has the whole response can come again at once, however the response ends."""
    limits = limiter_with(world, POLICIES)
    client = Client(limits)

    await client.ask(RateLimitMiddleware(app, limiter=limits, policy="jobs"), kind=kind)

    assert client.free == free
    assert await left(limits, "jobs") == 1


@limit("jobs")
async def streaming(_: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    return StreamingResponse(chunks())


async def calling(request: Request) -> Response:
    for _ in range(2):
        await streaming(request)
    return PlainTextResponse("done")


#   endpoint, free permits whenever a message is sent
ENDPOINTS = [(streaming, [0, 0, 0, 1]), (calling, [1, 1])]


@pytest.mark.parametrize(("endpoint", "free"), ENDPOINTS)
async def test_the_permit_of_a_routes_function_lasts_until_the_response_is_sent(
    world: StoreWorld, endpoint: Any, free: list[int]
) -> None:
    """A stream is the work of the function that returned it; one that the route calls is done when it returns."""
    limits = limiter_with(world, POLICIES)
    client = Client(limits)

    await client.ask(starlette(endpoint, limits))

    assert client.free == free


async def test_a_permit_is_free_when_a_stream_fails(world: StoreWorld) -> None:
    """A response that breaks off holds no permit."""
    limits = limiter_with(world, POLICIES)

    @limit("jobs")
    async def breaking(_: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"a"
            raise OSError("the application failed")

        return StreamingResponse(chunks())

    with pytest.raises(OSError, match="the application failed"):
        await Client(limits).ask(starlette(breaking, limits))

    assert await left(limits, "jobs") == 1


@pytest.mark.parametrize(("charge", "units"), [("2xx", 9), ("5xx", 8), (None, 8)])
async def test_a_cancelled_request_is_a_failed_one(world: StoreWorld, charge: Charge | None, units: int) -> None:
    """A request that an outer timeout ends is charged as the 500 that it is, by each of its policies."""
    limits = limiter_with(world, {**POLICIES, "other": "9/minute"})
    entered = asyncio.Event()

    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        await asyncio.Event().wait()

    app = RateLimitMiddleware(hangs, limiter=limits, policy=["site", "other", "jobs"], charge=charge)
    request = asyncio.create_task(Client(limits).ask(app))
    await entered.wait()
    request.cancel()
    await asyncio.wait([request])
    await limits.aclose()

    assert request.cancelled()
    assert [await left(limits, policy) for policy in ("site", "other", "jobs")] == [units, units, 1]


async def test_refunds_go_on_when_the_request_is_cancelled_again(world: StoreWorld) -> None:
    """A second cancellation, while the units come back, loses none of them."""
    limits = limiter_with(world, {**POLICIES, "other": "9/minute"})
    entered = asyncio.Event()

    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        await asyncio.Event().wait()

    app = RateLimitMiddleware(hangs, limiter=limits, policy=["site", "other", "jobs"], charge="2xx")
    request = asyncio.create_task(Client(limits).ask(app))
    await entered.wait()
    request.cancel()
    await asyncio.sleep(0)
    request.cancel()
    await asyncio.wait([request])
    await limits.aclose()

    assert [await left(limits, policy) for policy in ("site", "other", "jobs")] == [9, 9, 1]


async def test_a_websocket_that_is_refused_inside_charges_nothing(world: StoreWorld) -> None:
    """A refusal before the websocket is accepted gives back what the middleware took, denied or closed."""
    limits = limiter_with(world, POLICIES)
    await limits.take("route", KEY)

    @limit("route")
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    for can_deny in (True, False):
        await connect(RateLimitMiddleware(app, limiter=limits, policy="site"), can_deny=can_deny)

    assert await left(limits, "site") == 9


async def test_a_request_that_a_limit_cannot_decide_charges_nothing(world: StoreWorld) -> None:
    """A key that an inner limit does not accept is 422, and gives back what the outer limits took."""
    limits = limiter_with(world, POLICIES)

    @limit("steps")
    @limit("route", key=lambda _: "k" * 600)
    async def endpoint(_: Request) -> Response:
        raise NotImplementedError

    inner = RateLimitMiddleware(hello, limiter=limits, policy="route", key=lambda _: "k" * 600)
    apps = [starlette(endpoint, limits), RateLimitMiddleware(inner, limiter=limits, policy="site")]
    statuses = [(await get(app)).status_code for app in apps]

    assert statuses == [422, 422]
    assert (await left(limits, "site"), await left(limits, "steps")) == (9, 2)


async def test_a_permit_that_comes_after_its_request_ends_with_its_function(world: StoreWorld) -> None:
    """A handler that runs on although its request was answered, and gets its permit only then, holds it to its end."""
    setup = Setup(world, parse_policy("site", "9/minute"), parse_policy("jobs", "1/minute", "concurrency"))
    handlers: list[asyncio.Task[None]] = []

    @limit("jobs")
    async def endpoint(_: Request) -> Response:
        await ticks()
        assert await left(setup.limits, "jobs") == 0
        return PlainTextResponse("done")

    async def answers_early(scope: Any, receive: Any, send: Any) -> None:
        setup.store.hold()
        handlers.append(asyncio.create_task(Starlette(routes=[Route("/", endpoint)])(scope, receive, discard)))
        await setup.store.until_in_flight(1)
        await PlainTextResponse("too late", 504)(scope, receive, send)

    response = await get(RateLimitMiddleware(answers_early, limiter=setup.limits, policy="site"))
    setup.store.release()
    await asyncio.gather(*handlers)
    await setup.limits.aclose()

    assert response.status_code == 504
    assert await left(setup.limits, "jobs") == 1


async def test_a_permit_of_an_edge_inside_ends_with_that_edge(world: StoreWorld) -> None:
    """So does an inner middleware that runs on: its permit is held while it serves, and no longer."""
    setup = Setup(world, parse_policy("site", "9/minute"), parse_policy("jobs", "1/minute", "concurrency"))
    running: list[asyncio.Task[None]] = []

    async def served(scope: Any, receive: Any, send: Any) -> None:
        await ticks()
        assert await left(setup.limits, "jobs") == 0
        await hello(scope, receive, send)

    inner = RateLimitMiddleware(served, limiter=setup.limits, policy="jobs")

    async def answers_early(scope: Any, receive: Any, send: Any) -> None:
        setup.store.hold()
        running.append(asyncio.create_task(inner(scope, receive, discard)))
        await setup.store.until_in_flight(1)
        await PlainTextResponse("too late", 504)(scope, receive, send)

    await get(RateLimitMiddleware(answers_early, limiter=setup.limits, policy="site"))
    setup.store.release()
    await asyncio.gather(*running)
    await setup.limits.aclose()

    assert await left(setup.limits, "jobs") == 1
