"""Every pair of edges in one application: both hold, a refusal by either is the same 429, and charges nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product
from typing import Any

import anyio
import pytest
from fastapi import Depends, FastAPI, WebSocket
from litestar import Litestar
from litestar import WebSocket as LitestarWebSocket
from litestar import get as litestar_get
from litestar import websocket as litestar_websocket

from tests.asgi import connect, get, limiter_with
from tests.structured_fields import parse_list
from tests.worlds import StoreWorld, fake_world
from tollhouse import RateLimited, RateLimitMiddleware, RateLimitRule, limit
from tollhouse.fastapi import RateLimit
from tollhouse.fastapi import answer as answer_refusal
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.definition import policy_from_settings
from tollhouse.litestar import TollhousePlugin
from tollhouse.settings import Settings
from tollhouse.settings.model import LimitSettings, PolicySettings

KEY = "all"
UNITS = 10
PERMITS = 2
LIMITS = {
    **{name: PolicySettings(limit=f"{UNITS}/minute") for name in ("outer", "inner")},
    **{
        name: PolicySettings(limit=f"{PERMITS}/minute", algorithm="concurrency")
        for name in ("outer-permits", "inner-permits")
    },
}

Step = Callable[[], Coroutine[Any, Any, None]]
Stack = Sequence[tuple[str, str]]
"""Edges and their policies, from the outermost to the innermost."""

PLACES = {
    "fastapi": (("middleware",), ("depends",), ("limit", "plain")),
    "litestar": (("middleware",), ("plugin",), ("limit", "plain")),
}
"""By framework the edges that it can have, from the outermost place to the innermost."""


def pairs() -> list[tuple[str, str, str, str, str]]:
    """Return each framework, kind of connection and pair of edges with their policies; permits are for async edges."""
    return [
        (framework, kind, f"{outer} {'outer' + outer_policy}", f"{inner} {'inner' + inner_policy}", refusing)
        for framework, places in PLACES.items()
        for (i, outers), (j, inners) in product(enumerate(places), repeat=2)
        for outer, inner in product(outers, inners)
        for outer_policy, inner_policy in product(("", "-permits"), repeat=2)
        for kind in ("http", "websocket")
        for refusing in ("neither", "outer", "inner")
        if i <= j
        if (outer, inner) != ("plugin", "plugin")
        if (outer_policy, inner_policy) != ("-permits", "-permits")
        if (outer, outer_policy) != ("plain", "-permits")
        if (inner, inner_policy) != ("plain", "-permits")
    ]


def split(edge: str) -> tuple[str, str]:
    name, _, policy = edge.partition(" ")
    return name, policy


def calls(stack: Stack, limits: Limiter, last: Step) -> Step:
    """Return the function of a route, in which the limited functions of the stack call each other."""
    step = last
    for edge, policy in reversed(stack):
        step = {"limit": asynchronous, "plain": synchronous}.get(edge, lambda step, *_: step)(step, policy, limits)
    return step


def asynchronous(step: Step, policy: str, limits: Limiter) -> Step:
    @limit(policy, key=KEY, limiter=limits)
    async def call() -> None:
        await step()

    return call


def synchronous(step: Step, policy: str, limits: Limiter) -> Step:
    @limit(policy, key=KEY)
    def call() -> None:
        anyio.from_thread.run(step)

    async def call_in_thread() -> None:
        await anyio.to_thread.run_sync(call)

    return call_in_thread


def surrounded(app: Any, stacks: Mapping[str, Stack], limits: Limiter) -> Any:
    """Return the application in its middlewares."""
    if not any(edge in ("middleware", "depends") for stack in stacks.values() for edge, _ in stack):
        app = RateLimitMiddleware(app, limiter=limits, policy=None)
    for path, stack in stacks.items():
        for edge, policy in reversed(stack):
            if edge == "middleware":
                rule = RateLimitRule(policy=policy, key=lambda _: KEY)
                app = RateLimitMiddleware(app, limiter=limits, policy=None, routes={path: rule})
    return app


@pytest.fixture
async def fake() -> AsyncIterator[StoreWorld]:
    async with fake_world() as world:
        yield world


async def nothing() -> None:
    return None


@asynccontextmanager
async def on_fastapi(world: StoreWorld, stacks: Mapping[str, Stack]) -> AsyncIterator[tuple[Any, Limiter]]:
    limits = limiter_with(world, {name: policy_from_settings(name, one) for name, one in LIMITS.items()})
    app = FastAPI()
    app.add_exception_handler(RateLimited, answer_refusal)
    for path, stack in stacks.items():
        add_fastapi_route(app, path, stack, limits)
    yield surrounded(app, stacks, limits), limits
    await limits.aclose()


def add_fastapi_route(app: FastAPI, path: str, stack: Stack, limits: Limiter) -> None:
    dependencies = [
        Depends(RateLimit(policy, key=lambda _: KEY, limiter=limits)) for edge, policy in stack if edge == "depends"
    ]

    @app.get(path, dependencies=dependencies)
    async def endpoint() -> str:
        await calls(stack, limits, nothing)()
        return "served"

    @app.websocket(path, dependencies=dependencies)
    async def talk(websocket: WebSocket) -> None:
        await calls(stack, limits, websocket.accept)()


@asynccontextmanager
async def on_litestar(world: StoreWorld, stacks: Mapping[str, Stack]) -> AsyncIterator[tuple[Any, Limiter]]:
    settings = Settings(url=world.url, secret=(b"s" * 32,), limits=LimitSettings(policies=LIMITS))
    plugin = TollhousePlugin(settings, policy=None)
    limits = await plugin.source.limiter()
    handlers = [made for path, stack in stacks.items() for made in litestar_handlers(path, stack, limits)]
    app = Litestar(handlers, plugins=[plugin], logging_config=None)
    yield surrounded(app, stacks, limits), limits
    await plugin.source.aclose()


def litestar_handlers(path: str, stack: Stack, limits: Limiter) -> list[Any]:
    rules = [RateLimitRule(policy=policy, key=lambda _: KEY) for edge, policy in stack if edge == "plugin"]
    opt = {"rate_limit": rules[0]} if rules else {}

    @litestar_get(path, opt=opt)
    async def endpoint() -> str:
        await calls(stack, limits, nothing)()
        return "served"

    @litestar_websocket(path, opt=opt)
    async def talk(socket: LitestarWebSocket[Any, Any, Any]) -> None:
        await calls(stack, limits, socket.accept)()
        await socket.close()

    return [endpoint, talk]


SERVED = {"fastapi": on_fastapi, "litestar": on_litestar}


async def used_up(stack: AsyncExitStack, limits: Limiter, policy: str) -> None:
    """Leave nothing of a policy for as long as the stack is open."""
    if not policy.endswith("permits"):
        await limits.take(policy, KEY, await left(limits, policy))
        return
    for _ in range(PERMITS):
        await stack.enter_async_context(limits.hold(policy, KEY))


async def left(limits: Limiter, policy: str) -> int:
    return (await limits.peek(policy, KEY)).limits[0].remaining


async def answer(app: Any, kind: str, path: str) -> tuple[int, list[tuple[str, str]]]:
    """Return the status and the headers of the response to a request, or to the handshake of a websocket."""
    if kind == "http":
        response = await get(app, path)
        return response.status_code, response.headers.multi_items()
    start = (await connect(app, path=path))[0]
    status = 101 if start["type"] == "websocket.accept" else start["status"]
    return status, [(name.decode(), value.decode()) for name, value in start["headers"]]


def named(headers: Sequence[tuple[str, str]]) -> list[str]:
    """Return the policies that the one RateLimit field describes; fails if there is not one field of each name."""
    fields = [value for name, value in headers if name == "ratelimit"]
    assert [len(fields), sum(name == "ratelimit-policy" for name, _ in headers)] in ([1, 1], [0, 0])
    return [str(name) for value in fields for name, _ in parse_list(value)]


def whole(policy: str) -> int:
    return PERMITS if policy.endswith("permits") else UNITS


@pytest.mark.parametrize(("framework", "kind", "outer", "inner", "refusing"), pairs())
async def test_two_edges_hold_for_one_route(
    fake: StoreWorld, framework: str, kind: str, outer: str, inner: str, refusing: str
) -> None:
    """Two limits of one request are charged or refuse as one: one set of fields, and no charge beside a refusal."""
    stack = [split(outer), split(inner)]
    policies = [policy for _, policy in stack]
    refused = policies[refusing == "inner"] if refusing != "neither" else None

    async with SERVED[framework](fake, {"/": stack}) as (app, limits):
        async with AsyncExitStack() as holds:
            if refused is not None:
                await used_up(holds, limits, refused)
            status, headers = await answer(app, kind, "/")
            among = [await left(limits, policy) for policy in policies]
        after = [await left(limits, policy) for policy in policies if policy.endswith("permits")]

    shown = policies if refusing != "outer" else policies[:1]
    if refused is None:
        assert status == (200 if kind == "http" else 101)
        assert among == [whole(policy) - (not policy.endswith("permits")) for policy in policies]
        if (framework, kind) == ("fastapi", "websocket") and outer.startswith("depends"):
            shown = []  # a dependency sees no message of a websocket
    else:
        assert status == 429
        assert among == [0 if policy == refused else whole(policy) for policy in policies]
        assert int(dict(headers)["retry-after"]) >= 1
        assert dict(headers)["content-type"] == "application/problem+json"
    assert named(headers) == shown
    assert after == [PERMITS] * len(after)


@pytest.mark.parametrize("first", ["/outer", "/inner"])
@pytest.mark.parametrize(
    ("framework", "outer", "inner"),
    [
        ("fastapi", "depends", "limit"),
        ("fastapi", "middleware", "depends"),
        ("fastapi", "middleware", "limit"),
        ("litestar", "plugin", "limit"),
        ("litestar", "middleware", "plugin"),
    ],
)
async def test_two_edges_hold_for_two_routes(
    fake: StoreWorld, framework: str, outer: str, inner: str, first: str
) -> None:
    """An edge on one route changes nothing about another route, whichever is requested first."""
    stacks = {"/outer": [(outer, "outer")], "/inner": [(inner, "inner")]}
    paths = sorted(stacks, key=lambda path: path != first)

    async with SERVED[framework](fake, stacks) as (app, limits):
        served = [await answer(app, "http", path) for path in paths]
        async with AsyncExitStack() as holds:
            await used_up(holds, limits, paths[0][1:])
            refused, other = await answer(app, "http", paths[0]), await answer(app, "http", paths[1])

    assert [status for status, _ in (*served, refused, other)] == [200, 200, 429, 200]
    assert named(refused[1]) == [paths[0][1:]]
    assert int(dict(refused[1])["retry-after"]) >= 1
