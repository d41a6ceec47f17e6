"""The tests of an app as its developers write them, which `test_pytest_plugin.py` runs in a pytest of its own.

The app is made once, without a URL: `conftest.py` of the page about tests sets it. `OPEN` is open in all tests.
"""

from __future__ import annotations

import asyncio
import secrets
import unittest
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from httpx2 import ASGITransport, AsyncClient
from litestar import Litestar, get
from litestar.testing import TestClient as LitestarClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

import tollhouse
from tollhouse.litestar import TollhousePlugin
from tollhouse.testing import World, limits_off

LIMIT = "3/minute"
DAILY = "3/day"
"""One that the time between two worlds does not give back."""
ALL_ADMITTED, LAST_REFUSED = [200] * 4, [200, 200, 200, 429]


def index(_: Request) -> Response:
    return PlainTextResponse("hello")


def limited(url: str | None = None) -> Any:
    return tollhouse.RateLimitMiddleware(
        Starlette(routes=[Route("/", index)]), url=url, policies={"suite": LIMIT}, policy="suite"
    )


@get("/", sync_to_thread=False)
def litestar_index() -> str:
    return "hello"


@tollhouse.limit(DAILY, key="all", limiter="fake://tests")
def plain_function() -> int:
    return 200


def calls_of_plain_function() -> list[int]:
    """Return 200 for each of four calls that is admitted, and 429 for one that is refused."""
    found: list[int] = []
    for _ in range(4):
        try:
            found.append(plain_function())
        except tollhouse.RateLimited:
            found.append(429)
    return found


APP = limited()
LITESTAR = Litestar([litestar_index], plugins=[TollhousePlugin(policies={"suite": LIMIT}, policy="suite")])
OPEN = TestClient(APP)


def statuses(client: Any) -> list[int]:
    return [client.get("/").status_code for _ in range(4)]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def module_client() -> Any:
    """A client whose event loop outlives each test."""
    with TestClient(APP) as client:
        yield client


CLIENTS: dict[str, Callable[[], Any]] = {
    "without-lifespan": lambda: nullcontext(TestClient(APP)),
    "with-lifespan": lambda: TestClient(APP),
    "open": lambda: nullcontext(OPEN),
    "litestar": lambda: LitestarClient(LITESTAR),
}


@pytest.mark.parametrize("made", CLIENTS)
def test_the_fourth_request_is_refused_until_a_minute_has_passed(made: str, tollhouse_world: World) -> None:
    """The app made once begins anew in each test, and its clock is the test's."""
    with CLIENTS[made]() as client:
        first = statuses(client)
        tollhouse_world.advance(seconds=61)

        assert (first, statuses(client)) == (LAST_REFUSED, LAST_REFUSED)


@pytest.mark.parametrize("turn", range(3))
def test_a_loop_that_outlives_the_test_keeps_nothing_of_it(
    turn: int, module_client: TestClient, tollhouse_world: World
) -> None:
    """Refusals and counts of an outage that the process remembers end with the test."""
    first = statuses(module_client)
    with tollhouse_world.down("limits"):
        during = statuses(module_client)

    assert (first, during) == (LAST_REFUSED, LAST_REFUSED)


@pytest.mark.parametrize("turn", range(2))
def test_a_plain_function_begins_anew_too(turn: int, tollhouse_world: World) -> None:
    """A function with a limit outside a request has one event loop for all tests, and the test's clock."""
    first = calls_of_plain_function()
    tollhouse_world.advance(days=2)

    assert (first, calls_of_plain_function()) == (LAST_REFUSED, LAST_REFUSED)


@pytest.mark.anyio
@pytest.mark.parametrize("turn", range(3))
async def test_async_tests_that_share_a_loop_share_no_data(turn: int, tollhouse_world: World) -> None:
    """The connections of the loop stay open from test to test; what they find does not."""
    async with AsyncClient(transport=ASGITransport(APP), base_url="http://app") as client:
        first = [(await client.get("/")).status_code for _ in range(4)]
        tollhouse_world.advance(seconds=61)

        assert first == LAST_REFUSED
        assert (await client.get("/")).status_code == 200


@pytest.mark.parametrize("lifespan", [False, True])
def test_limits_are_off_on_any_server(lifespan: bool, tollhouse_limits_off: None) -> None:
    """The fixture turns off limits of apps on other servers, without a world."""
    client = TestClient(limited("embedded://"))
    with client if lifespan else nullcontext():
        assert statuses(client) == ALL_ADMITTED


@pytest.mark.parametrize("lifespan", [False, True])
@pytest.mark.parametrize("url", ["fake://NAME", "embedded://"])
def test_a_test_without_fixtures_is_left_alone(url: str, lifespan: bool) -> None:
    """An ordinary test of an app sees its fourth request refused, on the fake and on the embedded server."""
    app = tollhouse.RateLimitMiddleware(
        Starlette(routes=[Route("/", index)]),
        url=url.replace("NAME", secrets.token_hex(8)),
        namespace=f"n{secrets.token_hex(8)}",
        policies={"suite": LIMIT},
        policy="suite",
    )
    client = TestClient(app)
    with client if lifespan else nullcontext():
        assert statuses(client) == LAST_REFUSED


async def read_twice() -> list[str]:
    async def load() -> str:
        return "value"

    async with tollhouse.open() as th:
        return [(await th.cache.fetch("key", load)).status for _ in range(2)]


def test_the_cache_is_off_in_a_world(tollhouse_world: World) -> None:
    """S1-33: no test depends on what is cached unless it says so."""
    assert asyncio.run(read_twice()) == ["DISABLED"] * 2


@pytest.mark.parametrize("turn", range(2))
def test_the_cache_is_on_for_a_test_that_needs_it(turn: int, tollhouse_cache: World) -> None:
    """Each test begins with an empty cache."""
    assert asyncio.run(read_twice()) == ["MISS", "HIT"]


def test_the_cache_is_off_without_a_world(tollhouse_cache_off: None) -> None:
    """The fixture works for any server."""
    assert asyncio.run(read_twice()) == ["DISABLED"] * 2


class WithUnittest(unittest.TestCase):
    """Tests that are no functions use the context managers."""

    def test_a_world_without_pytest(self) -> None:
        """A world needs no fixture."""
        with World() as world:
            client = TestClient(limited(world.url))
            assert statuses(client) == LAST_REFUSED
            with limits_off():
                assert statuses(client) == ALL_ADMITTED
