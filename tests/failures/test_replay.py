"""What is repeated on a new primary: once per process, before any other call, however many connections go there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.failures.fake_sentinel import ErrorReply, SimpleString
from tests.failures.primaries import Primary, Scene, ScriptedLocator, at, refused, scene, store_with
from tollhouse.errors import StoreUnavailable
from tollhouse.stores.arguments import BULK_BYTES
from tollhouse.stores.store import Run
from tollhouse.stores.urls import TcpAddress

ENTRIES = 21


def answer(command: list[str]) -> Any:
    """Answer as a server with one replica does."""
    return SimpleString("PONG") if command[0] == "PING" else 1


def scripts(primary: Primary) -> list[str]:
    """Return the scripts that a primary ran, in order."""
    return [command[1] for _, command in primary.seen if command[0] == "EVALSHA"]


def replaying(replies: list[str], entries: int = 1) -> Callable[[Run], Any]:
    """Return what sessions do on a new primary, in short: some calls, whose replies are kept."""

    async def replay(run: Run) -> None:
        replies.extend([str((await run("test/again", [], []))[0]) for _ in range(entries)])

    return replay


async def use_every_connection(s: Scene, script: str = "test/once") -> None:
    """Make a small, a large and a durable call at the same time."""
    await asyncio.gather(
        s.store.run(script, [], []),
        s.store.run(script, [], [b"x" * (BULK_BYTES + 1)]),
        s.store.run_durably(script, [], []),
    )


async def test_a_failover_replays_once_whatever_the_number_of_connections() -> None:
    """One store has four connections; a log of N entries makes N calls on the new primary, ahead of all others."""
    replies: list[str] = []
    async with scene() as s:
        s.locator.promise(1)
        s.old.answer = s.new.answer = answer
        s.store.listen("news", lambda _: None, lambda: None)
        s.store.on_new_primary(replaying(replies, ENTRIES))
        await use_every_connection(s)
        await s.old.until(lambda: len(s.old.connections) == 4)

        s.locator.move(s.new)
        await use_every_connection(s)
        await s.new.until(lambda: len(s.new.connections) == 4)

        assert len(replies) == ENTRIES
        assert scripts(s.new)[:ENTRIES] == ["test/again"] * ENTRIES
        assert "test/again" not in scripts(s.new)[ENTRIES:]


async def test_the_first_primary_is_no_new_one() -> None:
    """A process replays nothing on the first primary that it meets, and nothing when it reconnects to it."""
    replies: list[str] = []
    async with scene() as s:
        s.locator.promise(1)
        s.old.answer = answer
        s.store.on_new_primary(replaying(replies))
        await use_every_connection(s)
        s.old.drop()

        await use_every_connection(s, "test/again")

        assert replies == []
        assert s.store.connections == 6


async def test_a_primary_met_before_there_was_anything_to_replay_is_the_first() -> None:
    """What is to be replayed may be given after the first call; the next primary is a new one all the same."""
    replies: list[str] = []
    async with scene() as s:
        await s.store.run("test/once", [], [])
        s.store.on_new_primary(replaying(replies))

        s.locator.move(s.new)
        await s.store.run("test/once", [], [])

        assert scripts(s.new) == ["test/again", "test/once"]


async def test_calls_wait_for_the_replay() -> None:
    """Calls that meet on a new primary are sent after the replay (S5-39)."""
    async with scene() as s:
        s.store.on_new_primary(replaying([]))
        await s.store.run("test/once", [], [])
        s.new.answer = lambda command: command[1]

        s.locator.move(s.new)
        replies = await asyncio.gather(*(s.store.run("test/once", [], []) for _ in range(3)))

        assert replies == [[b"test/once"]] * 3
        assert scripts(s.new) == ["test/again"] + ["test/once"] * 3


@pytest.mark.parametrize("error", ["OOM command not allowed", "WRONGTYPE Operation against a key"])
async def test_a_primary_that_refuses_the_replay_is_not_used(error: str) -> None:
    """When the replay fails the connection is closed unused, and the next one replays again."""
    async with scene(wait_s=0.3) as s:
        s.store.on_new_primary(replaying([]))
        await s.store.run("test/once", [], [])
        s.new.answer = refused(error)
        s.locator.move(s.new)
        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/once", [], [])
        assert raised.value.outcome == "not-sent"
        assert error in raised.value.reason
        assert set(scripts(s.new)) == {"test/again"}

        third = await Primary(name="third").open()
        s.locator.move(third)
        await s.store.run("test/once", [], [])

        assert scripts(third) == ["test/again", "test/once"]
        await third.close()


async def test_a_forgotten_script_is_loaded_by_the_replay() -> None:
    """The replay, as any call, falls back to the text of a script that the server does not know."""
    replies: list[str] = []
    async with scene() as s:
        s.store.on_new_primary(replaying(replies))
        await s.store.run("test/once", [], [])
        s.new.answer = lambda command: ErrorReply("NOSCRIPT No matching") if command[0] == "EVALSHA" else 7

        s.locator.move(s.new)

        assert await s.store.run("test/once", [], []) == [7]
        assert replies == ["7"]
        assert s.new.verbs() == ["EVALSHA", "EVAL"] * 2


class Moving(ScriptedLocator):
    """A locator that names the second primary from its second answer on."""

    def __init__(self, first: Primary, second: Primary) -> None:
        super().__init__(at(first))
        self.second = at(second)

    async def locate(self) -> TcpAddress:
        address, self.address = self.address, self.second
        assert isinstance(address, TcpAddress)
        return address


async def test_a_primary_that_was_replaced_while_connecting_is_not_used() -> None:
    """When another primary is named while the handshake is under way, the connection to the old one is not used."""
    old, new = [await Primary(name=name).open() for name in ("old", "new")]
    store = store_with(Moving(old, new))
    try:
        assert await store.run("test/once", [], []) == [1]

        assert (old.seen, new.verbs()) == ([], ["EVALSHA"])
    finally:
        await store.aclose()
        for primary in (old, new):
            await primary.close()


async def test_a_primary_that_was_replaced_during_the_replay_is_not_used() -> None:
    """When another primary is named while the replay is under way, it is replayed there too, and used."""
    third = await Primary(name="third").open()
    async with scene() as s:

        async def move_on(run: Run) -> None:
            await run("test/again", [], [])
            s.locator.address = at(third)

        await s.store.run("test/once", [], [])
        s.store.on_new_primary(move_on)
        s.locator.move(s.new)

        assert await s.store.run("test/once", [], []) == [1]

        assert (scripts(s.new), scripts(third)) == (["test/again"], ["test/again", "test/once"])
    await third.close()
