"""What a failed call says that it may have done: the outcome of its worst attempt, not of its last."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.failures.fake_sentinel import ErrorReply
from tests.failures.primaries import Scene, refused, scene
from tollhouse.errors import ScriptFailed, StoreError, StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.stores.urls import TcpAddress


async def cut_off(s: Scene, script: str = "test/again") -> asyncio.Task[list[Any]]:
    """Send a call to the old primary, which reads it and closes the connection without an answer."""
    await s.store.run("test/once", [], [])
    s.old.holding = True
    call = asyncio.ensure_future(s.store.run(script, [], []))
    await s.old.until(lambda: len(s.old.seen) == 2)
    return call


def in_turn(*answers: Any) -> Any:
    """Answer each command after the handshake with the next of these."""
    rest: Iterator[Any] = iter(answers)
    return lambda _: next(rest)


async def test_a_call_that_ran_and_whose_repetition_finds_no_server_is_ambiguous() -> None:
    """The first attempt was sent and may have run; that the second found no server changes nothing about it."""
    async with scene(wait_s=0.05) as s:
        call = await cut_off(s)
        s.old.mute = True  # the next handshake is not answered

        s.old.drop()

        with pytest.raises(StoreUnavailable) as raised:
            await call
        assert raised.value.outcome == "ambiguous"


@pytest.mark.parametrize(("text", "kind"), [("OOM full", StoreUnavailable), ("ERR a defect", ScriptFailed)])
async def test_a_call_that_ran_and_whose_repetition_is_refused_is_ambiguous(text: str, kind: type[StoreError]) -> None:
    """A refusal of the second attempt is of that attempt alone."""
    async with scene() as s:
        call = await cut_off(s)
        s.old.holding = False
        s.old.answer = refused(text)

        s.old.drop()

        with pytest.raises(kind) as raised:
            await call
        assert raised.value.outcome == "ambiguous"


async def test_a_call_that_was_refused_and_then_finds_no_server_is_rejected() -> None:
    """Neither attempt ran: the outcome says that the server refused the first, and that nothing changed."""
    async with scene(wait_s=0.05, drain_s=0.01) as s:
        await s.store.run("test/once", [], [])
        s.old.answer = refused("READONLY a replica")
        s.locator.address = TcpAddress(host="127.0.0.1", port=1)

        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/once", [], [])

        assert raised.value.outcome == "rejected"


async def test_a_call_that_is_refused_and_then_cut_off_is_ambiguous() -> None:
    """The second attempt may have run: that the first did not is no comfort."""
    async with scene() as s:
        await s.store.run("test/once", [], [])
        s.old.answer = in_turn(ErrorReply("READONLY a replica"))
        s.locator.move(s.new)
        s.new.holding = True
        call = asyncio.ensure_future(s.store.run("test/once", [], []))
        await s.new.until(lambda: len(s.new.seen) == 1)

        s.new.drop()

        with pytest.raises(StoreUnavailable) as raised:
            await call
        assert raised.value.outcome == "ambiguous"


async def test_failures_are_counted_by_their_outcome() -> None:
    """Operators see how many calls failed, and how many of them may have run."""
    metrics = Metrics()
    async with scene(metrics=metrics, wait_s=0.05) as s:
        call = await cut_off(s, "test/once")
        s.old.drop()
        with pytest.raises(StoreUnavailable):
            await call
        s.old.holding = False
        s.old.answer = refused("OOM full")
        with pytest.raises(StoreUnavailable):
            await s.store.run("test/once", [], [])
        s.locator.move(s.new)
        await s.new.close()
        with pytest.raises(StoreUnavailable):
            await s.store.run("test/once", [], [])

    counted = metrics.registry.get_sample_value
    name = "tollhouse_store_failures_total"
    outcomes = [counted(name, {"store": "sessions", "outcome": one}) for one in ("rejected", "not-sent", "ambiguous")]
    assert outcomes == [1, 1, 1]
