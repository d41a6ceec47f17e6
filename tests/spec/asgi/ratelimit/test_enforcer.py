"""The price of the gate in functions: their number is exact, and times are noise."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import tollhouse
from tests.asgi import hello, limiter_with
from tests.worlds import StoreWorld
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy

CLIENT = "192.0.2.1"
POLICIES = {
    "listed": parse_policy("listed", "5/minute", allow=(CLIENT,)),
    "api": parse_policy("api", "1/minute"),
}
FUNCTIONS_MAX = {"listed": 27, "api": 45}
"""Functions of ours that a request enters whose decision is known: one that a list allows, and a cached refusal."""
_PACKAGE = str(Path(tollhouse.__file__).parent)


def caching(world: StoreWorld) -> Limiter:
    """Return a limiter whose clock stands, so that every request of a client meets the same refusal."""
    return Limiter(world.stores.limits, POLICIES, world.keyring, world.metrics, refusals_max=8, clock=lambda: 1)


@pytest.mark.parametrize("policy", ["listed", "api"])
async def test_a_request_whose_decision_is_known_passes_few_functions(world: StoreWorld, policy: str) -> None:
    """From the server to the application and back it enters no function that it could do without."""
    app = RateLimitMiddleware(hello, limiter=caching(world), policy=policy, key=lambda _: CLIENT)
    for _ in range(2):
        await functions_entered(app)

    entered = await functions_entered(app)

    assert len(entered) <= FUNCTIONS_MAX[policy], entered


@pytest.mark.parametrize("policy", ["listed", "api"])
async def test_a_request_whose_decision_is_known_waits_for_nothing(world: StoreWorld, policy: str) -> None:
    """It is served in one step of its task, and the store is not called."""
    app = RateLimitMiddleware(hello, limiter=caching(world), policy=policy, key=lambda _: CLIENT)
    for _ in range(2):
        await functions_entered(app)

    serving = app(scope(), receive, send)

    with pytest.raises(StopIteration):
        serving.send(None)


async def test_what_to_await_is_the_take_itself(world: StoreWorld) -> None:
    """A decision that is known is returned as it is, and errors of input are raised at once; the rest is awaited."""
    limits = limiter_with(world, POLICIES)

    assert limits.start_take("listed", CLIENT) == await limits.take("listed", CLIENT)
    started = limits.start_take("api", CLIENT)
    assert not isinstance(started, tollhouse.Decision)
    assert (await started).allowed
    with pytest.raises(tollhouse.InvalidInput):
        limits.start_take("missing", CLIENT)


async def test_one_take_for_each_request(world: StoreWorld) -> None:
    """A request that the store decides takes once, whatever the first answer is."""
    limits = limiter_with(world, {"api": "9/minute"})
    app = RateLimitMiddleware(hello, limiter=limits, policy="api")

    for _ in range(2):
        await app(scope(), receive, send)

    assert (await limits.peek("api", CLIENT)).limits[0].remaining == 7


def scope() -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": "/", "headers": [], "client": (CLIENT, 1), "state": {}}


async def receive() -> dict[str, Any]:
    raise NotImplementedError


async def send(_: Any) -> None:
    return None


async def functions_entered(app: RateLimitMiddleware) -> list[str]:
    """Return the functions of the package that run while a request is served."""
    entered: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_PACKAGE):
            entered.append(frame.f_code.co_qualname)

    asked = scope()
    sys.setprofile(note)
    try:
        await app(asked, receive, send)
    finally:
        sys.setprofile(None)
    return entered
