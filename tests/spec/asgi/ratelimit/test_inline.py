"""Limits that a function gives, and functions of every form under a limit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.asgi import get, limiter_with
from tests.worlds import StoreWorld
from tollhouse import RateLimitMiddleware, RateLimitRule, limit
from tollhouse.asgi.ratelimit.inline import CHOSEN_MAX
from tollhouse.errors import ConfigurationError
from tollhouse.fastapi import RateLimit
from tollhouse.limits.decision import RateLimited

POLICIES = {"site": "99/minute", "gold": "3/minute"}
PLANS = {"free": "1/minute", "paid": "2/minute", "gold": "gold"}


async def admitted(call: Callable[[], Any]) -> int:
    """Call until a refusal; return how many calls were admitted."""
    for count in range(10):
        try:
            await call()
        except RateLimited:
            return count
    raise AssertionError("never refused")


async def test_a_function_gives_the_limit_of_a_call(world: StoreWorld) -> None:
    """It sees the arguments, and returns a limit or the name of a policy; each limit counts for itself."""

    async def plan(user: str) -> str:
        return PLANS[user]

    @limit(plan, key=lambda user: user, limiter=limiter_with(world, POLICIES))
    async def work(user: str) -> None:
        return

    assert [await admitted(partial(work, user)) for user in PLANS] == [1, 2, 3]


async def test_a_route_has_the_limit_that_a_function_gives(world: StoreWorld) -> None:
    """The function of a FastAPI dependency, or of the handler of a route, sees the request, whose response tells it."""
    limits = limiter_with(world, POLICIES)
    app = FastAPI()
    chosen = RateLimit(lambda request: PLANS[request.headers["plan"]], limiter=limits)
    app.add_api_route("/", lambda: "ok", dependencies=[Depends(chosen)])

    @limit(lambda request: PLANS[request.headers["plan"]])
    async def endpoint(_: Request) -> Response:
        return PlainTextResponse("ok")

    other = RateLimitMiddleware(Starlette(routes=[Route("/", endpoint)]), limiter=limits, policy=None)

    for one in (app, other):
        found = [[(await get(one, plan=plan)).status_code for _ in range(3)] for plan in ("free", "paid")]
        quota = (await get(one, plan="paid")).headers["ratelimit-policy"]
        assert (found, quota.partition(";")[2]) == ([[200, 429, 429], [200, 200, 429]], "q=2;w=60")


async def test_functions_with_one_name_share_what_they_give(world: StoreWorld) -> None:
    """`name` lets two places share the counter of each limit that their functions return."""
    limits = limiter_with(world, POLICIES)

    def make(place: str) -> Callable[[], Any]:
        async def work() -> None:
            return

        work.__qualname__ = place
        return limit(lambda: "2/minute", key="all", limiter=limits, name="shared")(work)

    assert [await admitted(make(place)) for place in ("one", "two")] == [2, 0]


@pytest.mark.parametrize("value", ["5/mn", "", "silver", None, 5, b"5/minute"])
async def test_a_value_that_is_no_limit_is_said(world: StoreWorld, value: Any) -> None:
    """What the function returned is in the ConfigurationError, with its place; the client is not blamed for it."""

    @limit(lambda: value, key=lambda: "all", limiter=limiter_with(world, POLICIES))
    async def work() -> None:
        raise NotImplementedError

    with pytest.raises(ConfigurationError) as refused:
        await work()

    assert (refused.value.setting, refused.value.value) == ("policy", value)
    assert f"{__name__}." in refused.value.remedy


async def test_the_limits_of_a_function_are_bounded(world: StoreWorld) -> None:
    """A function may return so many different limits; one more is a ConfigurationError, and earlier ones stay."""
    limits = limiter_with(world, POLICIES)

    @limit(lambda units: f"{units}/minute", key="all", limiter=limits)
    async def work(units: int) -> None:
        return

    for units in range(1, CHOSEN_MAX + 1):
        await work(units)
    with pytest.raises(ConfigurationError) as refused:
        await work(CHOSEN_MAX + 1)
    await work(CHOSEN_MAX)

    assert refused.value.value == f"{CHOSEN_MAX + 1}/minute"
    assert len(limits.policies) == len(POLICIES) + CHOSEN_MAX


class Key:
    async def __call__(self, request: Any) -> str:
        return "all"


class Handler:
    """A callable object as an endpoint."""

    async def __call__(self, request: Request) -> Response:
        return PlainTextResponse("object")


async def endpoint(answer: str, request: Request) -> Response:
    return PlainTextResponse(answer)


def plain_endpoint(answer: str, request: Request) -> Response:
    return PlainTextResponse(answer)


@pytest.mark.parametrize("function", [partial(endpoint, "partial"), Handler(), partial(plain_endpoint, "plain")])
@pytest.mark.parametrize("key", [Key(), partial(lambda key, _: key, "all")])
async def test_every_form_of_function_can_be_limited(world: StoreWorld, function: Any, key: Any) -> None:
    """Partials and callable objects, plain and async, are endpoints and keys like functions."""
    routes = [Route("/", limit("2/minute", key=key)(function), methods=["GET"])]
    app = RateLimitMiddleware(Starlette(routes=routes), limiter=limiter_with(world, POLICIES), policy="site", key=key)

    assert [(await get(app, peer=f"192.0.2.{i}")).status_code for i in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("key", [Key(), partial(lambda key, _: key, "all")])
async def test_every_form_of_function_is_a_key_of_a_dependency(world: StoreWorld, key: Any) -> None:
    """A FastAPI dependency takes partials and callable objects as keys, and stands before such endpoints."""
    limits, app = limiter_with(world, POLICIES), FastAPI()
    once = [Depends(RateLimit("2/minute", key=key, limiter=limits))]
    app.add_api_route("/partial", partial(lambda answer: answer, "ok"), dependencies=once)

    assert [(await get(app, "/partial", peer=f"192.0.2.{i}")).status_code for i in range(3)] == [200, 200, 429]


async def asynchronous_generator(*_: Any) -> AsyncIterator[str]:
    yield "all"


def generator(*_: Any) -> Iterator[str]:
    yield "all"


@pytest.mark.parametrize("function", [generator, asynchronous_generator, partial(generator)])
@pytest.mark.parametrize(
    ("decorate", "setting"),
    [
        (limit("5/minute", key="all"), "limit"),
        (lambda one: limit(one), "policy"),
        (lambda one: limit("5/minute", key=one), "key"),
        (lambda one: limit("5/minute", cost=one), "cost"),
        (lambda one: limit("5/minute", on_refusal=one)(endpoint), "on_refusal"),
        (lambda one: RateLimit(one), "policy"),
        (lambda one: RateLimit("5/minute", key=one), "key"),
        (lambda one: RateLimit("5/minute", cost=one), "cost"),
        (lambda one: RateLimit("5/minute", on_refusal=one), "on_refusal"),
        (lambda one: RateLimitMiddleware(endpoint, url="fake://", key=one), "key"),
        (lambda one: RateLimitMiddleware(endpoint, url="fake://", cost=one), "cost"),
        (lambda one: RateLimitMiddleware(endpoint, url="fake://", policy=one), "policy"),
        (lambda one: RateLimitMiddleware(endpoint, url="fake://", on_refusal=one), "on_refusal"),
        (
            lambda one: RateLimitMiddleware(
                endpoint, url="fake://", routes={"/": RateLimitRule(policy="default", key={"default": one})}
            ),
            "key",
        ),
    ],
)
def test_a_generator_is_refused_when_it_is_given(decorate: Callable[[Any], Any], setting: str, function: Any) -> None:
    """A generator runs nothing when it is called: under a limit, as a limit, key, cost or handler it is an error."""
    with pytest.raises(ConfigurationError) as refused:
        decorate(function)

    assert refused.value.setting == setting
