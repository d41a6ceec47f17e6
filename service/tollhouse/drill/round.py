"""One round: a client at work on a cluster, a fault in the middle of it, and the data afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from itertools import takewhile
from typing import Final

from msgspec import Struct

from tollhouse import wiring
from tollhouse.drill.clients.client import (
    DEADLINE_MS,
    HOT_LIMIT,
    ClientName,
    ClientState,
    DrillClient,
    Via,
    client_settings,
)
from tollhouse.drill.clients.http import HttpClient
from tollhouse.drill.clients.library import LibraryClient
from tollhouse.drill.clients.redis_py import PlainClient
from tollhouse.drill.clients.service_process import run_service
from tollhouse.drill.faults import Extent, Fault, FaultContext
from tollhouse.drill.links import Links
from tollhouse.drill.observer import observe, read_survivors, wait_for_agreement
from tollhouse.drill.results.history import OPERATIONS, Call, Kind, Mark, Operation
from tollhouse.drill.results.metrics import RoundData, StormResult
from tollhouse.drill.workload import Workload, schedule
from tollhouse.errors import TollhouseError
from tollhouse.settings import Settings
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster

READY_S: Final = 10.0
"""How long a client may take until each operation has worked once, before the round begins."""
IDLE_S: Final = 2.0
"""How long calls may stay in flight after the round before their slots count as leaked."""
_TICK_S: Final = 0.02
_WORKERS: Final = 2
"""Worker processes of the service that a drill calls over HTTP."""
_READY: Final[dict[Operation, str]] = {
    operation: f"{'create' if operation in ('verify', 'revoke') else operation}-ready-0" for operation in OPERATIONS
}


class RoundPlan(Struct, frozen=True, kw_only=True):
    """The fault, the client and the load of one round."""

    fault: Fault
    client: ClientName
    via: Via
    number: int
    rate: float
    max_unreplicated_ms: int | None
    extent: Extent
    seed: int
    secret: bytes

    @property
    def span_ms(self) -> float:
        """The least duration of the workload; it does not end before the fault."""
        after_s = self.fault.after_s if self.extent.after_s is None else self.extent.after_s
        return (self.extent.before_s + after_s) * 1000


class RoundProgress(Struct, frozen=True, kw_only=True):
    """How far the workload of a round is."""

    at_ms: float
    calls: int
    errors: int


OnProgress = Callable[[RoundProgress], None]


class ClientNotReady(TollhouseError):
    """A client did not get to work on a healthy cluster."""


class Round:
    """Runs one round on a healthy cluster."""

    def __init__(
        self, plan: RoundPlan, cluster: SentinelCluster, on_progress: OnProgress, links: Links | None = None
    ) -> None:
        self._plan = plan
        self._cluster = cluster
        self._links = links
        self._on_progress = on_progress
        self._began_s = 0.0
        self._marks: list[Mark] = []

    async def run(self) -> RoundData:
        """Run the round to its end and return its data."""
        plan, cluster = self._plan, self._cluster
        settings = client_settings(cluster.url, plan.secret, plan.max_unreplicated_ms)
        async with open_client(plan.client, plan.via, settings) as client:
            async with observe(cluster, self._record):
                await _ready(client)
                before = client.state()
                calls, storm = await self._work(client)
                after = await _idle(client)
                last = await wait_for_agreement(cluster, plan.extent.settle_s)
            surviving = await read_survivors(cluster, last, client, calls, plan.secret)
        return RoundData(
            calls=calls,
            marks=self._marks,
            surviving=surviving,
            span_ms=max(plan.span_ms, *(call.due_ms for call in calls)),
            deadline_ms=DEADLINE_MS,
            hot=HOT_LIMIT if plan.client == "tollhouse" else None,
            failovers_expected=plan.fault.failovers,
            storm=storm,
            reconnects=_new_connections(before, after) if plan.fault.steady else None,
            leaked_slots=after.in_flight,
        )

    async def _work(self, client: DrillClient) -> tuple[list[Call], StormResult | None]:
        """Run the workload, and inject the fault when its time has come."""
        plan, loop, over = self._plan, asyncio.get_running_loop(), asyncio.Event()
        self._began_s = loop.time()
        self._marks.clear()
        loop.call_later(plan.span_ms / 1000, over.set)
        async with asyncio.TaskGroup() as tasks:
            fault = tasks.create_task(self._inject(client, over))
            calls = takewhile(lambda due: due.at_ms < plan.span_ms or not fault.done(), schedule(plan.rate, plan.seed))
            workload = Workload(client, calls, self._now_ms, seed=plan.seed)
            ticker = tasks.create_task(self._tick(client, workload))
            await workload.run()
            ticker.cancel()
        return workload.calls, fault.result()

    async def _inject(self, client: DrillClient, over: asyncio.Event) -> StormResult | None:
        plan, cluster = self._plan, self._cluster
        await asyncio.sleep(plan.extent.before_s)
        primary = await asyncio.to_thread(cluster.primary)
        assert primary is not None, "the cluster was healthy when the round began"
        context = FaultContext(
            cluster=cluster,
            links=self._links,
            primary=primary,
            client=client,
            record=self._record,
            over=over,
            extent=plan.extent,
            seed=plan.seed,
        )
        return await plan.fault.apply(context)

    async def _tick(self, client: DrillClient, workload: Workload) -> None:
        """Report progress, and mark when the client goes to another primary."""
        generation = client.state().generation
        while True:
            await asyncio.sleep(_TICK_S)
            state = client.state()
            if state.generation != generation:
                generation = state.generation
                at_ms = (state.generation_s - self._began_s) * 1000
                self._marks.append(Mark(at_ms=at_ms, kind="generation", what=str(generation)))
            progress = RoundProgress(at_ms=self._now_ms(), calls=len(workload.calls), errors=workload.errors)
            self._on_progress(progress)

    def _now_ms(self) -> float:
        return (asyncio.get_running_loop().time() - self._began_s) * 1000

    def _record(self, kind: Kind, who: str, what: str) -> None:
        self._marks.append(Mark(at_ms=self._now_ms(), kind=kind, who=who, what=what))


@asynccontextmanager
async def open_client(name: ClientName, via: Via, settings: Settings) -> AsyncGenerator[DrillClient]:
    """Open a client on the service that the Sentinels of the URL watch; what it started ends with the block."""
    if name == "redis-py":
        async with aclosing(PlainClient(settings.url)) as plain:
            yield plain
        return
    async with wiring.open(settings) as tollhouse:
        library = LibraryClient(tollhouse)
        if via == "library":
            yield library
            return
        async with run_service(settings, workers=_WORKERS) as service, aclosing(HttpClient(service, library)) as client:
            await client.warm_up()
            yield client


async def _ready(client: DrillClient) -> None:
    """Do each operation once, so that every connection is open; try again for a while.

    Raises ClientNotReady if one still fails after `READY_S`.
    """
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
                raise ClientNotReady(f"{operation} does not work before the fault: {error}") from error


async def _idle(client: DrillClient) -> ClientState:
    """Wait until no call is in flight, for at most `IDLE_S`; return the state then."""
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + IDLE_S
    while True:
        state = client.state()
        if not state.in_flight or loop.time() > give_up_s:
            return state
        await asyncio.sleep(_TICK_S)


def _new_connections(before: ClientState, after: ClientState) -> int | None:
    if before.connections is None or after.connections is None:
        return None
    return after.connections - before.connections
