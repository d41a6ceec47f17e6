"""`@limit`: functions with a limit of their own, inside a request and outside."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.asgi import get, limiter_with
from tests.structured_fields import parse_list
from tests.worlds import StoreWorld
from tollhouse.asgi.ratelimit.decorator import limit
from tollhouse.asgi.ratelimit.limiter_source import limiter_source
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.limits.decision import RateLimited
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.sync.caller_thread import run_in_loop
from tollhouse.sync.loop_thread import LoopThread

POLICIES = {"site": "9/minute", "mail": "2/minute"}


async def outcomes(call: Callable[[], Any], count: int) -> list[str]:
    """Call a limited function some times, and say which calls were refused."""
    found: list[str] = []
    for _ in range(count):
        try:
            found.append(await call())
        except RateLimited as refused:
            found.append(refused.decision.reason)
    return found


async def test_a_function_is_limited_outside_a_request(world: StoreWorld) -> None:
    """A call above the limit raises RateLimited with the decision, and charged nothing."""
    limits = limiter_with(world, POLICIES)

    @limit("mail", key="newsletter", limiter=limits)
    async def send() -> str:
        return "sent"

    assert await outcomes(send, 3) == ["sent", "sent", "limit-reached"]
    with pytest.raises(RateLimited) as refused:
        await send()
    assert (refused.value.decision.policy, refused.value.decision.key) == ("mail", "newsletter")
    assert f"retry in {refused.value.decision.retry_after_ms} ms" in str(refused.value)
    assert "newsletter" not in str(refused.value)


async def test_key_and_cost_may_depend_on_the_arguments(world: StoreWorld) -> None:
    """Functions of the arguments, plain or async, say whom to count and how much; the rest of the function stays."""

    async def cost(user: str, *, copies: int = 1) -> int:
        return copies

    @limit("mail", key=lambda user, **_: user, cost=cost, limiter=limiter_with(world, POLICIES))
    async def send(user: str, *, copies: int = 1) -> str:
        """Send mail."""
        return f"{copies} to {user}"

    assert await send("ada", copies=2) == "2 to ada"
    assert await send("bob") == "1 to bob"
    with pytest.raises(RateLimited):
        await send("ada")
    assert (send.__name__, send.__doc__) == ("send", "Send mail.")


async def test_each_function_counts_for_itself(world: StoreWorld) -> None:
    """Two functions with the same limit do not share it; by name they do, and so do functions of other processes."""
    limits, elsewhere = limiter_with(world, {}), limiter_with(world, {})

    def make(place: str, limiter: Limiter, **shared: Any) -> Callable[[], Any]:
        async def work() -> str:
            return place

        work.__qualname__ = place
        return limit("1/minute", key="all", limiter=limiter, **shared)(work)

    apart = [await outcomes(make(place, limits), 1) for place in ("one", "two")]
    same = await outcomes(make("one", elsewhere), 1)
    shared = [await outcomes(make(place, limits, name="shared"), 1) for place in ("one", "two")]

    assert apart == [["one"], ["two"]]
    assert same == ["limit-reached"]
    assert shared == [["one"], ["limit-reached"]]


async def test_a_limit_survives_a_change_of_policies(world: StoreWorld) -> None:
    """A limit that is written at a function is known again after the settings have changed, and has kept its count."""
    limits = limiter_with(world, POLICIES)

    @limit("2/minute", key="all", limiter=limits)
    async def work() -> str:
        return "done"

    before = await outcomes(work, 1)
    limits.replace_policies({})
    after = await outcomes(work, 2)

    assert (before, after) == (["done"], ["done", "limit-reached"])


async def test_one_name_stands_for_one_limit(world: StoreWorld) -> None:
    """A name that stands for other limits already is a ConfigurationError."""

    @limit("5/minute", key="all", name="mail", limiter=limiter_with(world, POLICIES))
    async def work() -> None:
        raise NotImplementedError

    with pytest.raises(ConfigurationError) as refused:
        await work()

    assert (refused.value.setting, refused.value.value) == ("name", "mail")


async def test_a_call_may_wait_for_its_turn(world: StoreWorld) -> None:
    """With `wait_ms` a call that is refused waits until it is admitted, if that is soon enough."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await world.advance(math.ceil(seconds * 1000))

    policies = {"slow": parse_policy("slow", "1/30s")}
    limits = Limiter(world.stores.limits, policies, world.keyring, world.metrics, sleep=sleep)

    @limit("slow", key="all", wait_ms=40_000, limiter=limits)
    async def patient() -> str:
        return "done"

    @limit("slow", key="all", wait_ms=1_000, limiter=limits)
    async def hasty() -> str:
        return "done"

    assert await outcomes(patient, 2) == ["done", "done"]
    assert sum(waited) >= 30
    assert await outcomes(hasty, 1) == ["limit-reached"]


async def test_a_permit_is_held_while_the_function_runs(world: StoreWorld) -> None:
    """A policy of permits bounds how many calls run at once."""
    limits = limiter_with(world, {"jobs": parse_policy("jobs", "1/minute", "concurrency")})
    inner: list[str] = []

    @limit("jobs", key="all", limiter=limits)
    async def work(depth: int) -> str:
        if depth:
            inner.extend(await outcomes(lambda: work(depth - 1), 1))
        return "done"

    assert await work(1) == "done"
    assert await work(0) == "done"
    assert inner == ["limit-reached"]


@limit("1/minute")
async def greeting(request: Request) -> Response:
    return PlainTextResponse("hello")


@limit("1/minute", key="header:x-user")
def sync_greeting(request: Request) -> Response:
    return PlainTextResponse("hello")


async def caught(request: Request) -> Response:
    try:
        await greeting(request)
    except RateLimited as refused:
        return JSONResponse({"caught": refused.decision.policy}, status_code=418)
    return PlainTextResponse("hello")


async def failing(request: Request) -> Response:
    raise OSError("the application failed")


def application() -> Starlette:
    routes = [
        Route("/greeting", greeting),
        Route("/sync", sync_greeting),
        Route("/caught", caught),
        Route("/failing", failing),
    ]
    return Starlette(routes=routes)


def added(limits: Limiter, **arguments: Any) -> Any:
    app = application()
    app.add_middleware(RateLimitMiddleware, limiter=limits, **arguments)
    return app


def around(limits: Limiter, **arguments: Any) -> Any:
    return RateLimitMiddleware(application(), limiter=limits, **arguments)


@pytest.mark.parametrize("make", [added, around])
@pytest.mark.parametrize("path", ["/greeting", "/sync"])
async def test_inside_a_request_no_request_is_handed_on(world: StoreWorld, make: Callable[..., Any], path: str) -> None:
    """In a request the limiter and the client are found, and the refusal is the same 429 as any, without a handler."""
    app = make(limiter_with(world, POLICIES), policy=None)

    first = await get(app, path)
    refused = await get(app, path)
    other = await get(app, path, peer="192.0.2.9")

    assert [response.status_code for response in (first, refused, other)] == [200, 429, 200]
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["violated-policies"] == [refused.json()["policy"]]
    assert int(refused.headers["content-length"]) == len(refused.content)
    assert "192.0.2.1" not in refused.text
    assert first.headers["ratelimit"].startswith(f'"{refused.json()["policy"]}";r=0;')


@pytest.mark.parametrize("make", [added, around])
async def test_a_response_tells_of_all_limits_that_were_asked(world: StoreWorld, make: Callable[..., Any]) -> None:
    """The limit of the whole application and that of a function stand in one field, served or refused."""
    app = make(limiter_with(world, POLICIES), policy="site")

    responses = [await get(app, "/greeting") for _ in range(2)]

    for response in responses:
        names = [str(name) for name, _ in parse_list(response.headers["ratelimit"])]
        assert names[0] == "site"
        assert names[1].startswith("get-head-greeting.")
        assert len(response.headers.get_list("ratelimit")) == 1


@pytest.mark.parametrize("make", [added, around])
async def test_what_the_application_makes_of_a_refusal_stands(world: StoreWorld, make: Callable[..., Any]) -> None:
    """An application that handles RateLimited answers as it likes; other failures stay failures."""
    app = make(limiter_with(world, POLICIES), policy=None)

    await get(app, "/caught")
    response = await get(app, "/caught")
    with pytest.raises(OSError, match="the application failed"):
        await get(app, "/failing")

    assert response.status_code == 418


async def test_a_framework_may_answer_in_parts(world: StoreWorld) -> None:
    """A framework that makes a 500 of the refusal, in as many parts as it likes, sends the refusal instead."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await dear()
        except RateLimited:
            await send({"type": "http.response.start", "status": 500, "headers": [(b"x-app", b"yes")]})
            await send({"type": "http.response.body", "body": b"something ", "more_body": True})
            await send({"type": "http.response.body", "body": b"failed"})

    @limit("mail", key="all", cost=3)
    async def dear() -> None:
        raise NotImplementedError

    response = await get(RateLimitMiddleware(app, limiter=limiter_with(world, POLICIES), policy=None))

    assert response.status_code == 422
    assert response.json()["type"].endswith("cost-above-limit")
    assert "x-app" not in response.headers


async def test_a_function_in_a_request_may_use_another_limiter(world: StoreWorld) -> None:
    """A limiter that was given comes before that of the request, and a policy's own key holds."""
    own = limiter_with(world, {"own": parse_policy("own", "1/minute", key="header:x-user")})

    @limit("own", limiter=own)
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(RateLimitMiddleware, limiter=limiter_with(world, POLICIES), policy=None)

    assert [(await get(app, **{"x-user": user})).status_code for user in ("a", "b", "a")] == [200, 200, 429]


async def test_a_refusal_after_the_response_has_begun_is_raised(world: StoreWorld) -> None:
    """What can no longer be answered reaches the server as it was raised."""
    limits = limiter_with(world, POLICIES)

    @limit("mail", key="all", cost=3)
    async def dear() -> None:
        raise NotImplementedError

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await dear()

    with pytest.raises(RateLimited) as refused:
        await get(RateLimitMiddleware(late, limiter=limits, policy=None))

    assert refused.value.decision.reason == "cost-above-limit"


async def test_a_task_that_outlives_its_request_is_outside(world: StoreWorld) -> None:
    """What goes on after the response is no part of the request, and has to say whom it counts."""
    answered = asyncio.Event()
    left: list[asyncio.Task[Any]] = []

    @limit("site")
    async def step() -> None:
        return None

    async def work() -> None:
        await step()
        await answered.wait()
        await step()

    async def endpoint(request: Request) -> Response:
        left.append(asyncio.create_task(work()))
        await asyncio.sleep(0)
        return PlainTextResponse("hello")

    inner = Starlette(routes=[Route("/", endpoint)])
    response = await get(RateLimitMiddleware(inner, limiter=limiter_with(world, POLICIES), policy=None))
    answered.set()

    assert response.status_code == 200
    with pytest.raises(ConfigurationError) as refused:
        await left[0]

    assert refused.value.setting == "limiter"


async def test_many_calls_in_one_request_are_told_of_once(world: StoreWorld) -> None:
    """A request in which a function is called often tells of where its limit stands at last."""

    @limit("site", key="all")
    async def step() -> None:
        return None

    async def endpoint(request: Request) -> Response:
        for _ in range(5):
            await step()
        return PlainTextResponse("hello")

    inner = Starlette(routes=[Route("/", endpoint)])
    app = RateLimitMiddleware(inner, limiter=limiter_with(world, POLICIES), policy=None)

    assert (await get(app)).headers["ratelimit"].startswith('"site";r=4;')


async def test_a_function_that_is_not_async_waits_in_its_thread(world: StoreWorld) -> None:
    """Outside a request such a function is limited in any thread that has no event loop, by a URL."""

    @limit("2/minute", key=lambda user: user, limiter=world.url)
    def send(user: str) -> str:
        return f"sent to {user}"

    async def send_in_thread() -> str:
        return await asyncio.to_thread(send, "ada")

    assert await outcomes(send_in_thread, 3) == ["sent to ada", "sent to ada", "limit-reached"]
    with pytest.raises(ConfigurationError) as refused:
        send("ada")

    assert refused.value.setting == "limit"


def test_a_thread_with_a_loop_ends_in_order() -> None:
    """What was opened for callers without a loop is closed with its thread, and opened anew by a later call."""
    thread = LoopThread()
    source = limiter_source("fake://thread")

    async def take() -> bool:
        limiter = source.opened_limiter() or await source.limiter()
        return (await limiter.take("default", "ada")).allowed

    first = run_in_loop(thread.loop, take())
    thread.close()
    second = run_in_loop(thread.loop, take())
    thread.close()
    thread.close()

    assert (first, second) == (True, True)


async def no_key(world: StoreWorld) -> None:
    @limit("mail", limiter=limiter_with(world, POLICIES))
    async def work() -> None:
        raise NotImplementedError

    await work()


async def no_limiter(world: StoreWorld) -> None:
    @limit("mail", key="all")
    async def work() -> None:
        raise NotImplementedError

    await work()


async def a_rule_without_a_request(world: StoreWorld) -> None:
    @limit("mail", key="user", limiter=limiter_with(world, POLICIES))
    async def work() -> None:
        raise NotImplementedError

    await work()


async def an_open_limiter_in_a_thread(world: StoreWorld) -> None:
    @limit("mail", key="all", limiter=limiter_with(world, POLICIES))
    def work() -> None:
        raise NotImplementedError

    await asyncio.to_thread(work)


async def permits_in_a_thread(world: StoreWorld) -> None:
    @limit("1/minute", key="all", algorithm="concurrency", limiter="fake://permits")
    def work() -> None:
        raise NotImplementedError

    await asyncio.to_thread(work)


async def a_generator(world: StoreWorld) -> None:
    @limit("mail", key="all")
    async def work() -> AsyncIterator[int]:
        yield 1

    work()


async def a_mistyped_rule(world: StoreWorld) -> None:
    limit("mail", key="adress")


async def no_parentheses(world: StoreWorld) -> None:
    def work(user: str) -> str:
        return user

    limited: Any = limit(work)  # as `@limit` above it does

    limited("ada")


MISTAKES = [
    (no_parentheses, "limit"),
    (no_key, "key"),
    (no_limiter, "limiter"),
    (a_rule_without_a_request, "key"),
    (an_open_limiter_in_a_thread, "limiter"),
    (permits_in_a_thread, "limit"),
    (a_generator, "limit"),
    (a_mistyped_rule, "key"),
]


@pytest.mark.parametrize(("mistake", "setting"), MISTAKES)
async def test_what_cannot_be_limited_is_said(
    world: StoreWorld, mistake: Callable[[StoreWorld], Any], setting: str
) -> None:
    """A function that lacks what it needs raises ConfigurationError, which names what is missing."""
    with pytest.raises(ConfigurationError) as refused:
        await mistake(world)

    assert refused.value.setting == setting


def test_a_limit_that_cannot_be_read_is_refused_at_once() -> None:
    """A mistake in the notation is found when the function is made."""
    with pytest.raises(InvalidInput) as refused:
        limit("5/mn")

    assert refused.value.value == "5/mn"
