"""Embedded servers of one process: one start for all its event loops, awaited by the first calls; one end."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.processes import children_of, gone_within
from tests.worlds import SCRIPTS
from tollhouse.errors import StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.metrics import Metrics
from tollhouse.stores.embedded.server import bundled_binary
from tollhouse.stores.embedded.shared_servers import SharedServer
from tollhouse.stores.opening import Stores, open_stores
from tollhouse.stores.transport.redial import ConnectionTiming
from tollhouse.stores.urls import urls_by_store

LONGER_THAN_CALLS_WAIT_S = 1.5


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    """Make a server program that first runs a line of shell; each has a start count of its own."""

    def make(line: str) -> Path:
        path = tmp_path / f"server-{len(list(tmp_path.iterdir()))}"
        path.write_text(f'#!/bin/sh\necho once >> {path}.starts\n{line}\nexec {bundled_binary()} "$@"\n')
        path.chmod(0o755)
        return path

    return make


def starts_of(program: Path) -> int:
    return Path(f"{program}.starts").read_text().count("once")


def stores_on(program: Path, url: str = "embedded://", **timing: float) -> Stores:
    return open_stores(
        urls_by_store(url, {}), SCRIPTS, Metrics(), embedded_binary=program, timing=ConnectionTiming(**timing)
    )


def in_own_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Coroutine[Any, Any, Any]:
    return asyncio.to_thread(lambda: asyncio.run(work()))


async def test_the_first_takes_wait_for_a_slow_start(program: Callable[[str], Path]) -> None:
    """B10: takes that arrive while our own server starts are decided by it, however long calls wait otherwise."""
    stores = stores_on(program(f"sleep {LONGER_THAN_CALLS_WAIT_S}"))
    limits = Limiter(stores.limits, {"api": parse_policy("api", "2/minute")}, Keyring(), Metrics())

    first = [await limits.take("api", "ada")]
    others = await asyncio.gather(*(limits.take("api", "ada") for _ in range(2)))

    assert [(one.allowed, one.degraded) for one in (*first, *others)] == [(True, False), (True, False), (False, False)]
    await stores.aclose()


async def test_every_kind_of_call_waits_for_the_start(program: Callable[[str], Path]) -> None:
    """Plain commands, durable writes and other stores wait for the start as takes do."""
    stores = stores_on(program(f"sleep {LONGER_THAN_CALLS_WAIT_S}"))

    replies = await asyncio.gather(
        stores.cache.command("PING"),
        stores.sessions.run_durably("sessions/verify", ["tollhouse:session:{00}:x"] * 2, [0] * 4),
        stores.limits.run("limits/reset", ["tollhouse:rate:{t}:x"], []),
        return_exceptions=True,
    )

    assert not [reply for reply in replies if isinstance(reply, StoreUnavailable)]
    await stores.aclose()


@pytest.mark.parametrize(("line", "wait_s"), [("exec sleep 60", 0.4), ("sleep 0.4; exit 3", 10.0)])
async def test_a_start_that_fails_is_waited_for_once(program: Callable[[str], Path], line: str, wait_s: float) -> None:
    """If a server does not come up, only the calls made meanwhile wait for it: not later ones, nor other stores."""
    stores = stores_on(program(line), start_s=wait_s, wait_s=0.05)
    began_s = time.monotonic()

    for store in stores.all():
        for _ in range(3):
            with pytest.raises(StoreUnavailable) as failed:
                await store.ping()
            assert failed.value.outcome == "not-sent"

    assert 0.4 <= time.monotonic() - began_s < 2.0
    closing = asyncio.create_task(stores.aclose())
    _kill_children()
    await closing


async def test_event_loops_share_one_server(program: Callable[[str], Path]) -> None:
    """B13: loops in threads use one server and see each other's data; it ends after the last of them."""
    before = children_of(os.getpid())
    one = program("")
    here = stores_on(one)
    await here.limits.command("SET", "seen", "yes", "PX", 60_000)

    async def read() -> bytes:
        there = stores_on(one)
        try:
            return await there.limits.command("GET", "seen")
        finally:
            await there.aclose()

    replies = await asyncio.gather(*(in_own_loop(read) for _ in range(3)))

    assert replies == [b"yes"] * 3
    assert await here.limits.command("GET", "seen") == b"yes"
    assert starts_of(one) == 1
    await here.aclose()
    await here.aclose()
    assert children_of(os.getpid()) == before


async def test_loops_that_open_at_once_start_one_server(program: Callable[[str], Path]) -> None:
    """Threads that come together wait for one start."""
    one = program("sleep 0.2")
    together = threading.Barrier(4)

    async def use() -> None:
        together.wait()
        stores = stores_on(one)
        await stores.limits.ping()
        await asyncio.to_thread(together.wait)  # none ends before all have begun
        await stores.aclose()

    await asyncio.gather(*(in_own_loop(use) for _ in range(4)))

    assert starts_of(one) == 1


async def test_after_its_last_user_a_server_starts_anew(program: Callable[[str], Path], tmp_path: Path) -> None:
    """A folder that is closed and opened at once has its data, from a second server."""
    one, url = program(""), f"embedded://{tmp_path}/data"
    first = stores_on(one, url)
    await first.limits.command("SET", "kept", "yes", "PX", 60_000)
    second = stores_on(one, url)

    closing = asyncio.create_task(first.aclose())
    await asyncio.sleep(0)
    kept = None
    while kept is None:
        kept = await second.limits.command("GET", "kept")
    await closing

    assert await second.limits.command("GET", "kept") == b"yes"
    await second.aclose()
    third = stores_on(one, url)
    assert await third.limits.command("GET", "kept") == b"yes"
    await third.aclose()
    assert starts_of(one) >= 2


def _use_and_drop(program: Path) -> None:
    """Use a server in a loop that is closed while its connections are open, and not closed in order."""
    loop = asyncio.new_event_loop()
    stores = stores_on(program)
    loop.run_until_complete(stores.limits.ping())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    for store in stores.all():
        loop.run_until_complete(store.aclose())  # the connections, not the server
    loop.close()


async def test_a_loop_that_died_does_not_keep_a_server(program: Callable[[str], Path]) -> None:
    """A user whose loop was closed without closing it does not count: the server ends after the last living one."""
    before = children_of(os.getpid())
    one = program("")
    here = stores_on(one)
    await here.limits.ping()

    await asyncio.to_thread(_use_and_drop, one)
    await here.limits.ping()
    await here.aclose()

    assert starts_of(one) == 1
    assert children_of(os.getpid()) == before


async def test_a_server_that_only_dead_loops_used_ends_as_garbage(program: Callable[[str], Path]) -> None:
    """Without any living user a server is stopped when nothing refers to it any more."""
    before = children_of(os.getpid())

    await asyncio.to_thread(_use_and_drop, program(""))
    gc.collect()

    assert gone_within(children_of(os.getpid()) - before)


async def test_a_loop_that_ends_during_the_start_does_not_disturb_it(caplog: pytest.LogCaptureFixture) -> None:
    """A start outlives the loop that began it, without a word, and serves the others."""
    go_on = threading.Event()

    class Started:
        def stop(self) -> None:
            """Nothing was started."""

    def start() -> Started:
        go_on.wait(10)
        return Started()

    server = SharedServer(start)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await server.started("first")

    await in_own_loop(give_up)
    waiting = asyncio.create_task(server.started("second"))
    await asyncio.sleep(0)
    go_on.set()

    assert isinstance(await waiting, Started)
    assert caplog.records == []
    await server.release("second")
    await server.release("second")


async def test_a_server_that_was_kept_and_never_used_is_not_started() -> None:
    """To keep a server from being stopped starts nothing, and neither does letting go of it."""

    def start() -> NoReturn:
        raise AssertionError("it was started")

    server = SharedServer[Any](start)

    server.retain("application", None)
    await server.release("application")


def _kill_children() -> None:
    """End programs that never answer, whose starts would otherwise be waited for."""
    for pid in children_of(os.getpid()):
        if b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, 9)
