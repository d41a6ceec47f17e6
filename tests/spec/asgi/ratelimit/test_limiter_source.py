"""Proxies, dialect, policies and sessions of a middleware are the same whichever way its limiter is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.asgi import get, hello
from tests.worlds import StoreWorld
from tollhouse import wiring
from tollhouse.asgi.ratelimit.limiter_source import limiter_source
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.litestar.routes import RateLimitRoutes
from tollhouse.sessions.outcomes import Issued
from tollhouse.settings.model import LimitSettings, PolicySettings, Settings

Middleware = Callable[..., Any]

ROUTES: dict[str, Any] = {"route_handler": type("Handler", (), {"opt": {}, "resolve_exception_handlers": dict})()}


def settings_of(world: StoreWorld) -> Settings:
    limits = LimitSettings(headers="x-ratelimit", policies={"api": PolicySettings(limit="1/minute")})
    return Settings(url=world.url, secret=(bytes(range(32)),), trusted_proxies=("10.0.0.0/8",), limits=limits)


@asynccontextmanager
async def from_settings(world: StoreWorld) -> AsyncIterator[Middleware]:
    made: list[RateLimitMiddleware] = []

    def make(**arguments: Any) -> RateLimitMiddleware:
        made.append(RateLimitMiddleware(hello, settings=settings_of(world), **arguments))
        return made[-1]

    yield make
    for middleware in made:
        await middleware.aclose()


@asynccontextmanager
async def from_an_open_tollhouse(world: StoreWorld) -> AsyncIterator[Middleware]:
    async with wiring.open(settings_of(world)) as tollhouse:
        yield lambda **arguments: RateLimitMiddleware(hello, limiter=tollhouse, **arguments)


@asynccontextmanager
async def for_routes_of_an_open_tollhouse(world: StoreWorld) -> AsyncIterator[Middleware]:
    async with wiring.open(settings_of(world)) as tollhouse:

        def make(**arguments: Any) -> Any:
            limited: Any = RateLimitRoutes(tollhouse, **arguments)(hello)
            return lambda scope, receive, send: limited({**scope, **ROUTES}, receive, send)

        yield make


WAYS = [from_settings, from_an_open_tollhouse, for_routes_of_an_open_tollhouse]
each_way = pytest.mark.parametrize("way", WAYS)


@each_way
async def test_clients_behind_a_trusted_proxy_are_counted_apart(world: StoreWorld, way: Any) -> None:
    """The proxies that the settings trust are trusted: each client behind them has a limit of its own."""
    async with way(world) as make:
        app = make(policy="api")

        statuses = [
            (await get(app, peer="10.0.0.1", **{"X-Forwarded-For": client})).status_code
            for client in ("198.51.100.1", "198.51.100.2", "198.51.100.1")
        ]

    assert statuses == [200, 200, 429]


@each_way
async def test_the_fields_are_in_the_dialect_of_the_settings(world: StoreWorld, way: Any) -> None:
    """Responses and refusals have the fields that the settings choose; an argument of the middleware wins."""
    async with way(world) as make:
        allowed, refused = [await get(make(policy="api")) for _ in range(2)]
        silent = await get(make(policy="api", headers="off"), peer="192.0.2.9")

    for response in (allowed, refused):
        assert response.headers["x-ratelimit-remaining"] == "0"
        assert "ratelimit" not in response.headers
    assert "x-ratelimit-remaining" not in silent.headers


@each_way
async def test_sessions_can_be_keys(world: StoreWorld, way: Any) -> None:
    """`session` counts by our own session: two sessions behind one address have a limit each."""
    async with wiring.open(settings_of(world)) as tollhouse, way(world) as make:
        issued = [await tollhouse.sessions.create(user=user) for user in ("ada", "bob")]
        tokens = [one.token.reveal() for one in issued if isinstance(one, Issued)]
        app = make(policy="api", key="session")

        statuses = [(await get(app, Authorization=f"Bearer {token}")).status_code for token in (*tokens, tokens[0])]

    assert statuses == [200, 200, 429]


async def test_the_policies_that_hold_are_known_before_anything_opens(world: StoreWorld) -> None:
    """The policies of a source are those that its limiter has: built in, of the settings, and given in the code."""
    given = {"mail": "5/minute", "api": "7/minute"}
    settings = settings_of(world)
    source = limiter_source(settings, policies=given)
    async with wiring.open(settings, policies=given) as tollhouse:
        open_already = limiter_source(tollhouse)

        assert source.policies == open_already.policies == (await source.limiter()).policies
        assert [source.policies[name].text for name in ("mail", "api")] == ["5/minute", "7/minute"]
    await source.aclose()


@each_way
async def test_the_prefix_of_ipv6_clients_may_be_given_by_an_argument(world: StoreWorld, way: Any) -> None:
    """Two /64 of one /56 are two clients, unless the argument says that a provider gives its customers a /56."""
    async with way(world) as make:
        by_settings, by_argument = make(policy="api"), make(policy="api", ipv6_prefix_bits=56)

        settled = [(await get(by_settings, peer=f"2001:db8:1:{one}::1")).status_code for one in (1, 2, 1)]
        argued = [(await get(by_argument, peer=f"2001:db8:2:{one}::1")).status_code for one in (1, 2)]

    assert (settled, argued) == ([200, 200, 429], [200, 429])


@each_way
async def test_no_proxy_may_be_trusted_by_an_argument(world: StoreWorld, way: Any) -> None:
    """An argument replaces the setting, an empty one too."""
    async with way(world) as make:
        app = make(policy="api", trusted_proxies=[])

        statuses = [
            (await get(app, peer="10.0.0.1", **{"X-Forwarded-For": f"192.0.2.{one}"})).status_code for one in (1, 2)
        ]

    assert statuses == [200, 429]
