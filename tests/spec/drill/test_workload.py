"""The workload of a drill: an open loop of real operations, and the storm of cancellations."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection
from itertools import islice
from typing import Any

from tests.clocks import Clock
from tests.drills import call
from tollhouse.drill.clients.client import CallResult, ClientState, fingerprint
from tollhouse.drill.results.history import OPERATIONS, Failure, Operation
from tollhouse.drill.storm import Storm
from tollhouse.drill.workload import PATTERN, ScheduledCall, Subjects, Workload, schedule


class Scripted:
    """A client whose calls do as the test says."""

    def __init__(self, answer: Callable[[Operation, str], Any]) -> None:
        self.made: list[tuple[Operation, str]] = []
        self._answer = answer

    async def call(self, operation: Operation, subject: str) -> CallResult:
        self.made.append((operation, subject))
        return await self._answer(operation, subject)

    def failure(self, error: BaseException) -> Failure:
        return "rejected" if isinstance(error, ValueError) else "ambiguous"

    async def surviving(self, server: Any, subjects: Collection[str]) -> set[str]:
        raise NotImplementedError

    def state(self) -> ClientState:
        raise NotImplementedError


def test_a_schedule_is_even_and_can_be_repeated() -> None:
    """Calls are due at even steps, every operation has its share, and a seed gives the same schedule again."""
    calls = list(islice(schedule(200, 7), 40))

    assert [due.at_ms for due in calls] == [number * 5 for number in range(40)]
    assert Counter(due.operation for due in calls) == Counter(PATTERN * 2)
    assert set(PATTERN) == set(OPERATIONS)
    assert calls == list(islice(schedule(200, 7), 40))
    assert calls != list(islice(schedule(200, 8), 40))


async def test_a_call_that_hangs_keeps_no_other_from_being_made() -> None:
    """P9: the loop is open: calls are made when they are due, and a latency counts from then."""
    all_made = asyncio.Event()

    async def answer(operation: Operation, subject: str) -> CallResult:
        if len(client.made) == 20:
            all_made.set()
        await all_made.wait()
        return CallResult(durable=True)

    client = Scripted(answer)
    clock = Clock()
    workload = Workload(client, islice(schedule(200, 1), 20), lambda: clock.now_ms, seed=1, sleep=clock.skip)

    await workload.run()

    assert len(workload.calls) == 20
    assert workload.errors == 0
    assert all(one.ended_ms >= 19 * 5 for one in workload.calls)
    assert sorted(one.due_ms for one in workload.calls) == [number * 5 for number in range(20)]
    assert {one.durable for one in workload.calls} == {True}


async def test_what_a_client_raises_is_recorded() -> None:
    """An exception of a client is a failure of the class that the client names, and stops nothing."""

    async def answer(operation: Operation, subject: str) -> CallResult:
        raise ValueError("x" * 300)

    clock = Clock()
    workload = Workload(Scripted(answer), islice(schedule(200, 1), 5), lambda: clock.now_ms, seed=1, sleep=clock.skip)

    await workload.run()

    assert workload.errors == 5
    assert {one.failure for one in workload.calls} == {"rejected"}
    assert {len(one.error) for one in workload.calls} == {200}


async def test_what_never_ends_is_cut_off() -> None:
    """A call that hangs when the schedule is over is cancelled after a while, and counts as unanswered."""

    async def answer(operation: Operation, subject: str) -> CallResult:
        await asyncio.Event().wait()
        raise AssertionError("it is never set")

    due = [ScheduledCall(at_ms=0, number=0, operation="take")]
    workload = Workload(Scripted(answer), iter(due), lambda: 0.0, seed=1, finish_s=0)

    await workload.run()

    assert [(one.operation, one.failure) for one in workload.calls] == [("take", "ambiguous")]


def test_a_call_works_on_what_was_answered_before() -> None:
    """Verify, revoke and get use what is there; if nothing is, create or put is called instead."""
    subjects = Subjects(random.Random(1))

    assert subjects.choose("verify", 1) == ("create", "create-1")
    assert subjects.choose("revoke", 2) == ("create", "create-2")
    assert subjects.choose("get", 3) == ("put", "put-3")
    assert subjects.choose("take", 4) == ("take", "take-4")
    assert subjects.choose("hot", 5) == ("hot", "hot-5")
    for number in (1, 2, 3):
        subjects.record(call("create", f"create-{number}", 0))
    subjects.record(call("create", "create-9", 0, failure="ambiguous"))
    subjects.record(call("put", "put-3", 0))
    subjects.record(call("put", "put-4", 0, degraded=True))

    assert subjects.choose("get", 6) == ("get", "put-3")
    assert [subjects.choose("revoke", number) for number in (7, 8, 9)] == [
        ("revoke", "create-1"),
        ("revoke", "create-3"),
        ("create", "create-9"),  # of three sessions one stays
    ]
    subjects.record(call("revoke", "create-1", 0))
    chosen = {subjects.choose("verify", number) for number in range(100)}
    assert chosen == {("verify", f"create-{number}") for number in (1, 2, 3)}


def test_neighbours_have_other_fingerprints() -> None:
    """Calls that are near each other carry different numbers, from 1 to 1000."""
    prints = [fingerprint(f"take-{number}") for number in range(1_000)]

    assert sorted(prints) == list(range(1, 1_001))
    assert fingerprint("take-storm-7") == 8


async def test_a_storm_counts_what_it_really_cancelled() -> None:
    """Calls that were answered or failed first are no cancellations; what they were answered is looked at."""
    number = 0

    async def answer(operation: Operation, subject: str) -> CallResult:
        nonlocal number
        number += 1
        if number % 4 == 0:
            raise ValueError("refused")
        if number % 4 == 1:
            return CallResult(foreign=True)
        await asyncio.Event().wait()
        raise AssertionError("it is never set")

    client = Scripted(answer)
    result = await Storm(client, 120, seed=1).run(within_s=60)

    assert (result.cancelled, result.missing) == (120, 0)
    assert result.failed > 20
    assert result.foreign > 20
    assert len(client.made) == 1 + result.cancelled + result.failed + result.foreign


async def test_a_storm_that_gets_nowhere_says_what_is_missing() -> None:
    """A client that answers before it can be cancelled leaves cancellations missing when the time is over."""

    async def answer(operation: Operation, subject: str) -> CallResult:
        return CallResult()

    result = await Storm(Scripted(answer), 100, seed=1).run(within_s=0.01)

    assert (result.cancelled, result.missing, result.failed, result.foreign) == (0, 100, 0, 0)
