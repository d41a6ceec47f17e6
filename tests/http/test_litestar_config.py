"""Litestar's own RateLimitConfig with our middleware: everything that it says holds, and the limit does too."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from litestar import Litestar, Request, asgi, get
from litestar.datastructures import State
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.stores.memory import MemoryStore
from litestar.stores.redis import RedisStore
from litestar.types import Receive, Scope, Send

from tests.asgi import FailingStore
from tests.worlds import StoreWorld
from tollhouse.asgi.ratelimit.limiter_source import limiter_source
from tollhouse.errors import ConfigurationError
from tollhouse.limits.limiter import Limiter
from tollhouse.litestar import AtomicRateLimitMiddleware, TollhousePlugin
from tollhouse.litestar.server import settings_for_store
from tollhouse.settings import Settings
from tollhouse.stores import urls


@get("/")
async def index() -> str:
    return "index"


@get("/free", opt={"no_limit": True})
async def free() -> str:
    return "free"


@get("/schema-like")
async def excluded() -> str:
    return "excluded"


@asgi("/mounted", is_mount=True, copy_scope=True)
async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"mounted", "more_body": False})


def config(**arguments: Any) -> RateLimitConfig:
    return RateLimitConfig(**{"rate_limit": ("minute", 2), "middleware_class": AtomicRateLimitMiddleware, **arguments})


def application(world: StoreWorld, *configs: RateLimitConfig, **arguments: Any) -> Litestar:
    plugins = [TollhousePlugin(Settings(url=world.url, secret=(b"s" * 32,)), policy=None)]
    return Litestar(
        [index, free, excluded, mounted],
        middleware=[one.middleware for one in configs],
        logging_config=None,
        openapi_config=None,
        **{"plugins": plugins, **arguments},
    )


@asynccontextmanager
async def client_of(app: Litestar, peer: str = "192.0.2.1") -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=app, client=(peer, 4711))  # pyright: ignore[reportArgumentType] - Litestar types its scope
    async with app.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://app") as client:
        yield client


async def statuses(client: httpx2.AsyncClient, count: int, path: str = "/", **headers: str) -> list[int]:
    return [(await client.get(path, headers=headers)).status_code for _ in range(count)]


async def test_the_answers_are_litestars_with_retry_after(world: StoreWorld) -> None:
    """Within the limit and above it the client sees the fields that it knows, and at last for how long to wait."""
    async with client_of(application(world, config())) as client:
        first, _, refused = [await client.get("/") for _ in range(3)]

    assert first.headers["ratelimit-policy"] == "2; w=60"
    assert (first.headers["ratelimit-limit"], first.headers["ratelimit-remaining"]) == ("2", "1")
    assert 0 < int(first.headers["ratelimit-reset"]) <= 64
    assert refused.status_code == 429
    assert refused.json() == {"status_code": 429, "detail": "Too Many Requests"}
    assert refused.headers["ratelimit-remaining"] == "0"
    assert int(refused.headers["retry-after"]) > 0


async def test_the_fields_may_have_other_names_or_none(world: StoreWorld) -> None:
    """The names of the fields are those of the configuration; Retry-After stays when the others are switched off."""
    named = config(rate_limit_limit_header_key="X-Limit", rate_limit=("hour", 5), store="named")
    silent = config(set_rate_limit_headers=False)

    async with client_of(application(world, named, silent)) as client:
        response, _, refused = [await client.get("/") for _ in range(3)]

    assert response.headers["x-limit"] == "5"
    assert "ratelimit-limit" not in response.headers
    assert "retry-after" in refused.headers


async def test_what_the_configuration_excludes_is_not_counted(world: StoreWorld) -> None:
    """Patterns of paths, the key in a route's opt and the handler that decides are asked as Litestar asks them."""

    async def checks(request: Request[Any, Any, Any]) -> bool:
        return "x-skip" not in request.headers

    limited = config(exclude="^/schema", exclude_opt_key="no_limit", check_throttle_handler=checks)

    async with client_of(application(world, limited)) as client:
        assert await statuses(client, 4, "/schema-like") == [200] * 4
        assert await statuses(client, 4, "/free") == [200] * 4
        assert await statuses(client, 4, **{"x-skip": "1"}) == [200] * 4
        assert await statuses(client, 3) == [200, 200, 429]


async def test_who_is_counted_is_up_to_the_configuration(world: StoreWorld) -> None:
    """The identifier is that of the configuration, and a mount counts for itself, as with Litestar."""
    limited = config(identifier_for_request=lambda request: request.headers.get("x-user", "nobody"))

    async with client_of(application(world, limited)) as client:
        assert await statuses(client, 3, **{"x-user": "ada"}) == [200, 200, 429]
        assert await statuses(client, 1, **{"x-user": "bob"}) == [200]
        assert await statuses(client, 3, "/mounted") == [200, 200, 429]


async def test_limits_of_two_rates_do_not_disturb_each_other(world: StoreWorld) -> None:
    """Two configurations count apart, without a store for each; the outermost of them speaks, as with Litestar."""
    async with client_of(application(world, config(), config(rate_limit=("hour", 3)))) as client:
        responses = [await client.get("/") for _ in range(3)]

    assert [response.status_code for response in responses] == [200, 200, 429]
    assert responses[0].headers.get_list("ratelimit-policy") == ["2; w=60"]


async def test_the_limit_holds_for_all_requests_and_processes_at_once(world: StoreWorld) -> None:
    """Of many requests to two applications at the same time exactly as many pass as the limit admits."""
    one, other = (
        application(world, config(rate_limit=("minute", 5))),
        application(world, config(rate_limit=("minute", 5))),
    )

    async with client_of(one) as first, client_of(other) as second:
        both = [client.get("/") for client in (first, second) for _ in range(10)]
        responses = await asyncio.gather(*both)

    assert sorted(response.status_code for response in responses) == [200] * 5 + [429] * 15


async def test_an_identifier_out_of_bounds_is_the_clients_fault(world: StoreWorld) -> None:
    """An identifier that no limiter takes is 422, without repeating it."""
    async with client_of(application(world, config(identifier_for_request=lambda _: "k" * 600))) as client:
        response = await client.get("/")

    assert response.status_code == 422
    assert response.json()["detail"].startswith("key: give 1 to")


async def test_a_defect_of_the_store_is_no_defect_of_the_application(world: StoreWorld) -> None:
    """A store that answers with an error is 503, with Retry-After."""
    source = limiter_source(Limiter(FailingStore(), {}, world.keyring, world.metrics))
    state = State({"tollhouse_rate_limit": source})

    async with client_of(application(world, config(), plugins=[], state=state)) as client:
        response = await client.get("/")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"


async def test_the_servers_of_a_redis_store_keep_the_counters(embedded: StoreWorld) -> None:
    """Without the plugin the limit is kept on the server of the configured store; the store itself stays empty."""
    stores = {"limits": RedisStore.with_client(f"{embedded.url}?db=1")}

    async with client_of(application(embedded, config(store="limits"), plugins=[], stores=stores)) as client:
        assert await statuses(client, 3) == [200, 200, 429]

    keys = [key async for key in _keys(embedded)]
    await stores["limits"]._redis.aclose(close_connection_pool=True)  # pyright: ignore[reportPrivateUsage] - its owner would close it
    assert [key.split(b":")[:2] for key in keys] == [[b"tollhouse", b"rate"]]


async def _keys(world: StoreWorld) -> AsyncIterator[bytes]:
    for key in await world.command("limits", "KEYS", "*"):
        yield key


ADDRESSES = [
    ("redis://h:6380/3", "redis://h:6380?db=3"),
    ("redis://ada:p%40ss@h", "redis://ada:p%40ss@h:6379?db=0"),
    ("redis://:secret@[::1]:7000/1", "redis://:secret@[::1]:7000?db=1"),
    ("rediss://h/1?ssl_ca_certs=/etc/ca.pem", "rediss://h:6379?db=1&ssl_ca_certs=%2Fetc%2Fca.pem"),
    (
        "rediss://h?ssl_certfile=/c&ssl_keyfile=/k&ssl_password=p&ssl_cert_reqs=none",
        "rediss://h:6379?db=0&ssl_cert_reqs=none&ssl_certfile=%2Fc&ssl_keyfile=%2Fk&ssl_password=p",
    ),
    ("unix:///run/valkey.sock?db=2", "unix:///run/valkey.sock?db=2"),
]


@pytest.mark.parametrize(("url", "found"), ADDRESSES)
def test_the_server_of_a_redis_store_is_found(url: str, found: str) -> None:
    """Address, database, login and TLS are those of the store's client."""
    settings = settings_for_store(RedisStore.with_client(url))

    assert (settings.url, settings.limits_url) == (found, found)


def test_a_store_that_verifies_nothing_is_found_as_such() -> None:
    """A client that was given `ssl.CERT_NONE` has a URL that says so, and that can be opened."""
    store = RedisStore.with_client("rediss://h")
    store._redis.connection_pool.connection_kwargs["ssl_cert_reqs"] = ssl.CERT_NONE  # pyright: ignore[reportPrivateUsage] - as redis-py would

    target = urls.parse("store", settings_for_store(store).url).target

    assert isinstance(target, urls.TcpAddress)
    assert target.tls == urls.Tls(verified=False)


NAMESPACES = [
    ({}, ""),
    ({"namespace": None}, ""),
    ({"namespace": "LITESTAR_rate_limit"}, ""),
    ({"namespace": "shop"}, "shop"),
    ({"namespace": "LITESTARS"}, "LITESTARS"),
    ({"namespace": "shop:{1}" + "x" * 80}, "shop--1-" + "x" * 56),
]


@pytest.mark.parametrize(("given", "found"), NAMESPACES)
def test_the_namespace_of_a_redis_store_is_kept(given: dict[str, Any], found: str) -> None:
    """Stores in two namespaces share no counter, as with Litestar's own limit; its default namespace is none here."""
    assert settings_for_store(RedisStore.with_client("redis://h", **given)).namespace == found


def test_a_store_in_the_process_leaves_the_settings_in_force() -> None:
    """A store without a server says nothing about ours."""
    assert settings_for_store(MemoryStore()) is None


def test_a_client_that_hides_its_server_is_refused() -> None:
    """A client behind Sentinel does not say where its server is: the plugin has to."""
    from redis.asyncio.sentinel import Sentinel

    store = RedisStore(Sentinel([("h", 26379)]).master_for("main"))

    with pytest.raises(ConfigurationError) as refused:
        settings_for_store(store)

    assert refused.value.setting == "store"
