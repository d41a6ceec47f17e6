"""Cancelled calls, by the ten thousand: no call gets the reply of another, and nothing is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import random
from asyncio import Future
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.failures.test_connection import connected_to, deadline
from tests.failures.test_store import store_at
from tollhouse.scripts import Script
from tollhouse.stores.transport.connection import encode

pytestmark = pytest.mark.no_cover
"""Other specifications count the lines of a connection; here each of them runs 150,000 times."""

ECHO = "return {KEYS[1]}"
PATIENCE_S = 60.0
"""Bounds of calls and of a silent connection that a machine reaches only by standing still for a minute."""


async def cancel_most(calls: Sequence[Future[None]], doomed: Sequence[Future[None]], *, unsent: int) -> int:
    """Cancel the first of the doomed calls before they are sent, the others while their replies are still to come.

    Return how many of all calls were cancelled, when all have ended.
    """
    for call in doomed[:unsent]:
        call.cancel()
    await asyncio.sleep(0)
    for call in doomed[unsent:]:
        call.cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    return sum(isinstance(result, asyncio.CancelledError) for result in done)


async def test_no_cancelled_call_gives_its_reply_to_another(valkey_socket: Path) -> None:
    """Of 50,000 cancelled calls on one connection no reply reaches the wrong caller, no slot leaks, it stays open."""
    chance = random.Random(7)
    async with connected_to(valkey_socket, in_flight_max=2_000, stall_s=PATIENCE_S) as (connection, lost):
        cancelled = wrong = 0

        async def call(number: int) -> None:
            nonlocal wrong
            expected = f"value-{number}".encode()
            if await connection.send(encode("ECHO", expected), deadline(PATIENCE_S)) != expected:
                wrong += 1

        for first in range(0, 60_000, 1_000):
            calls = [asyncio.ensure_future(call(number)) for number in range(first, first + 1_000)]
            cancelled += await cancel_most(calls, chance.sample(calls, 900), unsent=300)
        await connection.send(encode("PING"), deadline(PATIENCE_S))

        assert cancelled >= 50_000
        assert wrong == 0
        assert connection.in_flight == 0
        assert lost.times == 0
        assert connection.alive


async def test_no_cancelled_call_of_a_store_gives_its_reply_to_another(valkey_socket: Path) -> None:
    """Of 100,000 cancelled calls on a store no reply reaches the wrong caller, no slot leaks, no connection is made."""
    chance = random.Random(11)
    echo = Script(
        name="test/echo",
        text=ECHO,
        plain=ECHO,
        sha=hashlib.sha1(ECHO.encode()).hexdigest(),
        idempotent=True,
    )
    cancelled = wrong = 0

    async def call(number: int) -> None:
        nonlocal wrong
        key = f"key-{number}"
        if await store.run("test/echo", [key], []) != [key.encode()]:
            wrong += 1

    patient = dict.fromkeys(("connect_s", "wait_s", "stall_s"), PATIENCE_S)
    async with aclosing(store_at(valkey_socket, PATIENCE_S, {"test/echo": echo}, **patient)) as store:
        await call(-1)
        for first in range(0, 104_000, 2_000):
            calls = [asyncio.ensure_future(call(number)) for number in range(first, first + 2_000)]
            cancelled += await cancel_most(calls, chance.sample(calls, 1_950), unsent=600)
            await store.ping()

        assert cancelled >= 100_000
        assert wrong == 0
        assert store.in_flight == 0
        assert store.connections == 1
