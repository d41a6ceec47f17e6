"""The decision at hand: in handlers, functions and threads, under several limits, and outside of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.asgi import get, hello, limiter_with
from tests.worlds import StoreWorld
from tollhouse.asgi.ratelimit.current import current_decision, current_decisions
from tollhouse.asgi.ratelimit.decorator import limit
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.limits.decision import Decision, RateLimited
from tollhouse.limits.policy.catalog import policy_from_settings
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.settings.model import PolicySettings

POLICIES = {
    "site": "9/minute",
    "route": "2/minute",
    "jobs": parse_policy("jobs", "3/minute", "concurrency"),
    "guarded": policy_from_settings("guarded", PolicySettings(limit="9/minute", allow=("192.0.2.1",))),
}


def starlette(endpoint: Callable[..., Any], limits: Any, **arguments: Any) -> Starlette:
    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(RateLimitMiddleware, limiter=limits, **{"policy": "site", **arguments})
    return app


def told(decisions: Sequence[Decision]) -> list[list[Any]]:
    return [[one.policy, one.limits[0].remaining if one.limits else None] for one in decisions]


def response(request: Request) -> Response:
    """Return what a handler can learn, by all ways."""
    decision = current_decision()
    assert decision is not None
    return JSONResponse(
        [told(current_decisions()), decision.policy, request.state.rate_limit == decision, decision.allowed]
    )


async def asynchronous(request: Request) -> Response:
    return response(request)


def in_a_thread(request: Request) -> Response:
    return response(request)


@pytest.mark.parametrize("endpoint", [asynchronous, in_a_thread])
async def test_a_handler_has_the_decision_at_hand(world: StoreWorld, endpoint: Callable[..., Any]) -> None:
    """Async handlers, and plain ones in their threads, read the decision of the middleware."""
    app = starlette(endpoint, limiter_with(world, POLICIES))

    found = [(await get(app)).json() for _ in range(2)]

    assert found == [[[["site", 8]], "site", True, True], [[["site", 7]], "site", True, True]]


@pytest.mark.parametrize("endpoint", [asynchronous, in_a_thread])
async def test_of_several_decisions_the_tightest_is_at_hand(world: StoreWorld, endpoint: Callable[..., Any]) -> None:
    """Under several limits there is one decision for each, and the nearest to a refusal stands for all."""
    limits = limiter_with(world, POLICIES)
    app = starlette(limit("route")(endpoint), limits, routes={"/": "jobs"}, key=lambda _: "all")
    outer = RateLimitMiddleware(app, limiter=limits, policy="site")

    found = (await get(outer)).json()

    assert found == [[["site", 8], ["jobs", 2], ["route", 1]], "route", True, True]


async def test_a_decision_is_found_by_its_policy(world: StoreWorld) -> None:
    """The name of a policy picks its decision; a policy that did not decide has none."""
    found: list[Any] = []

    @limit("route")
    async def endpoint(_: Request) -> Response:
        found.extend(current_decision(name) for name in ("site", "route", "jobs"))
        return Response()

    await get(starlette(endpoint, limiter_with(world, POLICIES)))

    assert [None if one is None else one.policy for one in found] == ["site", "route", None]


async def test_a_decision_without_a_limit_comes_last(world: StoreWorld) -> None:
    """A key on the allow list is at hand too, behind every decision that a limit made."""
    limits = limiter_with(world, POLICIES)
    alone = starlette(asynchronous, limits, policy="guarded")
    both = RateLimitMiddleware(alone, limiter=limits, policy="site")

    assert (await get(alone)).json() == [[["guarded", None]], "guarded", True, True]
    assert (await get(both)).json()[1:] == ["site", True, True]


async def test_a_refusal_that_was_caught_is_at_hand(world: StoreWorld) -> None:
    """A handler that catches RateLimited and goes on sees the refusal among the decisions."""

    @limit("route")
    async def step() -> None:
        return

    async def endpoint(request: Request) -> Response:
        await step()
        await step()
        with pytest.raises(RateLimited) as refused:
            await step()
        return response(request) if current_decision() == refused.value.decision else Response()

    found = (await get(starlette(endpoint, limiter_with(world, POLICIES)))).json()

    assert found == [[["site", 8], ["route", 0]], "route", True, False]


async def test_requests_at_the_same_time_see_their_own(world: StoreWorld) -> None:
    """Each of several concurrent requests has its own decision, whichever thread or task it is read in."""

    async def endpoint(request: Request) -> Response:
        ours = current_decision()
        assert ours is not None
        await asyncio.sleep(0)
        in_task, in_thread = await asyncio.gather(_in_a_task(), asyncio.to_thread(current_decision))
        return JSONResponse([ours == in_task == in_thread == request.state.rate_limit, ours.key])

    app = starlette(endpoint, limiter_with(world, POLICIES), key=lambda scope: scope["path"] + scope["client"][0])
    answers = await asyncio.gather(*(get(app, peer=f"192.0.2.{peer}") for peer in range(5)))

    assert [answer.json() for answer in answers] == [[True, f"/192.0.2.{peer}"] for peer in range(5)]


async def _in_a_task() -> Decision | None:
    return current_decision()


async def test_outside_of_a_request_there_is_none(world: StoreWorld) -> None:
    """Without a request or a limit there is no decision; nor in a task that outlives its request."""
    limits = limiter_with(world, POLICIES)
    late: list[Awaitable[Any]] = []

    async def afterwards(done: asyncio.Event) -> tuple[Any, ...]:
        await done.wait()
        return current_decision(), current_decisions()

    async def endpoint(_: Request) -> Response:
        late.append(asyncio.create_task(afterwards(served)))
        return JSONResponse([], background=BackgroundTask(in_background))

    async def in_background() -> None:
        seen.append(current_decision() is not None)

    served, seen = asyncio.Event(), list[bool]()
    await get(starlette(endpoint, limits))
    await get(RateLimitMiddleware(hello, limiter=limits, policy=None))
    served.set()

    assert await late[0] == (None, ())
    assert (current_decision(), current_decisions(), seen) == (None, (), [True])


async def test_a_function_outside_of_a_request_has_its_decisions(world: StoreWorld) -> None:
    """While functions with a limit run, their decisions are at hand, and afterwards they are not."""
    limits = limiter_with(world, POLICIES)
    seen: list[Any] = []

    @limit("route", key="all", limiter=limits)
    async def inner() -> None:
        seen.append(told(current_decisions()))
        seen.append(getattr(current_decision(), "policy", None))

    @limit("site", key="all", limiter=limits)
    @limit("jobs", key="all", limiter=limits)
    async def outer() -> None:
        await inner()
        seen.append(told(current_decisions()))

    await outer()

    assert seen == [[["site", 8], ["jobs", 2], ["route", 1]], "route", [["site", 8], ["jobs", 2]]]
    assert current_decisions() == ()


def test_a_plain_function_outside_of_a_request_has_its_decision() -> None:
    """In a thread without an event loop too, and in functions of one that was refused by another."""
    seen: list[Any] = []

    @limit("3/minute", key="all", name="threads", limiter="fake://current-decision")
    def work() -> None:
        seen.append(told(current_decisions()))

    work()

    assert (seen, current_decisions()) == ([[["threads", 2]]], ())
