"""One round: a client at work on a topology, a fault in the middle of it, and everything that is known afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from itertools import takewhile
from typing import Final

from msgspec import Struct

from tollhouse.drill.aftermath import look, settle
from tollhouse.drill.clients.client import DEADLINE_MS, HOT_WINDOW, Client, ClientName, State, Via
from tollhouse.drill.faults import Fault, Scene
from tollhouse.drill.observer import watching
from tollhouse.drill.opening import opened
from tollhouse.drill.results.history import OPERATIONS, Call, Kind, Mark, Operation
from tollhouse.drill.results.metrics import Seen
from tollhouse.drill.storm import Stormed
from tollhouse.drill.workload import Workload, schedule
from tollhouse.errors import TollhouseError
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster

READY_S: Final = 10.0
"""How long a client may take until each operation has worked once, before the round begins."""
IDLE_S: Final = 2.0
"""How long calls may stay in flight after the round before their slots count as leaked."""
_TICK_S: Final = 0.02
_READY: Final[dict[Operation, str]] = {
    operation: f"{'create' if operation in ('verify', 'revoke') else operation}-ready-0" for operation in OPERATIONS
}


class Task(Struct, frozen=True, kw_only=True):
    """What is to be done in one round."""

    fault: Fault
    client: ClientName
    via: Via
    number: int
    rate: float
    before_s: float
    after_s: float
    seed: int
    secret: bytes

    @property
    def span_ms(self) -> float:
        """Give how long the workload goes on at least; it does not end before the fault."""
        return (self.before_s + self.after_s) * 1000


class Progress(Struct, frozen=True, kw_only=True):
    """How far a round is, for whoever watches it."""

    at_ms: float
    calls: int
    errors: int


Report = Callable[[Progress], None]


class NotReady(TollhouseError):
    """A client did not get to work on a topology that was well."""


class Round:
    """Plays one round on a topology that is well."""

    def __init__(self, task: Task, topology: SentinelCluster, report: Report) -> None:
        self._task = task
        self._topology = topology
        self._report = report
        self._began_s = 0.0
        self._marks: list[Mark] = []

    async def play(self) -> Seen:
        """Give everything that is known when it is over."""
        task, topology = self._task, self._topology
        async with opened(task.client, task.via, topology.url, task.secret) as client:
            async with watching(topology, self._note):
                await _ready(client)
                before = client.state()
                calls, stormed = await self._work(client)
                after = await _idle(client)
                last = await settle(topology)
            held = await look(topology, last, client, calls, task.secret)
        return self._seen(calls, held, before, after, stormed)

    async def _work(self, client: Client) -> tuple[list[Call], Stormed | None]:
        """Run the workload, and the fault when its time has come."""
        task, loop, over = self._task, asyncio.get_running_loop(), asyncio.Event()
        self._began_s = loop.time()
        self._marks.clear()
        loop.call_later(task.span_ms / 1000, over.set)
        async with asyncio.TaskGroup() as tasks:
            fault = tasks.create_task(self._fault(client, over))
            calls = takewhile(lambda due: due.at_ms < task.span_ms or not fault.done(), schedule(task.rate, task.seed))
            workload = Workload(client, calls, self._now_ms, seed=task.seed)
            ticker = tasks.create_task(self._tick(client, workload))
            await workload.run()
            ticker.cancel()
        return workload.calls, fault.result()

    async def _fault(self, client: Client, over: asyncio.Event) -> Stormed | None:
        task, topology = self._task, self._topology
        await asyncio.sleep(task.before_s)
        primary = await asyncio.to_thread(topology.primary)
        assert primary is not None, "the topology was well when the round began"
        scene = Scene(topology=topology, primary=primary, client=client, note=self._note, over=over, seed=task.seed)
        return await task.fault.apply(scene)

    async def _tick(self, client: Client, workload: Workload) -> None:
        """Report how far the round is, and note when the client goes to another primary."""
        known = client.state().generation
        while True:
            await asyncio.sleep(_TICK_S)
            state = client.state()
            if state.generation != known:
                known = state.generation
                at_ms = (state.generation_s - self._began_s) * 1000
                self._marks.append(Mark(at_ms=at_ms, kind="generation", what=str(known)))
            self._report(Progress(at_ms=self._now_ms(), calls=len(workload.calls), errors=workload.errors))

    def _now_ms(self) -> float:
        return (asyncio.get_running_loop().time() - self._began_s) * 1000

    def _note(self, kind: Kind, who: str, what: str) -> None:
        self._marks.append(Mark(at_ms=self._now_ms(), kind=kind, who=who, what=what))

    def _seen(
        self, calls: Sequence[Call], held: AbstractSet[str], before: State, after: State, stormed: Stormed | None
    ) -> Seen:
        task = self._task
        return Seen(
            calls=calls,
            marks=self._marks,
            held=held,
            span_ms=max(task.span_ms, *(call.due_ms for call in calls)),
            deadline_ms=DEADLINE_MS,
            hot=HOT_WINDOW if task.client == "tollhouse" else None,
            failovers_expected=task.fault.failovers,
            stormed=stormed,
            reconnects=_made(before, after) if task.fault.steady else None,
            leaked_slots=after.in_flight,
        )


async def _ready(client: Client) -> None:
    """Do each operation once, so that every connection stands; try again for a while."""
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + READY_S
    for operation, subject in _READY.items():
        while True:
            attempt = loop.create_task(client.call(operation, subject))
            await asyncio.wait({attempt})
            error = attempt.exception()
            if error is None:
                break
            if loop.time() > give_up_s:
                raise NotReady(f"{operation} does not work before the fault: {error}") from error


async def _idle(client: Client) -> State:
    """Wait until no call is in flight, or for long enough that one which is stays so."""
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + IDLE_S
    while True:
        state = client.state()
        if not state.in_flight or loop.time() > give_up_s:
            return state
        await asyncio.sleep(_TICK_S)


def _made(before: State, after: State) -> int | None:
    if before.connections is None or after.connections is None:
        return None
    return after.connections - before.connections
