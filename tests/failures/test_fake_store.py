"""The store behind `fake://` behaves as a real one."""

from __future__ import annotations

import asyncio
import secrets
import sys

import pytest

from tests.watched import ticks
from tests.worlds import SCRIPTS
from tollhouse.errors import ConfigurationError, ScriptFailed, StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.stores import status
from tollhouse.stores.fake.clock import FakeClock
from tollhouse.stores.fake.server import fake_server
from tollhouse.stores.opening import open_stores
from tollhouse.stores.urls import urls_by_store


async def test_a_fake_store_speaks_as_a_real_one() -> None:
    """`fake://` reports what it is, runs scripts again after a flush, and fails with the same exceptions."""
    stores = open_stores(urls_by_store(f"fake://{secrets.token_hex(8)}", {}), SCRIPTS, Metrics())
    store = stores.limits
    key = "tollhouse:rate:{t}:x"

    assert store.server is not None
    assert (store.server.software, store.server.role, store.health()) == ("fakeredis", "master", None)
    assert await store.run_durably("limits/reset", [key], []) == ([0], False)
    await store.command("SCRIPT", "FLUSH")
    assert await store.run("limits/reset", [key], []) == [0]
    assert await store.command("SET", key, "1") is not None
    assert (await store.scan(0, "tollhouse:*", 10), await store.info("server"), await store.ping()) == (
        (0, [key]),
        {},
        0,
    )
    with pytest.raises(ScriptFailed, match="store 'limits': "):
        await store.command("HGET", key, "x")
    with pytest.raises(ScriptFailed, match="store 'limits': limits/take"):
        await store.run("limits/take", [key], ["no number"])
    await stores.aclose()


@pytest.mark.parametrize("turns", range(6))
async def test_a_call_that_is_cancelled_ends(turns: int) -> None:
    """Whenever a caller is cancelled it does not go on, though fakeredis would answer its call."""
    stores = open_stores(urls_by_store(f"fake://{secrets.token_hex(8)}", {}), SCRIPTS, Metrics())
    await stores.limits.ping()

    call = asyncio.create_task(stores.limits.command("PING"))
    for _ in range(turns):
        await asyncio.sleep(0)
    was_done = call.done()
    call.cancel()

    await asyncio.wait([call])
    assert call.cancelled() or was_done
    await stores.aclose()


async def test_every_call_lets_other_tasks_run() -> None:
    """A call suspends, as one over a network does: calls in a loop do not starve the event loop."""
    stores = open_stores(urls_by_store(f"fake://{secrets.token_hex(8)}", {}), SCRIPTS, Metrics())
    store = stores.limits
    calls = (
        lambda: store.run("limits/reset", ["tollhouse:rate:{t}:x"], []),
        lambda: store.command("DBSIZE"),
        lambda: store.scan(0, "tollhouse:*", 10),
    )

    for call in calls:
        await call()
        others: list[str] = []
        asyncio.get_running_loop().call_soon(others.append, "ran")
        await call()
        assert others == ["ran"]

    await stores.aclose()


async def test_a_fake_store_that_is_away_is_an_outage() -> None:
    """A disconnected fakeredis is StoreUnavailable, not sent; what was called meanwhile did not run."""
    name = secrets.token_hex(8)
    stores = open_stores(urls_by_store(f"fake://{name}", {}), SCRIPTS, Metrics())
    server = fake_server(name, "fake://").redis
    await stores.limits.command("SET", "a", "1")

    server.connected = False
    with pytest.raises(StoreUnavailable) as raised:
        await stores.limits.command("INCR", "a")
    server.connected = True

    assert raised.value.outcome == "not-sent"
    assert await stores.limits.command("GET", "a") == b"1"
    await stores.aclose()


@pytest.mark.parametrize("package", ["fakeredis", "lupa"])
def test_a_fake_store_without_its_packages_has_the_pip_line(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If fakeredis is not installed, or lupa, without which it runs no script, the error says how to install it."""
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ConfigurationError) as raised:
        open_stores(urls_by_store("fake://", {}), SCRIPTS, Metrics())

    assert raised.value.setting == "fake://"
    assert raised.value.remedy == f"it needs {package}: pip install 'tollhouse[test]'"


async def test_what_is_announced_is_heard_by_every_store_of_the_name() -> None:
    """A subscribed store receives what others publish in the same fakeredis, until it is closed."""
    url = f"fake://{secrets.token_hex(8)}"
    here, there = (open_stores(urls_by_store(url, {}), SCRIPTS, Metrics()) for _ in range(2))
    heard: list[bytes] = []
    begun: list[None] = []
    here.limits.listen("news", heard.append, lambda: None, lambda: begun.append(None))
    await here.limits.run("limits/reset", ["tollhouse:rate:{t}:x"], [])

    async with asyncio.timeout(5):
        while not heard:
            await there.limits.command("PUBLISH", "news", "first")
            await asyncio.sleep(0.005)
    await here.aclose()
    before = len(heard)
    await there.limits.command("PUBLISH", "news", "late")

    assert set(heard) == {b"first"}
    assert len(heard) == before
    assert len(begun) == 1
    await there.aclose()


@pytest.mark.parametrize("turns", range(4))
async def test_a_fake_store_that_is_closed_as_a_message_comes_ends(turns: int) -> None:
    """Closing ends the subscription also if a message arrives in the same moment."""
    url = f"fake://{secrets.token_hex(8)}"
    here, there = (open_stores(urls_by_store(url, {}), SCRIPTS, Metrics()).limits for _ in range(2))
    subscribed = asyncio.Event()
    here.listen("news", lambda _message: None, lambda: None, subscribed.set)
    await here.run("limits/reset", ["tollhouse:rate:{t}:x"], [])
    await subscribed.wait()
    await ticks()  # it waits for a message now
    await there.command("PUBLISH", "news", "last")
    for _ in range(turns):
        await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await here.aclose()

    await there.aclose()


@pytest.mark.parametrize("turns", range(30))
async def test_a_fake_store_that_is_closed_while_it_subscribes_ends(turns: int) -> None:
    """Closing ends the subscription however far it has come; no cancellation is lost in it."""
    store = open_stores(urls_by_store(f"fake://{secrets.token_hex(8)}", {}), SCRIPTS, Metrics()).limits
    store.listen("changes", lambda _message: None, lambda: None)
    call = asyncio.create_task(store.run("limits/reset", ["tollhouse:rate:{t}:x"], []))
    for _ in range(turns):
        await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await store.aclose()

    call.cancel()
    await asyncio.wait({call})


async def test_a_burst_is_answered_by_a_fake_store_too() -> None:
    """5,000 calls at once, more than a real connection has slots for, are answered."""
    store = open_stores(urls_by_store(f"fake://{secrets.token_hex(8)}", {}), SCRIPTS, Metrics()).limits

    replies = await asyncio.gather(*(store.command("ECHO", "x") for _ in range(5_000)))
    await store.aclose()

    assert replies == [b"x"] * 5_000


async def test_a_fake_store_lacks_no_command() -> None:
    """There are no rights inside the process, and each store has a database of its own."""
    stores = open_stores(urls_by_store(f"fake://{secrets.token_hex(8)}", {}, databases="shared"), SCRIPTS, Metrics())
    found = [await status.examine(store) for store in stores.all()]
    await stores.aclose()

    assert [(one.missing_commands, one.shared_database) for one in found] == [((), None)] * 4
    assert [one.place.partition("=")[2] for one in found] == ["0", "1", "2", "3"]


async def test_a_sleeper_wakes_when_the_clock_was_advanced() -> None:
    """A sleep by a stopped clock ends with the advance that reaches its end, and moves the clock no further."""
    clock = FakeClock(start_ms=0)
    clock.stop()
    asleep = asyncio.create_task(clock.sleep(60))
    await ticks()
    clock.advance(61_000)

    await asyncio.wait_for(asleep, 5)

    assert clock.now_ms() == 224_999 + 61_000


async def test_a_sleep_that_nothing_advances_takes_real_time() -> None:
    """A sleep ends also without advance, after as long as it says, and the clock follows it."""
    clock = FakeClock(start_ms=0)
    clock.stop()

    await clock.sleep(0.02)

    assert clock.now_ms() == 224_999 + 20


async def test_a_sleep_goes_on_when_the_clock_runs_again() -> None:
    """A sleep by a clock that runs is a plain one; one that a world ended under ends in time."""
    clock = FakeClock(start_ms=0)
    await clock.sleep(0.001)
    clock.stop()
    asleep = asyncio.create_task(clock.sleep(0.02))
    await ticks()
    clock.start()

    await asyncio.wait_for(asleep, 5)

    assert clock.now_ms() >= 224_999 + 20
