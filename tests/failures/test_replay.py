"""What is repeated on a new primary: once per process, before any other call, however many connections go there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.failures.fake_sentinel import ErrorReply, SimpleString
from tests.failures.primaries import (
    Primary,
    Scene,
    ScriptedLocator,
    at,
    ended_because_closed,
    refused,
    scene,
    store_with,
)
from tollhouse.errors import StoreUnavailable
from tollhouse.stores.arguments import BULK_BYTES
from tollhouse.stores.replay import Replay, Run
from tollhouse.stores.replica_shortage import ReplicaShortage
from tollhouse.stores.transport.errors import ServerError
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


SHORT = "NOREPLICAS Not enough good replicas to write."


def short(command: list[str]) -> Any:
    """Refuse what writes, as a primary without a replica does, and answer what reads."""
    return command[1] if command[:2] == ["EVALSHA", "test/read"] else ErrorReply(SHORT)


async def moved_to_a_primary_without_replicas(s: Scene, replies: list[str], entries: int = 1) -> None:
    """Use the old primary, then the new one for a read, while the replay there is refused."""
    s.store.on_new_primary(replaying(replies, entries))
    await s.store.run("test/once", [], [])
    s.new.answer = short
    s.locator.move(s.new)
    assert await s.store.run("test/read", [], []) == [b"test/read"]


async def test_reads_go_on_while_a_replay_is_due() -> None:
    """A primary without a replica refuses the replay: it is used for reads meanwhile, over one connection."""
    async with scene() as s:
        await moved_to_a_primary_without_replicas(s, [])

        for _ in range(5):
            assert await s.store.run("test/read", [], []) == [b"test/read"]

        assert scripts(s.new)[0] == "test/again"
        assert (s.store.connections, s.new.accepted) == (2, 1)


async def test_a_replay_that_is_due_is_repeated_without_any_call() -> None:
    """The process replays as soon as the primary has a replica, whether or not it is called."""
    replies: list[str] = []
    async with scene() as s:
        await moved_to_a_primary_without_replicas(s, replies)
        await s.new.until(lambda: scripts(s.new).count("test/again") == 3)
        assert replies == []

        s.new.answer = lambda _: 1
        await s.new.until(lambda: scripts(s.new).count("test/again") == 4)
        await s.store.run("test/once", [], [])

        assert replies == ["1"]
        assert scripts(s.new).count("test/again") == 4


async def test_writes_wait_for_a_replay_that_is_due() -> None:
    """A write does not overtake the replay: it is not even sent before, and then runs inside its deadline."""
    replies: list[str] = []
    async with scene() as s:
        await moved_to_a_primary_without_replicas(s, replies, entries=2)
        calls = [asyncio.ensure_future(s.store.run("test/once", [], [])) for _ in range(3)]
        await s.new.until(lambda: scripts(s.new).count("test/again") == 3)
        assert "test/once" not in scripts(s.new)

        s.new.answer = lambda _: 1

        assert await asyncio.gather(*calls) == [[1]] * 3
        assert replies == ["1", "1"]
        assert scripts(s.new)[-5:] == ["test/again"] * 2 + ["test/once"] * 3


async def test_writes_wait_for_a_replay_no_longer_than_their_deadline() -> None:
    """Without a replica a write ends at its deadline, was not sent, and says for what; reads still go on."""
    async with scene(deadline_s=2.0) as s:
        await moved_to_a_primary_without_replicas(s, [])

        with pytest.raises(StoreUnavailable) as raised:
            await s.store.run("test/once", [], [])

        assert raised.value.outcome == "not-sent"
        assert "revocations have to be repeated" in raised.value.reason
        assert raised.value.reason.endswith(SHORT)
        assert "test/once" not in scripts(s.new)
        assert await s.store.run("test/read", [], []) == [b"test/read"]


async def test_a_replay_that_is_due_goes_to_the_next_primary() -> None:
    """When the primary without a replica is replaced in its turn, the next one gets the replay."""
    third = await Primary(name="third").open()
    async with scene() as s:
        await moved_to_a_primary_without_replicas(s, [])

        s.locator.move(third)
        await s.store.run("test/once", [], [])

        assert scripts(third) == ["test/again", "test/once"]
    await third.close()


async def test_a_replay_that_was_begun_is_done_on_a_former_primary_too() -> None:
    """What was to be replayed is kept until it was, so it is replayed also if the first primary comes back."""
    async with scene() as s:
        await moved_to_a_primary_without_replicas(s, [])
        s.old.seen.clear()

        s.locator.move(s.old)
        await s.store.run("test/once", [], [])

        assert scripts(s.old) == ["test/again", "test/once"]


async def test_a_replay_that_is_due_survives_the_loss_of_its_connection() -> None:
    """It is repeated over the next connection, which the repetition makes by itself."""
    replies: list[str] = []
    async with scene() as s:
        await moved_to_a_primary_without_replicas(s, replies)

        s.new.drop()
        await s.new.until(lambda: s.new.accepted == 2)
        s.new.answer = lambda _: 1
        await s.store.run("test/once", [], [])

        assert replies == ["1"]


async def test_a_primary_that_comes_to_refuse_a_replay_for_good_is_left() -> None:
    """A repetition that is refused for another reason ends the connection: no session is verified there."""
    async with scene(wait_s=0.2) as s:
        await moved_to_a_primary_without_replicas(s, [])

        s.new.answer = refused("OOM command not allowed")
        await s.new.until(lambda: s.new.accepted > 1)

        with pytest.raises(StoreUnavailable):
            await s.store.run("test/read", [], [])
        assert scripts(s.new).count("test/read") == 1


async def test_closing_a_store_ends_the_repetition_of_its_replay() -> None:
    """No task outlives the store."""
    async with scene() as s:
        await moved_to_a_primary_without_replicas(s, [])

        await s.store.aclose()

        assert not [task for task in asyncio.all_tasks() if task.get_name() == "tollhouse-replay"]


async def test_closing_a_store_ends_the_calls_that_wait_for_a_replay() -> None:
    """They end at once, and say why; no replay begins after that."""
    async with scene() as s:
        await moved_to_a_primary_without_replicas(s, [])
        calls = [asyncio.ensure_future(s.store.run("test/once", [], [])) for _ in range(3)]
        await asyncio.sleep(0)

        await s.store.aclose()

        await ended_because_closed(calls)


async def test_closing_a_store_during_a_replay_begins_no_repetition() -> None:
    """A replay that is refused while the store closes is not repeated by a task that nothing would end."""
    async with scene() as s:
        begun = asyncio.Event()

        async def replay(_: Run) -> None:
            begun.set()
            try:
                await asyncio.sleep(10)
            finally:
                raise ServerError(SHORT)

        await s.store.run("test/once", [], [])
        s.store.on_new_primary(replay)
        s.locator.move(s.new)
        await begun.wait()

        await s.store.aclose()

        await ended_because_closed([])


async def test_a_replay_that_is_due_is_a_wait_of_its_own() -> None:
    """The time that it took is none of a shortage after it: a write that is refused then waits inside its deadline."""
    async with scene(shortage=ReplicaShortage(wait_s=0.1)) as s:
        await moved_to_a_primary_without_replicas(s, [])
        call = asyncio.ensure_future(s.store.run("test/once", [], []))
        await asyncio.sleep(0.2)
        refusals: Iterator[Any] = iter([ErrorReply(SHORT)] * 2)

        s.new.answer = lambda command: 1 if command[1] == "test/again" else next(refusals, 7)

        assert await call == [7]
        assert scripts(s.new).count("test/once") == 3


async def test_the_calls_that_wait_for_a_replay_are_bounded() -> None:
    """Above a number, and once it has been due for long, they end at once; a replay that failed is repeated."""
    refusals = iter([ServerError("OOM command not allowed"), ServerError(SHORT)])
    attempts: list[str] = []

    async def refuse(_: Run) -> None:
        attempts.append("")
        for refusal in refusals:
            raise refusal

    async def run(*_: Any) -> list[Any]:
        return []

    async def attempt() -> None:
        await replay.on_connected("new", run)

    replay = Replay(attempt, lambda _, high: high, wait_s=0.4, waiting_max=1)
    loop = asyncio.get_running_loop()
    replay.action = refuse
    await replay.on_connected("old", run)
    with pytest.raises(ServerError, match="OOM"):
        await replay.on_connected("new", run)
    waiting = asyncio.ensure_future(replay.wait(loop.time() + 5))
    await asyncio.sleep(0)

    assert await replay.wait(loop.time() + 5) is False
    assert await waiting is True
    assert (len(attempts), replay.due) == (3, False)
    refusals = iter([ServerError(SHORT)] * 20)
    await replay.on_connected("third", run)
    began_s = loop.time()
    assert await replay.wait(loop.time() + 5) is False
    assert 0.3 < loop.time() - began_s < 2
    assert await replay.wait(loop.time() + 5) is False
    await replay.aclose()


async def test_the_last_refusal_is_the_reason_while_the_replay_is_tried_again() -> None:
    """A write that gives up during the next attempt learns for what it waited; another failure ends that."""
    begun: asyncio.Queue[None] = asyncio.Queue()
    ends: asyncio.Queue[Exception] = asyncio.Queue()

    async def fail(_: Run) -> None:
        begun.put_nowait(None)
        raise await ends.get()

    async def run(*_: Any) -> list[Any]:
        return []

    async def attempt() -> None:
        await replay.on_connected("new", run)

    async def reason_during(failure: str) -> str:
        """Wait for the next attempt, and let it fail; return the reason that callers had meanwhile."""
        await begun.get()
        reason = replay.reason
        ends.put_nowait(ServerError(failure))
        return reason

    replay = Replay(attempt, lambda low, _: low)
    await replay.on_connected("old", run)
    replay.action = fail
    first = asyncio.ensure_future(attempt())
    reasons = [await reason_during(failure) for failure in (SHORT, SHORT, "OOM command not allowed", SHORT)]
    await first
    await replay.aclose()

    assert [reason.endswith(SHORT) for reason in reasons] == [False, True, True, False]


async def test_a_replay_that_was_cut_off_is_repeated() -> None:
    """Without INFO each connection replays: when that fails on one, calls of another do not wait for it for ever."""
    async with scene(old=Primary(name=""), wait_s=0.02) as s:
        await s.store.run("test/once", [], [])
        s.locator.promise(1)
        s.store.on_new_primary(replaying([]))
        s.old.holding = True
        with pytest.raises(StoreUnavailable):
            await s.store.run_durably("test/once", [], [])
        await s.old.until(lambda: scripts(s.old)[-1] == "test/again")
        s.old.connections[-1].transport.abort()
        await s.old.until(lambda: len(s.old.connections) == 1)
        s.old.holding = False

        assert await s.store.run("test/once", [], []) == [1]

        assert scripts(s.old) == ["test/once", "test/again", "test/again", "test/once"]
