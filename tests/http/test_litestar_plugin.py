"""The Litestar plugin: limits per route, features by name, and an end with the application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from litestar import Litestar, Request, Response, Router, WebSocket, asgi, get, websocket
from litestar.di import NamedDependency, Provide
from litestar.exceptions import NotFoundException
from litestar.middleware import ASGIMiddleware
from litestar.params import FromPath, FromQuery
from litestar.types import ASGIApp, Receive, Scope, Send

from tests.asgi import connect, connections, until_connections
from tests.structured_fields import parse_list
from tests.worlds import StoreWorld
from tollhouse import RateLimited, RateLimitRule, limit
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


@pytest.mark.parametrize(
    "handler", [Router("/r", route_handlers=[mistyped], opt={"rate_limit": "logn"}), mounted, socket]
)
def test_a_policy_that_does_not_exist_is_found_when_the_application_is_made(handler: Any) -> None:
    """A name that is no policy, of the plugin or of a route or router, is a ConfigurationError at once."""
    with pytest.raises(ConfigurationError) as of_plugin:
        TollhousePlugin("fake://", policy="missing")
    with pytest.raises(ConfigurationError) as of_route:
        Litestar([handler], plugins=[TollhousePlugin("fake://")], logging_config=None)

    assert (of_plugin.value.value, of_route.value.value) == ("missing", "logn")


async def test_a_websocket_is_limited_like_a_route(world: StoreWorld) -> None:
    """A websocket is counted when it connects, by the policy of its opt or of the application."""

    @websocket("/chat", opt={"rate_limit": "login"})
    async def chat(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.close()

    plugin = TollhousePlugin(target(world), policies=POLICIES)
    app = Litestar([chat], plugins=[plugin], logging_config=None)

    async with app.lifespan():
        served = await connect(app, path="/chat")
        refused = await connect(app, path="/chat")

    assert [message["type"] for message in served] == ["websocket.accept", "websocket.close"]
    assert dict(served[0]["headers"])[b"ratelimit"].startswith(b'"login";r=0;')
    assert refused[0]["status"] == 429


async def test_each_message_of_a_websocket_may_be_counted(world: StoreWorld) -> None:
    """A rule in the opt of a websocket counts its messages; the one above the limit ends the connection."""

    @websocket("/chat", opt={"rate_limit": RateLimitRule(messages="login")})
    async def chat(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        async for text in socket.iter_data():
            await socket.send_text(text)

    app = Litestar([chat], plugins=[TollhousePlugin(target(world), policies=POLICIES)], logging_config=None)

    async with app.lifespan():
        sent = await connect(app, ["a", "b"], path="/chat")

    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert sent[-1]["code"] == 1013


async def test_a_refusal_in_a_websocket_ends_it(world: StoreWorld) -> None:
    """RateLimited from a function that a websocket calls closes it with 1013, or denies it before it is accepted."""

    @limit("login", key="all")
    async def answer(socket: WebSocket[Any, Any, Any], text: str) -> None:
        await socket.send_text(text)

    @websocket("/chat")
    async def chat(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        async for text in socket.iter_data():
            await answer(socket, text)

    @websocket("/never")
    async def never(socket: WebSocket[Any, Any, Any]) -> None:
        await answer(socket, "text")

    plugin = TollhousePlugin(target(world), policies=POLICIES, policy=None)
    app = Litestar([chat, never], plugins=[plugin], logging_config=None)

    async with app.lifespan():
        closed = await connect(app, ["a", "b"], path="/chat")
        denied = await connect(app, path="/never")

    assert (closed[-1]["type"], closed[-1]["code"]) == ("websocket.close", 1013)
    assert denied[0]["status"] == 429


async def test_a_limited_handler_is_answered_without_a_handler_for_it(world: StoreWorld) -> None:
    """`@limit` on a route handler, async or not, finds the request, and its refusal is the same 429 as any."""

    @get("/async")
    @limit("1/minute")
    async def asynchronous(city: FromQuery[str]) -> str:
        return city

    @get("/sync", sync_to_thread=True)
    @limit("1/minute")
    def synchronous() -> str:
        return "done"

    plugin = TollhousePlugin(target(world), policies=POLICIES, policy="site")
    app = Litestar([asynchronous, synchronous], plugins=[plugin], logging_config=None)

    async with client_of(app) as client:
        for path in ("/async?city=Oslo", "/sync"):
            first, refused = await client.get(path), await client.get(path)

            assert (first.status_code, refused.status_code) == (200, 429)
            assert refused.headers["content-type"] == "application/problem+json"
            assert parse_list(refused.headers["ratelimit"])[0][0] == "site"
            assert len(refused.headers.get_list("ratelimit")) == 1


async def test_a_route_may_say_more_than_a_policy(world: StoreWorld) -> None:
    """The opt of a route names several policies, or gives a rule with a key, a cost and what is charged."""

    @get("/both", opt={"rate_limit": ["site", "login"]})
    async def both() -> str:
        return "both"

    @get("/city/{name:str}", opt={"rate_limit": RateLimitRule(policy="login", key="path:name", charge="4xx")})
    async def city(name: FromPath[str]) -> str:
        if name == "Atlantis":
            raise NotFoundException
        return name

    plugin = TollhousePlugin(target(world), policies=POLICIES, exempt=lambda scope: "exempt" in scope["path"])
    app = Litestar([both, city], plugins=[plugin], logging_config=None)

    async with client_of(app) as client:
        assert await statuses(client, "/both", 2) == [200, 429]
        assert await statuses(client, "/city/Oslo", 3) == [200, 200, 200]
        assert await statuses(client, "/city/Atlantis", 3) == [404, 429, 429]
        assert await statuses(client, "/city/exempt", 1) == [200]


async def test_the_innermost_place_knows_who_was_authenticated(world: StoreWorld) -> None:
    """Behind the application's own middleware the user that they found is counted; in front, the address."""

    class Authentication(ASGIMiddleware):
        async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
            scope["user"] = dict(scope["headers"])[b"x-user"].decode()
            await next_app(scope, receive, send)

    def app(**arguments: Any) -> Litestar:
        plugin = TollhousePlugin(target(world), policies=POLICIES, policy="login", key="user", **arguments)
        return Litestar([index], middleware=[Authentication()], plugins=[plugin], logging_config=None)

    found: list[list[int]] = []
    for arguments in ({"innermost": True}, {}):
        async with client_of(app(**arguments)) as client:
            found.append([(await client.get("/", headers={"X-User": user})).status_code for user in ("a", "b", "a")])

    assert found == [[200, 200, 429], [200, 429, 429]]


async def test_an_answer_of_the_application_wins(world: StoreWorld) -> None:
    """An application that has a handler for RateLimited answers as it likes; clients are told in its dialect."""

    @get("/")
    @limit("1/minute")
    async def limited() -> str:
        return "done"

    def answer(_: Request[Any, Any, Any], refused: RateLimited) -> Response[str]:
        return Response("slow down", status_code=420)

    plugin = TollhousePlugin(target(world), policies=POLICIES, headers="x-ratelimit")
    app = Litestar([limited], plugins=[plugin], exception_handlers={RateLimited: answer}, logging_config=None)

    async with client_of(app) as client:
        first, second = await client.get("/"), await client.get("/")

    assert (second.status_code, second.text) == (420, "slow down")
    assert first.headers["x-ratelimit-limit"] == "1"


async def test_nothing_is_left_when_the_application_ends(embedded: StoreWorld) -> None:
    """The plugin's connections close with the application's lifespan."""
    before = await connections(embedded)
    async with client_of(application(embedded)) as client:
        await client.get("/")
        during = await connections(embedded)

    assert during > before
    await until_connections(embedded, before)
