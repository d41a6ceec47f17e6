"""A mistake is no outage: what only a change of the setup mends is one error, with server, reason and remedy."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from litestar import Litestar
from litestar import get as litestar_get

import tollhouse
from tests.asgi import get
from tests.caches import Loader
from tests.failures.fake_sentinel import PATIENCE_S
from tests.failures.own_server import own_server
from tests.failures.primaries import Primary, scene
from tests.worlds import StoreWorld
from tollhouse.errors import StoreRefused, StoreUnavailable
from tollhouse.fastapi import RateLimit
from tollhouse.litestar import TollhousePlugin
from tollhouse.settings import Settings
from tollhouse.stores.status import examine
from tollhouse.stores.transport.refusals import RIGHTS
from tollhouse.stores.urls import STORES

READ_ONLY = [
    ["+@read"],
    ["+@read", "+@connection"],
    ["+@all", "-@write"],
    ["+@all", "-@write", "-select", "-subscribe", "-info"],
    ["+@all", "-@write", "-eval"],
]
"""The rights of accounts that may only read, as providers and operators write them."""
_NO_INFO_NO_SCAN = "ada on >sesame ~* &* +@all -info -scan"


def twelve_lines(url: str) -> FastAPI:
    """The application that a new user writes."""
    app = FastAPI()
    app.add_middleware(tollhouse.RateLimitMiddleware, url=url, policies={"api": "3/minute"}, policy="api")

    @app.get("/")
    async def hello() -> str:
        return "hello"

    return app


async def lines_of(url: str, caplog: pytest.LogCaptureFixture, requests: int = 3) -> list[str]:
    """Serve requests; return the lines that `logging.basicConfig()` prints meanwhile."""
    app = twelve_lines(url)
    with caplog.at_level(logging.WARNING):
        statuses = [(await get(app)).status_code for _ in range(requests)]
    assert statuses == [200] * requests
    formatter = logging.Formatter(logging.BASIC_FORMAT)
    await closed(app)
    return [formatter.format(record) for record in caplog.records]


async def closed(app: FastAPI) -> None:
    """Run the lifespan of an application: its end closes what the middleware has opened."""
    messages: list[dict[str, Any]] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: object) -> None:
        del message

    await app({"type": "lifespan"}, receive, send)


@asynccontextmanager
async def account(world: StoreWorld, *rules: str) -> AsyncIterator[str]:
    """Yield the URL of an account with no rights but these."""
    name, password = f"limited-{secrets.token_hex(4)}", secrets.token_hex(8)
    await world.command("sessions", "ACL", "SETUSER", name, "on", f">{password}", "~*", *rules)
    yield world.url.replace("unix://", f"unix://{name}:{password}@")
    await world.command("sessions", "ACL", "DELUSER", name)


def login_of(url: str) -> tuple[str, str]:
    name, _, password = url.partition("://")[2].partition("@")[0].partition(":")
    return name, password


async def taken(th: tollhouse.Tollhouse, happened: Callable[[], bool]) -> None:
    """Take, which starts probes, until it happened, for a bounded time."""
    async with asyncio.timeout(PATIENCE_S):
        while not happened():
            await th.limits.take("api", "ada")
            await asyncio.sleep(0.02)


async def test_a_wrong_password_is_one_error(embedded: StoreWorld, caplog: pytest.LogCaptureFixture) -> None:
    """The first line names the server, what it said, and what to set; there is no second one, and no password."""
    lines = await lines_of(embedded.url.replace("unix://", "unix://ada:sesame@"), caplog)

    assert len(lines) == 1
    assert lines[0].startswith(f'ERROR:tollhouse.stores:store cannot be used store="limits" server="{embedded.url}"')
    assert "WRONGPASS" in lines[0]
    assert "set the server's user and password in the URL" in lines[0]
    assert "sesame" not in lines[0]


@pytest.mark.parametrize("rules", READ_ONLY)
async def test_an_account_that_may_only_read_is_one_error(
    embedded: StoreWorld, rules: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever rights it lacks besides, the first line says that scripts may not write, and which rights do."""
    async with account(embedded, *rules) as url:
        lines = await lines_of(url, caplog)

    assert len(lines) == 1
    assert lines[0].startswith('ERROR:tollhouse.stores:store cannot be used store="limits"')
    assert "ACL SETUSER" in lines[0]
    assert "+@write" in lines[0]


async def test_a_server_with_one_database_says_what_is_shared(caplog: pytest.LogCaptureFixture) -> None:
    """With `databases 1` all works; the first line is a warning with the remedy."""
    async with own_server("--databases", "1") as url:
        lines = await lines_of(url, caplog)

    assert len(lines) == 1
    assert lines[0].startswith("WARNING:tollhouse.stores:stores share one database database=0")
    assert "remedy=" in lines[0]


async def test_no_server_is_one_error(caplog: pytest.LogCaptureFixture) -> None:
    """A server that was never there is an error too, not the warning of an outage."""
    lines = await lines_of("redis://127.0.0.1:1", caplog)

    assert len(lines) == 1
    assert lines[0].startswith(
        'ERROR:tollhouse.stores:store cannot be used store="limits" server="redis://127.0.0.1:1"'
    )
    assert "see that the server runs" in lines[0]


async def test_a_server_that_speaks_no_tls_is_told_so() -> None:
    """A call that waits in vain for the TLS of a server says what to look at, the first call as well."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rediss://127.0.0.1:{silent.getsockname()[1]}"
        async with tollhouse.open(url) as th:
            with pytest.raises(StoreUnavailable) as raised:
                await th.limits.peek("default", "ada")

    assert f"{url}: " in raised.value.reason
    assert "TLS" in raised.value.reason


async def test_a_replica_is_one_error(caplog: pytest.LogCaptureFixture) -> None:
    """A single server that is a replica says so, and which URL to use instead."""
    async with own_server("--replicaof", "127.0.0.1 1") as url:
        lines = await lines_of(url, caplog)

    assert len(lines) == 1
    assert "the server is a replica" in lines[0]
    assert "use the URL of its primary" in lines[0]


async def test_a_change_of_the_cause_is_another_error(embedded: StoreWorld, caplog: pytest.LogCaptureFixture) -> None:
    """A password that is mended may show that a right is missing; when all is mended the store is well by itself."""
    async with account(embedded, "allchannels", "+@all", "-@write") as url:
        name, password = login_of(url)
        await embedded.command("sessions", "ACL", "SETUSER", name, f"<{password}", ">other")
        with caplog.at_level(logging.INFO, "tollhouse.stores"):
            async with tollhouse.open(url, policies={"api": "3/minute"}) as th:
                assert (await th.limits.take("api", "ada")).degraded
                await embedded.command("sessions", "ACL", "SETUSER", name, f">{password}")
                await taken(th, lambda: len(caplog.records) == 3)
                await embedded.command("sessions", "ACL", "SETUSER", name, "+@write")
                await taken(th, lambda: len(caplog.records) == 4)
                assert not (await th.limits.take("api", "ada")).degraded

    levels = [record.levelname for record in caplog.records]
    assert levels == ["ERROR", "INFO", "ERROR", "INFO"]
    assert ["WRONGPASS" in caplog.messages[0], "ACL failure" in caplog.messages[2]] == [True, True]


async def test_another_cause_is_told_while_the_store_is_down(caplog: pytest.LogCaptureFixture) -> None:
    """A login that is mended may show a replica: probes find it out, and it is another error."""
    async with scene(wait_s=0.05, probe_s=0.01) as s:
        s.old.denied = frozenset({"HELLO"})
        with pytest.raises(StoreUnavailable):
            await s.store.run("test/once", [], [])
        s.old.denied, s.old.role = frozenset(), "replica"
        async with asyncio.timeout(PATIENCE_S):
            while len(caplog.records) < 2:
                with pytest.raises(StoreUnavailable):
                    await s.store.run("test/once", [], [])
                await asyncio.sleep(0.01)

    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert ["NOPERM" in caplog.messages[0], "the server is a replica" in caplog.messages[1]] == [True, True]


@pytest.mark.parametrize("servers", [1, 2])
async def test_a_server_that_repeats_what_it_does_not_know_repeats_no_password(
    servers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An old server, or a proxy, has no HELLO, and its error repeats the arguments, in which the password is."""
    opened = [await Primary().open() for _ in range(servers)]
    for one in opened:
        one.unknown = frozenset({"HELLO"})
    hosts = ",".join(f"{host}:{port}" for host, port in (one.host for one in opened))
    async with tollhouse.open(f"redis://:sesame@{hosts}") as th:
        with pytest.raises(StoreUnavailable) as raised:
            await th.stores.limits.command("PING")
        status = await examine(th.stores.limits)
    for one in opened:
        await one.close()

    assert "older than Redis 6.0" in str(raised.value) or "unknown command 'HELLO'" in str(raised.value)
    assert "sesame" not in f"{caplog.text}{raised.value}{status}"


async def test_the_stores_of_a_server_report_a_cause_once(
    embedded: StoreWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """All four of them meet the wrong password; one line says so, and the gauge of each."""
    async with tollhouse.open(embedded.url.replace("unix://", "unix://ada:sesame@")) as th:
        for store in th.stores.all():
            with pytest.raises(StoreUnavailable):
                await store.command("PING")
        gauges = [th.metrics.registry.get_sample_value("tollhouse_store_refused", {"store": name}) for name in STORES]

    assert len(caplog.records) == 1
    assert gauges == [1] * 4


async def test_a_command_that_is_missing_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Statistics without INFO and SCAN say what they can, each time; no store is said to be out of use."""
    rights = _NO_INFO_NO_SCAN.split()
    async with (
        own_server("--databases", "1", "--user", *rights) as url,
        tollhouse.open(url.replace("unix://", "unix://ada:sesame@"), strict=True) as th,
    ):
        assert await th.stores.limits.info("memory") == {}
        await th.cache.get_or_load("key", Loader("value"), ttl_s=60)
        caplog.clear()
        told = [await th.cache.stats() for _ in range(2)]
        status = await examine(th.stores.cache)

    assert [(each.available, each.stats.misses, each.stats.total_keys) for each in told] == [(True, 1, 0)] * 2
    assert (status.problem, status.warnings) == (None, ())
    assert [(record.levelname, vars(record).get("command")) for record in caplog.records] == [("WARNING", "SCAN")]


async def test_the_rights_of_the_remedy_are_enough(embedded: StoreWorld, caplog: pytest.LogCaptureFixture) -> None:
    """An account with the rights that the error names lacks no command and logs nothing."""
    async with account(embedded, "resetkeys", *RIGHTS.split()) as url, tollhouse.open(url) as th:
        assert not (await th.limits.take("default", "ada")).degraded
        missing = {one.command for store in th.stores.all() for one in await store.missing_commands()}

    assert missing <= {"REPLCONF"}
    assert caplog.records == []


async def test_strict_calls_raise_the_mistake(embedded: StoreWorld) -> None:
    """With `strict` every call that meets a refusal that lasts raises ConfigurationError, until it is mended."""
    async with account(embedded, "allchannels", "+@all") as url:
        name, password = login_of(url)
        await embedded.command("sessions", "ACL", "SETUSER", name, f"<{password}", ">other")
        settings = Settings(url=url, secret=(b"a secret of at least thirty-two bytes",))
        async with tollhouse.open(settings, policies={"api": "3/minute"}, strict=True) as th:
            for call in (
                lambda: th.limits.take("api", "ada"),
                lambda: th.limits.take_all([tollhouse.Take(policy="api", key="ada")]),
                lambda: th.sessions.create("ada"),
                lambda: th.cache.get_or_load("key", Loader("value"), ttl_s=60),
                lambda: th.stores.accounts.command("PING"),
            ):
                with pytest.raises(tollhouse.ConfigurationError, match="WRONGPASS") as raised:
                    await call()
                assert isinstance(raised.value, StoreRefused)
                assert (raised.value.outcome, "user and password" in raised.value.remedy) == ("not-sent", True)
                assert password not in str(raised.value)
            await embedded.command("sessions", "ACL", "SETUSER", name, f">{password}")
            async with asyncio.timeout(PATIENCE_S):
                while not await is_well(th):  # noqa: ASYNC110 - calls start the probes
                    await asyncio.sleep(0.02)


async def is_well(th: tollhouse.Tollhouse) -> bool:
    try:
        return not (await th.limits.take("api", "ada")).degraded
    except StoreRefused:
        return False


async def test_strict_calls_raise_a_right_that_is_missing(embedded: StoreWorld) -> None:
    """A right is missed by a call, several of which may have met in one tick: each of them raises."""
    async with account(embedded, "+@all", "-@write") as url, tollhouse.open(url, strict=True) as th:
        takes = [th.limits.take("default", f"user-{number}") for number in range(3)]
        raised = await asyncio.gather(*takes, return_exceptions=True)

    assert [type(one) for one in raised] == [StoreRefused] * 3
    assert {str(one).count("ACL SETUSER") for one in raised} == {1}


async def test_strict_calls_survive_an_outage() -> None:
    """A server that is not there is no mistake: limits follow their outage rule."""
    async with tollhouse.open("redis://127.0.0.1:1", strict=True) as th:
        assert (await th.limits.take("default", "ada")).degraded


def strict_middleware(url: str) -> Any:
    app = FastAPI()
    app.add_middleware(tollhouse.RateLimitMiddleware, url=url, strict=True)
    return app


def strict_dependency(url: str) -> Any:
    app = FastAPI()
    app.add_api_route("/", lambda: "ok", dependencies=[Depends(RateLimit("3/minute", limiter=url, strict=True))])
    return app


def strict_plugin(url: str) -> Any:
    @litestar_get("/", sync_to_thread=False)
    def handler() -> str:
        return "ok"

    return Litestar([handler], plugins=[TollhousePlugin(url, strict=True)])


def strict_function(url: str) -> Any:
    app = FastAPI()
    app.add_middleware(tollhouse.RateLimitMiddleware, url="fake://edges", policy=None)

    @app.get("/")
    @tollhouse.limit("3/minute", key="ada", limiter=url, strict=True)
    async def handler() -> str:
        return "ok"

    return app


@pytest.mark.parametrize("make", [strict_middleware, strict_dependency, strict_plugin, strict_function])
@pytest.mark.parametrize("rules", [None, ["+@all", "-@write"]], ids=["login", "rights"])
async def test_strict_edges_answer_503(embedded: StoreWorld, make: Any, rules: list[str] | None) -> None:
    """A request that nothing could decide is 503 with a problem, never 500, at every edge."""
    async with account(embedded, *(rules or ["+@all"])) as url:
        app = make(url if rules else url.replace("@", "-wrong@", 1))
        responses = [await get(app) for _ in range(2)]
        await closed(app)

    assert [response.status_code for response in responses] == [503, 503]
    assert "retry-after" in responses[0].headers
    assert "WRONGPASS" not in responses[0].text


@pytest.mark.parametrize("limiter", [None, "open"])
async def test_strict_belongs_to_a_limiter_to_open(fake: StoreWorld, limiter: str | None) -> None:
    """Beside a limiter that is open, or without one, it would have no effect: that is an error."""
    async with tollhouse.open(fake.url) as th:
        with pytest.raises(tollhouse.ConfigurationError) as raised:
            RateLimit("3/minute", limiter=th if limiter else None, strict=True)

    assert raised.value.setting == "strict"


async def test_strict_is_a_setting(embedded: StoreWorld) -> None:
    """What the settings say holds if the code says nothing, and the code wins."""
    wrong = Settings(url=embedded.url.replace("unix://", "unix://ada:sesame@"), strict=True)
    async with tollhouse.open(wrong) as strict, tollhouse.open(wrong, strict=False) as lenient:
        with pytest.raises(StoreRefused):
            await strict.limits.take("default", "ada")
        assert (await lenient.limits.take("default", "ada")).degraded
