"""A namespace, at every edge that opens a limiter: the counters are those of one application only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from litestar import Litestar
from litestar import get as route

from tests.asgi import blamed, get, hello, limiter_with
from tests.spec.stored import keys_of
from tests.worlds import StoreWorld
from tollhouse import RateLimitMiddleware, limit
from tollhouse.asgi.ratelimit.limiter_source import limiter_source
from tollhouse.errors import ConfigurationError
from tollhouse.fastapi import RateLimit
from tollhouse.litestar import TollhousePlugin
from tollhouse.settings import Settings

Edge = Callable[[str, str], Callable[[], Awaitable[Any]]]


def middleware(url: str, namespace: str) -> Callable[[], Awaitable[Any]]:
    app = RateLimitMiddleware(hello, url=url, namespace=namespace)
    return lambda: get(app)


def middleware_with_settings(url: str, namespace: str) -> Callable[[], Awaitable[Any]]:
    app = RateLimitMiddleware(hello, settings=Settings(url=url, namespace="replaced"), namespace=namespace)
    return lambda: get(app)


def plugin(url: str, namespace: str) -> Callable[[], Awaitable[Any]]:
    @route("/")
    async def index() -> str:
        return "index"

    app = Litestar([index], plugins=[TollhousePlugin(url, namespace=namespace)], logging_config=None)
    return lambda: get(app)


def dependency(url: str, namespace: str) -> Callable[[], Awaitable[Any]]:
    app = FastAPI()
    limited = RateLimit("2/minute", limiter=url, namespace=namespace)
    app.add_api_route("/", lambda: "ok", dependencies=[Depends(limited)])
    return lambda: get(app)


def decorator(url: str, namespace: str) -> Callable[[], Awaitable[Any]]:
    @limit("2/minute", key="all", limiter=url, namespace=namespace)
    async def work() -> str:
        return "done"

    return work


@pytest.mark.parametrize("edge", [middleware, middleware_with_settings, plugin, dependency, decorator])
async def test_every_edge_counts_in_its_namespace(embedded: StoreWorld, edge: Edge) -> None:
    """What an edge opens by itself counts in the namespace that it was given."""
    await edge(embedded.url, "shop")()

    keys = await keys_of(embedded, "limits")
    assert len(keys) == 1
    assert keys[0].startswith("tollhouse:rate:shop:{")


async def test_an_open_limiter_has_its_namespace_already(world: StoreWorld) -> None:
    """A namespace beside a limiter that is open, or beside no limiter, is refused: it would change nothing."""
    limits = limiter_with(world, {"default": "2/minute"})
    edges: list[Callable[[], Any]] = [
        lambda: limiter_source(limits, namespace="shop"),
        lambda: RateLimitMiddleware(hello, limiter=limits, namespace="shop"),
        lambda: limit("2/minute", limiter=limits, namespace="shop"),
        lambda: limit("2/minute", namespace="shop"),
        lambda: RateLimit("2/minute", namespace="shop"),
    ]

    for make in edges:
        with pytest.raises(ConfigurationError) as refused:
            make()

        assert blamed(refused.value) == "namespace"
