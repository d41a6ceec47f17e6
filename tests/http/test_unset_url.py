"""Every edge that is given no server counts on the server of the settings, as the service does."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from litestar import Litestar
from litestar import get as litestar_get
from litestar.middleware.rate_limit import RateLimitConfig

import tollhouse
from tests.asgi import get, hello
from tollhouse.fastapi import RateLimit
from tollhouse.litestar import AtomicRateLimitMiddleware, TollhousePlugin

LIMIT = "2/minute"


@pytest.fixture(autouse=True)
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The settings of the working folder and the environment: a server, and a policy in the file."""
    url = f"fake://{secrets.token_hex(8)}"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tollhouse.toml").write_text(f'[limits.policies.api]\nlimit = "{LIMIT}"', encoding="utf-8")
    monkeypatch.setenv("TOLLHOUSE_URL", url)
    return url


def middleware() -> Any:
    return tollhouse.RateLimitMiddleware(hello, policy="api")


@litestar_get("/")
async def index() -> str:
    return "hello"


def plugin() -> Any:
    return Litestar([index], plugins=[TollhousePlugin(policy="api")], logging_config=None)


def builtin() -> Any:
    config = RateLimitConfig(rate_limit=("minute", 2), middleware_class=AtomicRateLimitMiddleware)
    return Litestar([index], middleware=[config.middleware], logging_config=None)


def dependency() -> Any:
    app = FastAPI()
    app.get("/", dependencies=[Depends(RateLimit("api"))])(lambda: "hello")
    return app


def function() -> Any:
    """An application without any middleware of ours, which answers refusals itself."""

    @tollhouse.limit("api", key="192.0.2.1")
    async def work() -> None: ...

    app = FastAPI()
    app.get("/")(work)
    app.exception_handler(tollhouse.RateLimited)(tollhouse.fastapi.answer)  # type: ignore[attr-defined] - imported above
    return app


@pytest.mark.parametrize("make", [middleware, plugin, dependency, function])
async def test_an_edge_without_a_server_counts_where_the_settings_say(url: str, make: Callable[[], Any]) -> None:
    """The server of TOLLHOUSE_URL and the policy of the file hold for an edge that is given neither."""
    statuses = [(await get(make())).status_code for _ in range(3)]

    async with tollhouse.open() as opened:
        left = await opened.limits.peek("api", "192.0.2.1")
    assert opened.settings.url == url
    assert statuses == [200, 200, 429]
    assert left.limits[0].remaining == 0


async def test_a_store_of_litestar_without_a_server_leaves_the_settings_in_force(url: str) -> None:
    """Litestar's own rate limit over a store that is in memory counts on the server of the settings."""
    statuses = [(await get(builtin())).status_code for _ in range(3)]

    async with tollhouse.open(url) as opened:
        _, counters = await opened.stores.limits.scan(0, "*", 100)
    assert len(counters) == 1
    assert statuses == [200, 200, 429]


def test_a_plain_function_without_a_limiter_counts_where_the_settings_say() -> None:
    """A function that is not async, outside of any request, uses the settings too."""

    @tollhouse.limit("api", key="ada")
    def work() -> str:
        return "done"

    assert [work(), work()] == ["done", "done"]
    with pytest.raises(tollhouse.RateLimited):
        work()


async def test_the_settings_are_read_once_in_an_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is changed while a loop runs holds from the next one on: no request reads the settings."""

    @tollhouse.limit("api", key="ada")
    async def work() -> str:
        return "done"

    app = dependency()
    await work()
    await get(app)
    monkeypatch.setenv("TOLLHOUSE_URL", "nonsense://h")

    assert await work() == "done"
    assert (await get(app)).status_code == 200
    with pytest.raises(tollhouse.ConfigurationError):
        await asyncio.to_thread(lambda: asyncio.run(work()))
