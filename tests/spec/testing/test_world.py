"""The world of an app's own tests: its clock, what is forgotten, and faults, seen through the app's real layers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

import tollhouse
from tests.watched import ticks
from tollhouse import Issued, Tollhouse
from tollhouse.errors import ConfigurationError, StoreUnavailable
from tollhouse.fastapi import RateLimit
from tollhouse.settings.model import LimitSettings, PolicySettings
from tollhouse.testing import World


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture
async def th(world: World) -> AsyncIterator[Tollhouse]:
    async with tollhouse.open(world.url, policies={"api": "3/minute"}) as th:
        yield th


def app_with(policy: str, url: str, **arguments: Any) -> FastAPI:
    """An app with one limited route."""
    app = FastAPI()
    app.add_api_route("/", lambda: "ok", dependencies=[Depends(RateLimit(policy, limiter=url, **arguments))])
    return app


def statuses(client: TestClient, count: int) -> list[int]:
    """Return how so many requests are answered."""
    return [client.get("/").status_code for _ in range(count)]


@pytest.mark.parametrize("lifespan", [False, True], ids=["without-lifespan", "with-lifespan"])
def test_a_refused_client_is_admitted_when_the_clock_has_moved(world: World, *, lifespan: bool) -> None:
    """The fourth request of a minute is refused until `advance` has let the minute pass, with `with` and without."""
    client = TestClient(app_with("3/minute", world.url))

    with client if lifespan else nullcontext():
        first = statuses(client, 4)
        refused = client.get("/")
        world.advance(seconds=30)
        later = client.get("/")
        world.advance(minutes=1)
        last = statuses(client, 1)

    assert (first, refused.status_code, later.status_code, last) == ([200, 200, 200, 429], 429, 429, [200])
    assert int(refused.headers["Retry-After"]) - int(later.headers["Retry-After"]) == 30


async def test_time_stands_still_between_advances(world: World, th: Tollhouse) -> None:
    """A refusal states the same wait whenever it is read, from the store and from the process."""
    taken = [await th.limits.take("api", "ada") for _ in range(4)]
    began_ms = world.now_ms

    again = await th.limits.take("api", "ada")
    peeked = await th.limits.peek("api", "ada")

    assert again.retry_after_ms == taken[3].retry_after_ms == peeked.retry_after_ms == 60_001
    assert world.now_ms == began_ms


async def test_a_key_lives_by_the_clock_of_the_world(world: World, th: Tollhouse) -> None:
    """A key's time to live passes with `advance` alone, to the millisecond."""
    await th.stores.cache.command("SET", "key", "value", "PX", 1_000)

    world.advance(milliseconds=400)

    assert await th.stores.cache.command("PTTL", "key") == 600
    world.advance(milliseconds=601)
    assert await th.stores.cache.command("EXISTS", "key") == 0


async def test_sessions_end_by_the_clock_of_the_world(world: World, th: Tollhouse) -> None:
    """A session is over once its idle time was advanced over, and what it says of its ends agrees with `now_ms`."""
    issued = await th.sessions.create("ada")
    assert isinstance(issued, Issued)
    idle_ms = issued.session.idle_expires_at - world.now_ms

    world.advance(milliseconds=idle_ms - 60_000)
    alive = await th.sessions.verify(issued.token)
    world.advance(days=365)

    assert alive is not None
    assert await th.sessions.verify(issued.token) is None


async def test_a_cached_value_is_loaded_again_after_its_lifetime(world: World, th: Tollhouse) -> None:
    """S1-13: a cached value is a hit until `advance` passed its lifetime."""
    loads: list[int] = []

    async def load() -> int:
        loads.append(1)
        return len(loads)

    async def read() -> int:
        return await th.cache.get_or_load("key", load, ttl_s=60)

    before = [await read(), await read()]
    world.advance(seconds=61)

    assert (before, await read()) == ([1, 1], 2)


async def test_what_the_process_counts_follows_the_clock(world: World, th: Tollhouse) -> None:
    """While the store is down the process counts its share of a limit by the same clock."""
    with world.down("limits"):
        during = [(await th.limits.take("api", "ada")).allowed for _ in range(4)]
        world.advance(minutes=2)
        after = await th.limits.take("api", "ada")

    assert (during, after.allowed, after.degraded) == ([True, True, True, False], True, True)


async def test_a_call_that_waits_is_released_by_advance(world: World, th: Tollhouse) -> None:
    """`acquire` waits by the clock of the world: it takes as soon as the test has advanced far enough."""
    for _ in range(3):
        await th.limits.take("api", "ada")
    world.advance(seconds=10)
    waiting = asyncio.create_task(th.limits.acquire("api", "ada", wait_ms=60_000))
    await ticks()
    began_s = time.monotonic()

    world.advance(seconds=55)

    assert (await waiting).allowed
    assert time.monotonic() - began_s < 10


def test_data_of_a_name_do_not_outlive_a_world() -> None:
    """Worlds of one name, for an app that is made once, begin empty; so does what the process remembered."""
    with World("fake://app-made-once") as first:
        client = TestClient(app_with("1/day", first.url))
        assert statuses(client, 2) == [200, 429]

    with client, World("fake://app-made-once") as second:
        assert statuses(client, 2) == [200, 429]
        with second.down():
            assert statuses(client, 2) == [200, 429]
        second.reset()
        with second.down():
            assert statuses(client, 2) == [200, 429]


def test_a_refused_client_is_admitted_after_a_reset(world: World) -> None:
    """`reset` empties the stores and what the processes remember of them, in whichever loop the app opened them."""
    with TestClient(app_with("1/day", world.url)) as client:
        before = statuses(client, 2)
        world.reset()

        assert (before, statuses(client, 2)) == ([200, 429], [200, 429])


async def test_a_flushed_store_has_lost_its_data_alone(world: World, th: Tollhouse) -> None:
    """`flush` loses the data of one store, as a server that restarts without its file; sessions stay."""
    issued = await th.sessions.create("ada")
    assert isinstance(issued, Issued)
    for _ in range(4):
        await th.limits.take("api", "ada")

    world.flush("limits")

    assert (await th.limits.take("api", "ada")).allowed
    assert await th.sessions.verify(issued.token) is not None
    world.flush()
    assert await th.sessions.verify(issued.token) is None


async def test_a_store_that_is_down_is_an_outage_to_the_app(world: World, th: Tollhouse) -> None:
    """The app sees what it would see: an error that was not sent, a cache that is bypassed, and the way back."""

    async def load() -> str:
        return "value"

    with world.down():
        with pytest.raises(StoreUnavailable) as raised:
            await th.sessions.create("ada")
        with pytest.raises(StoreUnavailable):
            await th.stores.limits.ping()
        read = await th.cache.fetch("key", load)
        stats = await th.cache.stats()
    afterwards = await th.cache.fetch("key", load)

    assert (raised.value.store, raised.value.outcome) == ("sessions", "not-sent")
    assert (read.status, afterwards.status) == ("BYPASS", "MISS")
    assert stats.message == "Cache is unavailable"


@pytest.mark.parametrize(
    ("on_outage", "expected"), [("open", [200, 200]), ("closed", [503, 503]), ("local", [200, 429])]
)
def test_an_outage_follows_the_rule_of_the_policy(world: World, on_outage: str, expected: list[int]) -> None:
    """The outage rule of a policy decides from the first call on, also about a client that was refused before."""
    settings = tollhouse.Settings(
        url=world.url,
        limits=LimitSettings(policies={"api": PolicySettings(limit="1/minute", on_outage=on_outage)}),
    )
    app = FastAPI()
    app.add_api_route("/", lambda: "ok")
    client = TestClient(tollhouse.RateLimitMiddleware(app, settings=settings, policy="api"))

    with client:
        before = statuses(client, 2)
        with world.down("limits"):
            during = statuses(client, 2)

    assert (before, during) == ([200, 429], expected)


async def test_only_the_named_store_is_down(world: World, th: Tollhouse) -> None:
    """A fault of one store leaves the others alone; faults nest, and each ends with its block."""
    with world.down("cache"), world.down("cache"):
        assert await th.stores.limits.ping() >= 0
        with pytest.raises(StoreUnavailable):
            await th.stores.cache.ping()
        assert not th.cache.is_available
    assert await th.stores.cache.ping() >= 0
    assert th.cache.is_available


async def test_a_slow_store_answers_late_or_not_in_time(world: World) -> None:
    """A slow store answers late; beyond the deadline of the settings the call fails, and may have run."""
    settings = tollhouse.Settings(url=world.url, deadline_ms=50)
    async with tollhouse.open(settings) as th:
        began_s = time.monotonic()
        with world.slow(seconds=0.02):
            await th.stores.cache.command("SET", "a", "1")
            took_s = time.monotonic() - began_s
        with world.slow("cache", seconds=30), pytest.raises(StoreUnavailable) as raised:
            await th.stores.cache.command("INCR", "a")

        assert took_s >= 0.02
        assert raised.value.outcome == "ambiguous"
        assert await th.stores.cache.command("GET", "a") == b"2"


@pytest.mark.parametrize("store", ["limit", "Sessions", ""])
def test_a_store_that_does_not_exist_is_an_error(world: World, store: str) -> None:
    """A fault for a store of another name is refused, with those that there are."""
    with pytest.raises(ConfigurationError) as raised, world.down(store):  # type: ignore[arg-type] - the mistake
        pass

    assert raised.value.setting == "store"


@pytest.mark.parametrize("url", ["redis://localhost", "embedded://", "fake//x"])
def test_a_world_has_a_fake_server(url: str) -> None:
    """A world over a real server is refused: its clock cannot be moved."""
    with pytest.raises(ConfigurationError) as raised:
        World(url)

    assert "0)" not in str(raised.value.value), "the error names a database that the URL does not"


@pytest.mark.parametrize("arguments", [{}, {"seconds": 0}, {"seconds": -1}, {"minutes": 1, "seconds": -90}])
def test_time_only_moves_forward(world: World, arguments: dict[str, float]) -> None:
    """An advance by nothing, or back, is a mistake of the test."""
    with pytest.raises(ConfigurationError):
        world.advance(**arguments)


def test_two_worlds_have_nothing_in_common() -> None:
    """Worlds without a name have data, clocks and faults of their own."""
    with World() as one, World() as other:
        began_ms = other.now_ms
        one.advance(days=1)
        clients = [TestClient(app_with("1/minute", each.url)) for each in (one, other)]

        with one.down():
            found = [statuses(client, 1) for client in clients]

        assert found == [[200], [200]]
        assert other.now_ms == began_ms


def test_responses_state_times_of_the_world(world: World) -> None:
    """A field with the time of the reset has it by the clock of the world."""
    app = tollhouse.RateLimitMiddleware(
        FastAPI(), url=world.url, policies={"api": "1/minute"}, policy="api", headers="x-ratelimit-epoch"
    )

    first = TestClient(app).get("/")
    world.advance(days=1)
    later = TestClient(app).get("/")

    resets = [int(each.headers["X-RateLimit-Reset"]) for each in (first, later)]
    assert resets[0] == -(-(world.now_ms - 86_400_000 + 60_001) // 1000)
    assert 0 < resets[1] - world.now_ms / 1000 <= 64


MISTAKES: list[Callable[[World], object]] = [
    lambda world: world.slow(seconds=0),
    lambda world: world.__enter__(),
    lambda _: World().advance(seconds=1),
    lambda _: World().__exit__(None, None, None),
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_test_is_an_error(world: World, mistake: Callable[[World], object]) -> None:
    """No delay, a second world of the name, and a world that is not open are refused."""
    with pytest.raises(ConfigurationError):
        mistake(world)
