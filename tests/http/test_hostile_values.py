"""Keys and costs that a client chose: 422 at every edge, and never the application's failure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.asgi import FailingStore, connect, get
from tests.edges import EDGES, POLICIES
from tests.worlds import StoreWorld, fake_world
from tollhouse import RateLimitMiddleware, RateLimitRule, limit
from tollhouse.errors import InvalidInput, StoreError
from tollhouse.fastapi import RateLimit
from tollhouse.limits.limiter import Limiter
from tollhouse.litestar.routes import RateLimitRoutes

KEYS = {
    "too long": '"' + "k" * 600 + '"',
    "empty": '""',
    "a lone surrogate": '"\\ud800"',
    "a float": "1.5",
    "a boolean": "true",
    "a list": "[]",
    "an object": "{}",
}
COSTS = {
    "negative": "-1",
    "above the bound": "1000000001",
    "a boolean": "true",
    "a float": "1.5",
    "text": '"2"',
    "a list": "[1]",
}
REQUESTS = [
    ("middleware", "/"),
    ("several", "/"),
    ("several", "/job"),
    ("plugin", "/"),
    ("plugin", "/function"),
    ("own plugin", "/"),
    ("dependency", "/"),
    ("function", "/"),
    ("function", "/thread"),
    ("function", "/waiting"),
    ("bare", "/"),
]
LEASES = [("dependency", "/job"), ("function", "/job")]
SOCKETS = [("middleware", "/"), ("several", "/"), ("plugin", "/socket"), ("dependency", "/socket"), ("bare", "/")]


@pytest.fixture
async def fake() -> AsyncIterator[StoreWorld]:
    async with fake_world() as world:
        yield world


def limiter(world: StoreWorld) -> Limiter:
    return Limiter(world.stores.limits, POLICIES, world.keyring, world.metrics)


@pytest.mark.parametrize(("edge", "path"), [*REQUESTS, *LEASES])
async def test_a_key_that_a_client_chose_is_never_our_failure(fake: StoreWorld, edge: str, path: str) -> None:
    """A key that no limiter accepts is 422 problem details that name `key` and never repeat it."""
    app = EDGES[edge](limiter(fake))

    responses = {name: await get(app, path, **{"x-key": key}) for name, key in KEYS.items()}

    for name, response in responses.items():
        assert (name, response.status_code, response.headers["content-type"]) == (name, 422, "application/problem+json")
        assert response.json()["field"].rpartition(".")[2] == "key"
        assert "kkkk" not in response.text
    assert (await get(app, path, **{"x-key": "7"})).status_code == 200


@pytest.mark.parametrize(("edge", "path"), REQUESTS)
async def test_a_cost_that_a_client_chose_is_never_our_failure(fake: StoreWorld, edge: str, path: str) -> None:
    """A cost that is no number of units is 422 problem details that name `cost`."""
    app = EDGES[edge](limiter(fake))

    responses = {name: await get(app, path, **{"x-cost": cost}) for name, cost in COSTS.items()}

    for name, response in responses.items():
        assert (name, response.status_code, response.headers["content-type"]) == (name, 422, "application/problem+json")
        assert response.json()["field"].rpartition(".")[2] == "cost"
    assert (await get(app, path, **{"x-cost": "1000"})).status_code == 200


@pytest.mark.parametrize(("edge", "path"), SOCKETS)
async def test_a_websocket_with_such_a_key_is_refused(fake: StoreWorld, edge: str, path: str) -> None:
    """A websocket gets the same response if the server can send one, else the close code of a violated policy."""
    app = EDGES[edge](limiter(fake))

    for key in KEYS.values():
        told = await connect(app, ["a"], path, headers=[(b"x-key", key.encode())])
        closed = await connect(app, ["a"], path, headers=[(b"x-key", key.encode())], can_deny=False)
        assert (told[0]["type"], told[0]["status"]) == ("websocket.http.response.start", 422)
        assert (closed[0]["type"], closed[0]["code"]) == ("websocket.close", 1008)


async def test_a_message_with_such_a_key_ends_the_websocket(fake: StoreWorld) -> None:
    """The key of a message is judged as that of a request: no later try would fare better."""
    rule = RateLimitRule(policy=None, messages="api", key=lambda _: "")
    app = RateLimitMiddleware(EDGES["bare"](limiter(fake)), limiter=limiter(fake), policy=None, routes={"/*": rule})

    sent = await connect(app, ["a"])

    assert [(message["type"], message.get("code")) for message in sent][-1] == ("websocket.close", 1008)


def failing(world: StoreWorld) -> Limiter:
    return Limiter(FailingStore(), POLICIES, world.keyring, world.metrics)


@pytest.mark.parametrize(("edge", "path"), [case for case in [*REQUESTS, *LEASES] if case[0] != "own plugin"])
async def test_a_store_that_fails_is_503_at_every_edge(fake: StoreWorld, edge: str, path: str) -> None:
    """A store that gives no decision is 503 with Retry-After, whichever edge asked it."""
    response = await get(EDGES[edge](failing(fake)), path)

    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.headers["content-type"] == "application/problem+json"


CONSTANTS: dict[str, Callable[[Limiter], Any]] = {
    "middleware": lambda limits: RateLimitMiddleware(EDGES["bare"](limits), limiter=limits, policy="api", cost=-1),
    "litestar": lambda limits: RateLimitRoutes(limits, policy="api", cost=10**9 + 1),
    "dependency": lambda limits: RateLimit("api", cost=True, limiter=limits),
    "function": lambda limits: limit("api", cost=-1, limiter=limits),
}


@pytest.mark.parametrize("edge", CONSTANTS)
async def test_a_cost_in_the_code_is_checked_at_once(fake: StoreWorld, edge: str) -> None:
    """A constant is the application's own: a wrong one is refused when the limit is made."""
    with pytest.raises(InvalidInput) as refused:
        CONSTANTS[edge](limiter(fake))

    assert refused.value.field == "cost"


async def test_a_key_in_the_code_is_our_own_fault(fake: StoreWorld) -> None:
    """A constant key that no limiter accepts reaches the server as the failure that it is."""

    @limit("api", key="")
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    with pytest.raises(InvalidInput) as refused:
        await get(RateLimitMiddleware(app, limiter=limiter(fake), policy=None))

    assert refused.value.field == "key"


@pytest.mark.parametrize("error", [InvalidInput("key", "", "give text"), StoreError("down")])
async def test_what_no_limit_raised_is_the_applications_own(fake: StoreWorld, error: Exception) -> None:
    """An error of the same type that the application raised for its own reasons stays its failure."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    for _ in range(2):
        with pytest.raises(type(error)):
            await get(RateLimitMiddleware(app, limiter=limiter(fake), policy="api", charge="2xx"))

    assert (await limiter(fake).peek("api", "192.0.2.1")).limits[0].remaining == 10**9
