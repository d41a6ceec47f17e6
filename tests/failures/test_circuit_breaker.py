"""The circuit breaker: while a server does not answer, calls fail at once, and one probe at a time finds out more."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

import tollhouse
from tests.failures.fake_sentinel import PATIENCE_S
from tests.failures.primaries import Primary, Scene, answered, refused, scene
from tollhouse.errors import ConfigurationError, ScriptFailed, StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.settings import Settings
from tollhouse.stores.arguments import BULK_BYTES
from tollhouse.wiring import Tollhouse

DEADLINE_S = 0.2


@asynccontextmanager
async def silent() -> AsyncIterator[tuple[Tollhouse, Primary]]:
    """Tollhouse on a server that accepts connections and answers no call."""
    primary = await Primary().open()
    primary.holding = True
    settings = Settings(
        url=f"redis://127.0.0.1:{primary.host[1]}",
        secret=(secrets.token_bytes(32),),
        deadline_ms=int(DEADLINE_S * 1000),
    )
    try:
        async with tollhouse.open(settings) as th:
            yield th, primary
    finally:
        await primary.close()


async def take(th: Tollhouse) -> None:
    """A take is decided by the outage policy."""
    assert (await th.limits.take("default", "ada")).degraded


async def list_sessions(th: Tollhouse) -> None:
    """Sessions that cannot be looked up are an outage."""
    with pytest.raises(StoreUnavailable):
        await th.sessions.list("ada")


async def read_cache(th: Tollhouse) -> None:
    """A cache that cannot be read loads the value."""

    async def load() -> str:
        return "loaded"

    assert await th.cache.get_or_load("key", load) == "loaded"


FEATURES = (take, list_sessions, read_cache)


@pytest.mark.parametrize("call", FEATURES, ids=lambda call: call.__name__)
async def test_every_feature_waits_once_for_a_silent_server(call: Callable[[Tollhouse], Awaitable[None]]) -> None:
    """A take, a session call and a cache read each wait for one deadline, once; from then on none of them waits."""
    loop = asyncio.get_running_loop()
    async with silent() as (th, _):
        times_s = [loop.time()]
        for _ in range(6):
            await call(th)
            times_s.append(loop.time())

        first_s, *next_s = [after - before for before, after in pairwise(times_s)]
        assert first_s > DEADLINE_S / 2
        assert sum(next_s) < len(next_s) * DEADLINE_S / 2


async def test_takes_that_wait_behind_a_silent_call_are_decided_with_it() -> None:
    """P8: takes that wait for their turn do not wait for a deadline of their own."""
    async with silent() as (th, primary):
        takes: list[asyncio.Task[None]] = []
        for calls in (1, 2):
            takes.append(asyncio.create_task(take(th)))
            await primary.until(lambda calls=calls: primary.verbs().count("EVALSHA") == calls)
        takes += [asyncio.create_task(take(th)) for _ in range(600)]

        await asyncio.gather(*takes)

        assert primary.verbs().count("EVALSHA") == 2


async def fails(s: Scene) -> None:
    with pytest.raises(StoreUnavailable):
        await s.store.run("test/once", [], [])


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[Scene]:
    """A scene whose old primary kept a call waiting in vain, and keeps the first probe waiting."""
    async with scene(deadline_s=0.05, **options) as s:
        await answered(s.store)  # a call that has to connect first can miss this deadline before it is sent
        s.old.seen.clear()
        s.old.holding = True
        await fails(s)
        await s.old.until(lambda: "PING" in s.old.verbs())
        yield s


async def test_one_probe_at_a_time_is_sent() -> None:
    """While the breaker is open nothing is sent but one probe, however many calls arrive."""
    async with opened() as s:
        for _ in range(100):
            await fails(s)

        assert s.old.verbs() == ["EVALSHA", "PING"]


async def test_an_answered_probe_closes_the_breaker() -> None:
    """When the server answers again, so do the calls; the one that timed out is not sent again."""
    async with opened() as s:
        assert not s.store.is_available
        s.old.holding = False
        s.old.release()

        assert await answered(s.store) == [1]

        assert s.store.is_available
        assert s.old.verbs() == ["EVALSHA", "PING", "EVALSHA"]


async def test_a_probe_that_is_refused_is_an_answer_too() -> None:
    """A server that refuses a PING is there: its refusals are what callers are told from then on."""
    async with opened() as s:
        s.old.answer = refused("OOM command not allowed")
        s.old.holding = False
        s.old.release()

        async with asyncio.timeout(PATIENCE_S):
            while s.old.verbs().count("EVALSHA") < 2:
                await fails(s)
                await asyncio.sleep(0.005)

        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/once", [], [])
        assert raised.value.outcome == "rejected"


async def test_a_server_that_was_away_is_found_again() -> None:
    """A probe connects anew; after one that failed another call starts the next."""
    async with scene() as s:
        await s.old.close()
        await fails(s)
        await fails(s)

        await s.old.open()

        assert await answered(s.store) == [1]


@pytest.mark.parametrize("text", ["OOM command not allowed", "ERR wrong number of keys"])
async def test_a_server_that_refuses_calls_is_there(text: str) -> None:
    """Refusals and defects open nothing: each call is sent, and told what the server says."""
    async with scene() as s:
        s.old.answer = refused(text)
        for _ in range(3):
            with pytest.raises((StoreUnavailable, ScriptFailed)):
                await s.store.run("test/once", [], [])

        assert s.old.verbs() == ["EVALSHA"] * 3


async def test_a_lost_connection_opens_nothing() -> None:
    """A call whose connection ended is ambiguous; the next call is sent over a new connection."""
    async with scene() as s:
        s.old.holding = True
        call = asyncio.ensure_future(s.store.run("test/once", [], []))
        await s.old.until(lambda: len(s.old.seen) == 1)
        s.old.drop()
        s.old.holding = False
        with pytest.raises(StoreUnavailable):
            await call

        assert await s.store.run("test/once", [], []) == [1]
        assert s.old.verbs() == ["EVALSHA"] * 2


async def test_connections_have_breakers_of_their_own() -> None:
    """Large values that get stuck keep no small call waiting; when small calls work again, so do large ones."""
    large = [b"x" * (BULK_BYTES + 1)]
    async with scene(deadline_s=0.1) as s:
        await s.store.run("test/once", [], [])
        s.old.holding = True
        with pytest.raises(StoreUnavailable):
            await s.store.run("test/once", [], large)
        await s.old.until(lambda: "PING" in s.old.verbs())
        s.old.holding = False

        assert await s.store.run("test/once", [], []) == [1]
        with pytest.raises(StoreUnavailable):
            await s.store.run("test/once", [], large)

        s.old.holding = True
        await fails(s)
        s.old.holding = False
        s.old.release()
        assert await answered(s.store) == [1]
        assert await s.store.run("test/once", [], large) == [1]


async def test_each_change_of_state_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """A server that does not answer is one line and its return another, however many calls fail; the gauge follows."""
    metrics = Metrics()
    with caplog.at_level(logging.INFO, logger="tollhouse.stores"):
        async with opened(metrics=metrics) as s:
            for _ in range(3):
                await fails(s)
            opened_to = metrics.registry.get_sample_value("tollhouse_breaker_open", {"store": "sessions"})
            s.old.holding = False
            s.old.release()
            assert await answered(s.store) == [1]

    assert opened_to == 1
    assert metrics.registry.get_sample_value("tollhouse_breaker_open", {"store": "sessions"}) == 0
    assert [(record.levelname, vars(record)["event"]) for record in caplog.records] == [
        ("WARNING", "store does not answer, calls fail at once"),
        ("INFO", "store answers again"),
    ]


async def test_closing_a_store_ends_its_probe() -> None:
    """A store that is closed leaves no probe behind, and starts none."""
    async with opened() as s:
        await s.store.aclose()
        with pytest.raises(ConfigurationError):
            await s.store.run("test/once", [], [])

        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("tollhouse-probe")]
