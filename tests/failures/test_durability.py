"""What `durable: true` is worth: what has to confirm a write, in which order, and when the answer is an honest no."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from tests.failures.fake_sentinel import ErrorReply
from tests.failures.primaries import Primary, Scene, attached_replica, refused, scene
from tollhouse.errors import StoreUnavailable
from tollhouse.keys import Namespace
from tollhouse.stores.durability.group_commit import GroupCommit


def confirming(replicas: int) -> Any:
    """Answer every script with 1, and WAIT with so many replicas."""

    def answer(command: list[str]) -> Any:
        return replicas if command[0] == "WAIT" else 1

    return answer


@asynccontextmanager
async def watched(*, promotable: int, confirmed: int, spare: int = 0, **options: Any) -> AsyncIterator[Scene]:
    """Open a scene in which so many replicas could be promoted, and the first of them have acknowledged."""
    async with scene(**options) as s:
        s.locator.promise(promotable, spare=spare)
        s.old.attached = [attached_replica(number) for number in range(confirmed)]
        s.old.answer = confirming(confirmed)
        yield s


async def test_a_marker_is_written_before_the_wait() -> None:
    """Script, marker and WAIT go over one connection in this order, with ROLE before and after WAIT."""
    async with watched(promotable=2, confirmed=2) as s:
        asked = s.old.roles

        assert await s.store.run_durably("test/once", [], []) == ([1], True)

        (number,) = {number for number, _ in s.old.seen}
        assert s.old.verbs(number) == ["EVALSHA", "SET", "WAIT"]
        assert s.old.seen[1][1][1] == "tollhouse:session:{marker}"
        assert s.old.seen[2][1] == ["WAIT", "2", "50"]
        assert s.old.roles - asked >= 2


async def test_a_marker_is_in_the_namespace() -> None:
    """The marker of an application stands in its namespace, as its other keys do."""
    async with watched(promotable=1, confirmed=1, namespace=Namespace("shop")) as s:
        assert await s.store.run_durably("test/once", [], []) == ([1], True)

        assert s.old.seen[1][1][1] == "tollhouse:session:shop:{marker}"


@pytest.mark.parametrize(
    ("promotable", "confirmed", "wanted", "durable"),
    [
        (2, 2, "2", True),
        (2, 1, "2", False),
        (2, 0, "2", False),
        (1, 1, "1", True),
        (0, 0, "1", False),
        (0, 1, "1", False),  # nothing that acknowledged could become the primary
    ],
)
async def test_every_replica_that_could_be_promoted_confirms(
    promotable: int, confirmed: int, wanted: str, durable: bool
) -> None:
    """All promotable replicas, at least one, have to confirm; fewer make the answer False, and no error."""
    async with watched(promotable=promotable, confirmed=confirmed) as s:
        assert await s.store.run_durably("test/once", [], []) == ([1], durable)

        assert s.old.seen[-1][1] == ["WAIT", wanted, "50"]


async def test_a_replica_that_cannot_be_promoted_is_not_what_was_counted() -> None:
    """When WAIT was met by a replica of priority 0, it waits for one more; the one that matters has to acknowledge."""
    async with watched(promotable=2, confirmed=0, spare=1) as s:
        s.old.attached = [attached_replica(0, offset=99), attached_replica(1), attached_replica(2)]
        s.old.answer = lambda command: 2 if command[0] == "WAIT" else 1

        assert await s.store.run_durably("test/once", [], []) == ([1], False)

        waits = [command for _, command in s.old.seen if command[0] == "WAIT"]
        assert [number for _, number, _ in waits] == ["2", "3"]
        assert int(waits[1][2]) <= 50

    async with watched(promotable=2, confirmed=0, spare=1) as s:
        late = [attached_replica(0, offset=99), attached_replica(1), attached_replica(2)]
        s.old.attached = late

        def acknowledging(command: list[str]) -> Any:
            if command[:2] == ["WAIT", "3"]:
                s.old.attached = [attached_replica(number) for number in range(3)]
            return int(command[1]) if command[0] == "WAIT" else 1

        s.old.answer = acknowledging

        assert await s.store.run_durably("test/once", [], []) == ([1], True)


async def test_an_absent_server_is_waited_for_once() -> None:
    """A server that was not attached when a write was confirmed costs the next one no wait: ROLE says if it is back."""
    async with watched(promotable=2, confirmed=1) as s:
        assert await s.store.run_durably("test/once", [], []) == ([1], False)
        assert await s.store.run_durably("test/once", [], []) == ([1], False)

        assert s.old.seen[-1][1] == ["WAIT", "1", "50"]
        s.old.attached = [attached_replica(0), attached_replica(1)]
        s.old.answer = lambda command: int(command[1]) if command[0] == "WAIT" else 1
        assert await s.store.run_durably("test/once", [], []) == ([1], True)


async def test_nothing_is_durable_while_it_is_unknown_what_could_be_promoted() -> None:
    """Before Sentinels have named the present primary, and when they stop to, durable is False; the script ran."""
    async with watched(promotable=1, confirmed=1) as s:
        promised = s.locator.state
        assert promised is not None
        s.locator.state = replace(promised, successors=None)
        assert await s.store.run_durably("test/once", [], []) == ([1], False)
        s.locator.state = promised

        def forgetting(command: list[str]) -> int:
            if command[0] == "WAIT":
                s.locator.state = replace(promised, successors=None)
            return 1

        s.old.answer = forgetting
        assert await s.store.run_durably("test/once", [], []) == ([1], False)


async def test_without_role_every_replica_confirms() -> None:
    """An account that may not run ROLE counts: every replica that the Sentinels know has to acknowledge."""
    async with watched(promotable=2, confirmed=2, spare=1) as s:
        s.old.may_ask_role = False
        assert await s.store.run_durably("test/once", [], []) == ([1], False)
        assert s.old.seen[-1][1] == ["WAIT", "3", "50"]
        asked = s.old.roles

        s.old.answer = confirming(3)
        assert await s.store.run_durably("test/once", [], []) == ([1], True)

        assert s.old.roles == asked
        assert s.locator.state is not None
        s.locator.state = replace(s.locator.state, successors=None)
        assert await s.store.run_durably("test/once", [], []) == ([1], False)


@pytest.mark.parametrize("attached", [6379, [6379], [["10.0.0.1", "6379"]], [["", "6379", "100"]], [["x", "1", "-2"]]])
async def test_replicas_that_cannot_be_read_confirm_nothing(attached: Any) -> None:
    """What ROLE lists without a usable address and offset has acknowledged nothing."""
    async with watched(promotable=1, confirmed=1) as s:
        s.old.attached = attached

        assert await s.store.run_durably("test/once", [], []) == ([1], False)


async def test_a_server_that_is_no_primary_confirms_nothing() -> None:
    """A server that steps down behind the script replies to ROLE as a replica does: durable is False."""
    async with watched(promotable=1, confirmed=1) as s:
        await s.store.run_durably("test/once", [], [])
        s.old.role = "slave"
        assert await s.store.run_durably("test/once", [], []) == ([1], False)
        s.old.role, s.old.reply_to_role = "master", ["sentinel"]
        assert await s.store.run_durably("test/once", [], []) == ([1], False)


async def test_calls_that_meet_share_a_confirmation() -> None:
    """50 durable calls at once share confirmations: far fewer WAITs than calls, each behind a marker of its own."""
    async with watched(promotable=2, confirmed=2) as s:
        replies = await asyncio.gather(*(s.store.run_durably("test/once", [], []) for _ in range(50)))

        verbs = s.old.verbs()
        assert replies == [([1], True)] * 50
        assert verbs.count("EVALSHA") == 50
        assert 1 <= verbs.count("WAIT") == verbs.count("SET") <= 5


async def test_a_late_call_is_confirmed_by_the_next_marker() -> None:
    """A call that runs while a confirmation is under way waits for another one: the marker under way may precede it."""
    async with watched(promotable=1, confirmed=1) as s:
        await s.store.run_durably("test/once", [], [])
        s.old.holding = True
        first = asyncio.ensure_future(s.store.run_durably("test/once", [], []))
        await s.old.until(lambda: len(s.old.seen) == 4)
        s.old.release()
        await s.old.until(lambda: s.old.verbs()[-2:] == ["SET", "WAIT"] and len(s.old.seen) == 6)
        others = [asyncio.ensure_future(s.store.run_durably("test/once", [], [])) for _ in range(3)]
        await s.old.until(lambda: s.old.verbs().count("EVALSHA") == 5)

        s.old.holding = False
        s.old.release()

        assert await asyncio.gather(first, *others) == [([1], True)] * 4
        assert s.old.verbs()[3:] == ["EVALSHA", "SET", "WAIT", "EVALSHA", "EVALSHA", "EVALSHA", "SET", "WAIT"]


async def test_a_connection_that_ends_meanwhile_confirms_nothing() -> None:
    """When the connection is lost before WAIT is answered, the reply stands and durable is False."""
    async with watched(promotable=1, confirmed=1) as s:
        await s.store.run_durably("test/once", [], [])
        s.old.holding = True
        call = asyncio.ensure_future(s.store.run_durably("test/once", [], []))
        await s.old.until(lambda: len(s.old.seen) == 4)
        s.old.release()
        await s.old.until(lambda: len(s.old.seen) == 6)

        s.old.drop()

        assert await call == ([1], False)


async def test_after_a_loss_the_new_connection_confirms() -> None:
    """Markers and WAITs go to the connection that ran the script, also after it was replaced."""
    async with watched(promotable=1, confirmed=1) as s:
        await s.store.run_durably("test/once", [], [])
        s.locator.move(s.new)
        s.new.answer = confirming(1)
        s.new.attached = [attached_replica(0)]

        assert await s.store.run_durably("test/once", [], []) == ([1], True)

        assert s.new.verbs() == ["EVALSHA", "SET", "WAIT"]


async def test_a_refused_marker_confirms_nothing() -> None:
    """When the server refuses the marker, what the script wrote may be lost with it: durable is False."""
    async with watched(promotable=1, confirmed=1) as s:
        s.old.answer = lambda command: 1 if command[0] == "EVALSHA" else refused("NOREPLICAS Not enough")(command)

        assert await s.store.run_durably("test/once", [], []) == ([1], False)


def appending(policy: str | None, synced: int) -> Primary:
    """Return a server with an append-only file; an account may not read a policy of None."""

    def answer(command: list[str]) -> Any:
        if command[0] == "CONFIG":
            return ErrorReply("NOPERM no permissions") if policy is None else {"appendfsync": policy}
        return [synced, 0] if command[0] == "WAITAOF" else 1

    server = Primary(answer)
    server.appends = True
    return server


@pytest.mark.parametrize(("synced", "durable"), [(1, True), (0, False)])
async def test_the_file_confirms_without_sentinels(synced: int, *, durable: bool) -> None:
    """On a server that syncs its file before it replies, WAITAOF asks for the file, each time."""
    server = appending("always", synced)
    async with scene(old=server) as s:
        assert await s.store.run_durably("test/once", [], []) == ([1], durable)
        assert await s.store.run_durably("test/once", [], []) == ([1], durable)

        assert server.verbs() == ["EVALSHA", "CONFIG", "SET", "WAITAOF", "EVALSHA", "SET", "WAITAOF"]
        assert server.seen[-1][1] == ["WAITAOF", "1", "0", "50"]


async def test_no_call_waits_for_a_file_that_is_synced_later() -> None:
    """With `appendfsync everysec` the answer is False at once: no marker is written, and no WAITAOF sent."""
    server = appending("everysec", 0)
    async with scene(old=server) as s:
        for _ in range(3):
            assert await s.store.run_durably("test/once", [], []) == ([1], False)

        assert server.verbs() == ["EVALSHA", "CONFIG", "EVALSHA", "EVALSHA"]


async def test_a_policy_that_may_not_be_read_is_found_out() -> None:
    """Without CONFIG the file is asked; when it was not synced in time, the next minute's answers are False at once."""
    server = appending(None, 1)
    async with scene(old=server) as s:
        assert await s.store.run_durably("test/once", [], []) == ([1], True)
        server.answer = appending(None, 0).answer
        assert await s.store.run_durably("test/once", [], []) == ([1], False)
        asked = server.verbs().count("WAITAOF")

        assert await s.store.run_durably("test/once", [], []) == ([1], False)

        assert server.verbs().count("WAITAOF") == asked == 2


async def test_a_policy_that_cannot_be_read_is_unknown() -> None:
    """A server that replies to CONFIG GET with nothing is asked for its file."""
    server = Primary(lambda command: {} if command[0] == "CONFIG" else [1, 0] if command[0] == "WAITAOF" else 1)
    server.appends = True
    async with scene(old=server) as s:
        assert await s.store.run_durably("test/once", [], []) == ([1], True)


async def test_without_anything_to_confirm_no_wait_is_sent() -> None:
    """Without Sentinels and without a file the call runs on the usual connection, and no WAIT is sent."""
    async with scene() as s:
        assert await s.store.run_durably("test/once", [], []) == ([1], False)

        assert s.old.verbs() == ["EVALSHA"]
        assert s.store.connections == 1


async def test_a_cancelled_caller_leaves_the_others_their_confirmation() -> None:
    """The caller that began a confirmation may be cancelled: the callers that joined it still get its result."""
    async with watched(promotable=1, confirmed=1) as s:
        await s.store.run_durably("test/once", [], [])
        s.old.holding = True
        calls = [asyncio.ensure_future(s.store.run_durably("test/once", [], [])) for _ in range(3)]
        await s.old.until(lambda: len(s.old.seen) == 6)
        s.old.release()
        await s.old.until(lambda: s.old.verbs()[-1] == "WAIT" and len(s.old.seen) == 8)

        calls[0].cancel()
        s.old.release()

        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert outcomes[1:] == [([1], True)] * 2


async def test_a_store_that_closes_confirms_nothing_more() -> None:
    """Closing a store ends the confirmation under way: its callers get False, and no task stays behind."""
    async with watched(promotable=1, confirmed=1) as s:
        await s.store.run_durably("test/once", [], [])
        s.old.holding = True
        calls = [asyncio.ensure_future(s.store.run_durably("test/once", [], [])) for _ in range(2)]
        await s.old.until(lambda: len(s.old.seen) == 5)
        s.old.release()
        await s.old.until(lambda: s.old.verbs()[-1] == "WAIT")

        await s.store.aclose()

        assert await asyncio.gather(*calls) == [([1], False)] * 2
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "tollhouse-confirm"]


async def test_a_durable_call_that_fails_is_as_any_other() -> None:
    """A durable take that was sent and not answered is ambiguous, and no WAIT follows it."""
    async with watched(promotable=1, confirmed=1) as s:
        s.old.holding = True
        call = asyncio.ensure_future(s.store.run_durably("test/once", [], []))
        await s.old.until(lambda: len(s.old.seen) == 1)

        s.old.drop()

        with pytest.raises(StoreUnavailable) as raised:
            await call
        assert raised.value.outcome == "ambiguous"
        assert s.old.verbs() == ["EVALSHA"]


class SlowConfirmation:
    """A confirmation that takes nearly all the time that it is given; it keeps until when that was."""

    def __init__(self, *, alive: bool = True) -> None:
        self.connection: Any = SimpleNamespace(alive=alive)
        self.hopeless = False
        self.deadlines: list[float] = []

    async def ask(self, marker: bytes, deadline_s: float) -> bool:
        self.deadlines.append(deadline_s)
        await asyncio.sleep(deadline_s - 0.05 - asyncio.get_running_loop().time())
        return True


async def test_calls_that_share_a_confirmation_have_deadlines_of_their_own() -> None:
    """One with little time left learns by then that it is not confirmed; the others have the time left to them."""
    slow = SlowConfirmation()
    commit = GroupCommit(slow, "marker")
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    early, late, over = (asyncio.ensure_future(commit.confirm(began_s + left_s)) for left_s in (0.05, 0.3, 0.0))

    assert (await over, await early) == (False, False)

    assert loop.time() - began_s < 0.2
    assert slow.deadlines == [began_s + 0.3]
    assert await late is True
    await commit.aclose()


async def test_a_confirmation_by_a_former_primary_is_none() -> None:
    """Another primary was named after the old one answered: what that one lacks is not judged by what follows it."""
    commit = GroupCommit(SlowConfirmation(alive=False), "marker")

    assert await commit.confirm(asyncio.get_running_loop().time() + 0.1) is False
