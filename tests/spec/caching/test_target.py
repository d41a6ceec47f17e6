"""What `cache=` may be, and the cache of a call that names none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import tollhouse
from tests.asgi import get, limiter_with
from tests.caches import open_cache
from tests.worlds import StoreWorld
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.caching.decorators import rcached
from tollhouse.errors import ConfigurationError
from tollhouse.settings import Settings


def counting(target: Any = None) -> tuple[Callable[[], Awaitable[int]], list[int]]:
    """Return a cached function, and the list of its calls."""
    calls: list[int] = []

    @rcached(ttl=60, key="counting", cache=target)
    async def count() -> int:
        calls.append(1)
        return len(calls)

    return count, calls


def served(function: Callable[..., Any], **options: Any) -> RateLimitMiddleware:
    """Return an application with our middleware whose one route calls a function."""

    async def endpoint(_: Request) -> Response:
        return PlainTextResponse(str(await function()))

    def thread(_: Request) -> Response:
        return PlainTextResponse(str(function()))

    inner = Starlette(routes=[Route("/", endpoint), Route("/thread", thread)])
    return RateLimitMiddleware(inner, policy=None, **options)


@pytest.mark.parametrize("kind", ["manager", "cache", "tollhouse", "settings", "url"])
async def test_a_cache_may_be_open_or_be_opened(world: StoreWorld, kind: str) -> None:
    """S4-01: an open CacheManager, Cache or Tollhouse is used and stays open; settings and a URL open on first use."""
    async with tollhouse.open(world.url) as opened:
        targets = {
            "manager": tollhouse.CacheManager(opened),
            "cache": opened.cache,
            "tollhouse": opened,
            "settings": Settings(url=world.url),
            "url": world.url,
        }
        function, calls = counting(targets[kind])

        assert [await function(), await function(), len(calls)] == [1, 1, 1]
        assert await opened.cache.get_or_load("open", _seven) == 7


async def test_equal_settings_share_their_connections(world: StoreWorld) -> None:
    """Two functions with one URL use one cache in an event loop, so that a call of both is counted there once."""
    function, _ = counting(world.url)
    again, calls = counting(world.url)

    assert [await function(), await again(), calls] == [1, 1, []]


def test_each_event_loop_has_a_cache_of_its_own() -> None:
    """A function is called in one event loop after the other, as a test suite and a worker do, without an error."""
    function, calls = counting("fake://loops")

    assert [asyncio.run(_awaited(function)) for _ in range(3)] == [1, 1, 1]
    assert calls == [1]


async def test_inside_a_request_it_is_the_cache_of_the_middleware(world: StoreWorld) -> None:
    """Nothing is global: the middleware that serves the request brings its store, also into its threads."""
    function, calls = counting()

    @rcached(ttl=60, key="plain")
    def plain() -> int:
        calls.append(1)
        return len(calls)

    found = [(await get(served(function, url=world.url))).text for _ in range(2)]
    found += [(await get(served(plain, url=world.url), "/thread")).text for _ in range(2)]
    async with tollhouse.open(world.url) as opened:
        outside, _ = counting(opened)
        found.append(str(await outside()))

    assert found == ["1", "1", "2", "2", "1"]


async def test_a_task_that_outlives_its_request_keeps_the_cache(world: StoreWorld) -> None:
    """What a task does after the response, such as an invalidation, reaches the store that the request read from."""
    function, calls = counting()
    late: list[asyncio.Task[int]] = []
    answered = asyncio.Event()

    async def after() -> int:
        await answered.wait()
        return await function()

    async def begin() -> int:
        late.append(asyncio.create_task(after()))
        return await function()

    first = (await get(served(begin, url=world.url))).text
    answered.set()

    assert (first, await late[0], calls) == ("1", 1, [1])


async def test_a_limiter_alone_brings_no_cache(
    world: StoreWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Behind a middleware that was given a Limiter, and outside of a request, the cache is that of the settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOLLHOUSE_URL", "fake://settings")
    function, _ = counting()
    app = served(function, limiter=limiter_with(world, {}))
    inside, (other, calls) = (await get(app)).text, counting("fake://settings")

    assert (inside, await function(), await other(), calls) == ("1", 1, 1, [])


async def test_an_open_cache_does_not_serve_a_thread(world: StoreWorld) -> None:
    """An open cache belongs to its event loop; outside of a request a function that is not async needs a URL."""

    @rcached(ttl=60, cache=open_cache(world))
    def plain() -> int:
        return 1

    with pytest.raises(ConfigurationError) as refused:
        await asyncio.to_thread(plain)

    assert refused.value.setting == "cache"


async def _awaited(function: Callable[[], Awaitable[int]]) -> int:
    return await function()


async def _seven() -> int:
    return 7


class Money:
    """A class of the application that msgspec does not know."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and self.cents == other.cents

    __hash__ = None  # type: ignore[assignment] - it is compared only


def manager_on(world: StoreWorld, **options: Any) -> tollhouse.CacheManager:
    serializers = {Money: (lambda money: money.cents, Money)}
    return tollhouse.CacheManager(open_cache(world), serializers=serializers, **options)


async def test_results_are_stored_as_the_values_of_a_manager(world: StoreWorld) -> None:
    """With `cache=manager` its serializers and codec count: a function and a `get` of the key find the same objects."""
    manager, calls = manager_on(world), list[int]()

    @rcached(ttl=60, key=lambda number: f"price:{number}", cache=manager)
    async def price(number: int) -> dict[str, list[Money]]:
        calls.append(number)
        return {"prices": [Money(number)], "$type": []}

    @rcached(ttl=60, cache=manager)
    async def days(number: int) -> dict[int, date]:
        return {number: date(2026, 11, 28)}

    found = [await price(7), await price(7), await manager.get("price:7")]
    await manager.set("price:8", {"prices": [Money(80)]})

    assert found == [{"prices": [Money(7)], "$type": []}] * 3
    assert await price(8) == {"prices": [Money(80)]}
    assert calls == [7]
    assert [await days(1), await days(1)] == [{1: date(2026, 11, 28)}] * 2
    (name,) = await world.command("cache", "KEYS", "tollhouse:days:*")
    assert (await world.command("cache", "GET", name)).endswith(b'{"1":"2026-11-28"}')


async def test_a_value_without_its_serializer_is_computed_again(world: StoreWorld) -> None:
    """Another process may have stored an object of a class that this one does not know."""
    manager = manager_on(world)
    await manager.set("price:7", Money(7))

    @rcached(
        ttl=60,
        key=lambda number: f"price:{number}",
        cache=tollhouse.CacheManager(manager.cache, serializers={date: (str, str)}),
    )
    async def price(number: int) -> int:
        return 100 * number

    assert [await price(7), await price(7)] == [700, 700]


@pytest.mark.parametrize(("own", "expected_s"), [(None, 30), (60, 60)])
async def test_the_lifetime_is_that_of_the_manager_unless_the_function_has_one(
    world: StoreWorld, own: int | None, expected_s: int
) -> None:
    """`ttl=None` leaves it to the manager."""

    @rcached(ttl=own, cache=manager_on(world, ttl=30))
    async def count() -> int:
        return 1

    assert (await count.fetch()).ttl_ms == expected_s * 1000


async def test_without_any_lifetime_a_function_is_refused(world: StoreWorld) -> None:
    """A manager whose lifetime is that of the settings has none of its own to give."""
    with pytest.raises(ConfigurationError):
        rcached(ttl=None, cache=manager_on(world))(_seven)
