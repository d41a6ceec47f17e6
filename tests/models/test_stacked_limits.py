"""Two limits around one application, and clients that hang, fail, leave, and are refused by the inner limit."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Literal, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from tests.asgi import hello
from tests.watched import ticks
from tests.worlds import START_MS, StoreWorld
from tollhouse.asgi.ratelimit.decorator import limit
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.asgi.response import discard
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy

KEY = "192.0.2.1"
WINDOW_MS = 60_000
OUTER = 2

End = Literal["served", "inner", "failed", "cancelled"]


SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": (KEY, 4711)}


async def _connected() -> Any:
    await asyncio.Event().wait()


class Round(Struct, frozen=True, kw_only=True):
    """Some time passes, new requests begin, and some of those that hang end, each at a position among them."""

    pass_ms: int
    begin: int
    ends: list[tuple[int, End]]


ROUNDS = st.lists(
    st.builds(
        Round,
        pass_ms=st.sampled_from([0, 0, 30_000, WINDOW_MS - 1, WINDOW_MS, 64_000]),
        begin=st.integers(0, OUTER + 1),
        ends=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(get_args(End))), max_size=3),
    ),
    min_size=2,
    max_size=6,
)


LATE = [
    Round(pass_ms=0, begin=2, ends=[]),
    Round(pass_ms=64_000, begin=2, ends=[(0, "inner"), (0, "failed")]),
    Round(pass_ms=0, begin=2, ends=[]),
]
"""Requests that hang until their window is over, and end uncharged in the next."""


class Clients:
    """Requests to an application behind the outer limit, and an exact log of those that it served and charged."""

    def __init__(self, world: StoreWorld, algorithm: Any, charge: Any) -> None:
        self.world = world
        policies = [parse_policy("outer", f"{OUTER}/minute", algorithm), parse_policy("inner", "1/minute")]
        by_name = {policy.name: policy for policy in policies}
        self.limits = Limiter(world.stores.limits, by_name, world.keyring, world.metrics, clock=lambda: world.now_ms)
        self.app = RateLimitMiddleware(self._serve, limiter=self.limits, policy="outer", charge=charge)
        self.hanging: list[tuple[asyncio.Task[Any], asyncio.Future[End]]] = []
        self.served_ms: list[int] = []
        self.charged = 0
        self._hangs = asyncio.Event()
        self._charges_all = charge is None
        self._work = limit("inner", key="all", limiter=self.limits)(self._nothing)

    async def begin(self) -> None:
        """Send a request, and wait until it hangs or is refused."""
        self._newest = asyncio.create_task(self.app(dict(SCOPE), _connected, discard))
        hangs = asyncio.create_task(self._hangs.wait())
        await asyncio.wait((self._newest, hangs), return_when=asyncio.FIRST_COMPLETED)
        hangs.cancel()
        self._hangs.clear()

    async def end(self, position: int, how: End) -> None:
        """End a request, or cancel it."""
        task, end = self.hanging.pop(position % len(self.hanging))
        if how == "cancelled":
            task.cancel()
        else:
            end.set_result(how)
        with suppress(OSError, asyncio.CancelledError):
            await task
        self.charged += self._charges_all and how in {"failed", "cancelled"}

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        taken_ms, end = self.world.now_ms, asyncio.get_running_loop().create_future()
        self.hanging.append((self._newest, end))
        self._hangs.set()
        match await end:
            case "failed":
                raise OSError("the application failed")
            case "inner":
                await self._work()
        self.served_ms.append(taken_ms)
        self.charged += 1
        await hello(scope, receive, send)

    async def _nothing(self) -> None: ...


@pytest.mark.parametrize(("algorithm", "times"), [("sliding-log", 1), ("sliding-window", 1), ("fixed-window", 2)])
@pytest.mark.parametrize("charge", [None, "2xx"])
@settings(max_examples=settings.default.max_examples // 10)
@given(rounds=ROUNDS)
@example(rounds=LATE)
async def test_no_client_is_served_more_than_the_limit(
    fake: StoreWorld, algorithm: str, times: int, charge: str | None, rounds: list[Round]
) -> None:
    """P1: however requests end, no trailing window serves more than the limit; what was charged is what is counted."""
    await fake.clear()
    fake.step_back(fake.now_ms - START_MS)
    clients = Clients(fake, algorithm, charge)

    for one in rounds:
        await fake.advance(one.pass_ms)
        for _ in range(one.begin):
            await clients.begin()
        for position, how in one.ends[: len(clients.hanging)]:
            await clients.end(position, how)
    while clients.hanging:
        await clients.end(0, "served")
    await clients.limits.aclose()
    await ticks()

    for last_ms in clients.served_ms:
        window = [ms for ms in clients.served_ms if last_ms - WINDOW_MS < ms <= last_ms]
        assert len(window) <= times * OUTER
    left = (await clients.limits.peek("outer", KEY)).limits[0].remaining
    if fake.now_ms - START_MS < WINDOW_MS:
        assert left == OUTER - clients.charged
    await fake.advance(2 * WINDOW_MS)
    assert (await clients.limits.peek("outer", KEY)).limits[0].remaining == OUTER
