"""The Litestar plugin: limits per route, features by name, and an end with the application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from litestar import Litestar, Router, WebSocket, asgi, get, websocket
from litestar.di import NamedDependency, Provide
from litestar.types import Receive, Scope, Send

from tests.asgi import connections, until_connections
from tests.worlds import StoreWorld
from tollhouse.errors import ConfigurationError
from tollhouse.litestar import Cache, Limiter, Sessions, TollhousePlugin
from tollhouse.settings import Settings

POLICIES = {"site": "3/minute", "login": "1/minute"}


@get("/")
async def index() -> str:
    return "index"


@get("/login", opt={"rate_limit": "login"})
async def login() -> str:
    return "login"


@get("/free", opt={"rate_limit": False})
async def free() -> str:
    return "free"


@get("/features", opt={"rate_limit": None})
async def features(
    limits: NamedDependency[Limiter], sessions: NamedDependency[Sessions], cache: NamedDependency[Cache]
) -> dict[str, Any]:
    async def load() -> str:
        return "loaded"

    peeked = await limits.peek("login", "ada")
    return {
        "allowed": peeked.allowed,
        "session": await sessions.verify("no token"),
        "cached": await cache.get_or_load("key", load),
    }


def target(world: StoreWorld) -> Settings:
    return Settings(url=world.url, secret=(b"s" * 32,))


def application(world: StoreWorld, **arguments: Any) -> Litestar:
    plugin = TollhousePlugin(target(world), policies=POLICIES, **{"policy": "site", **arguments})
    return Litestar([index, login, free, features], plugins=[plugin], logging_config=None)


@asynccontextmanager
async def client_of(app: Litestar) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.1", 4711))  # pyright: ignore[reportArgumentType] - Litestar types its scope
    async with app.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://app") as client:
        yield client


async def statuses(client: httpx2.AsyncClient, path: str, count: int) -> list[int]:
    return [(await client.get(path)).status_code for _ in range(count)]


async def test_every_route_is_limited_by_the_policy_of_the_application(world: StoreWorld) -> None:
    """A route that says nothing takes from the plugin's policy; the response tells where it stands (C-4)."""
    async with client_of(application(world)) as client:
        first = await client.get("/")
        rest = await statuses(client, "/", 3)
        refused = await client.get("/")

    assert first.headers["ratelimit-policy"] == '"site";q=3;w=60'
    assert rest == [200, 200, 429]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["violated-policies"] == ["site"]


async def test_a_route_names_its_own_policy_or_none(world: StoreWorld) -> None:
    """`rate_limit` in a route's opt names another policy; False or None leaves the route uncounted."""
    async with client_of(application(world)) as client:
        assert await statuses(client, "/login", 2) == [200, 429]
        assert await statuses(client, "/free", 5) == [200] * 5
        assert await statuses(client, "/", 1) == [200]


async def test_without_a_policy_only_routes_that_ask_are_limited(world: StoreWorld) -> None:
    """policy=None limits nothing but the routes that name a policy."""
    async with client_of(application(world, policy=None)) as client:
        assert await statuses(client, "/", 5) == [200] * 5
        assert await statuses(client, "/login", 2) == [200, 429]


async def test_paths_can_be_left_out(world: StoreWorld) -> None:
    """Requests whose path matches `exclude` are not counted."""
    async with client_of(application(world, exclude="^/$")) as client:
        assert await statuses(client, "/", 5) == [200] * 5
        assert await statuses(client, "/login", 2) == [200, 429]


async def test_the_key_may_depend_on_the_request(world: StoreWorld) -> None:
    """A function of the scope chooses whom to count."""
    app = application(world, key=lambda scope: dict(scope["headers"]).get(b"x-user", b"-").decode())

    async with client_of(app) as client:
        answers = [await client.get("/login", headers={"X-User": user}) for user in ("ada", "bob", "ada")]

    assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_handlers_get_the_features_by_name(world: StoreWorld) -> None:
    """Handlers ask for `limits`, `sessions` and `cache`, which share the plugin's connections."""
    async with client_of(application(world)) as client:
        response = await client.get("/features")

    assert response.json() == {"allowed": True, "session": None, "cached": "loaded"}


async def test_dependencies_of_the_application_win(world: StoreWorld) -> None:
    """An application that has a dependency of the same name keeps its own."""

    @get("/own", opt={"rate_limit": False})
    async def own(cache: NamedDependency[str]) -> str:
        return cache

    plugin = TollhousePlugin(target(world))
    app = Litestar(
        [own],
        plugins=[plugin],
        dependencies={"cache": Provide(lambda: "mine", sync_to_thread=False)},
        logging_config=None,
    )

    async with client_of(app) as client:
        assert (await client.get("/own")).text == "mine"


@get("/")
async def mistyped() -> str:
    return ""


@asgi("/mounted", copy_scope=True, opt={"rate_limit": "logn"})
async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotImplementedError


@websocket("/socket", opt={"rate_limit": "logn"})
async def socket(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.close()


@pytest.mark.parametrize("handler", [Router("/r", route_handlers=[mistyped], opt={"rate_limit": "logn"}), mounted])
def test_a_policy_that_does_not_exist_is_found_when_the_application_is_made(handler: Any) -> None:
    """A name that is no policy, of the plugin or of a route or router, is a ConfigurationError at once."""
    with pytest.raises(ConfigurationError, match="missing"):
        TollhousePlugin("fake://", policy="missing")
    with pytest.raises(ConfigurationError, match="logn"):
        Litestar([handler], plugins=[TollhousePlugin("fake://")], logging_config=None)


def test_websockets_are_left_alone() -> None:
    """A websocket is not limited, whatever its opt says."""
    Litestar([socket], plugins=[TollhousePlugin("fake://")], logging_config=None)


async def test_nothing_is_left_when_the_application_ends(embedded: StoreWorld) -> None:
    """The plugin's connections close with the application's lifespan."""
    before = await connections(embedded)
    async with client_of(application(embedded)) as client:
        await client.get("/")
        during = await connections(embedded)

    assert during > before
    await until_connections(embedded, before)
