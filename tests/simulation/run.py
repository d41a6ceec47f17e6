"""One run: a schedule in, a report out. The same schedule gives the same digest in every process."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from msgspec import Struct

from tests.simulation import loop as virtual
from tests.simulation.clients import Client
from tests.simulation.cluster import Cluster
from tests.simulation.faults import strike
from tests.simulation.findings import EXCUSABLE, End, Violation
from tests.simulation.history import History, user_name
from tests.simulation.invariants import violations
from tests.simulation.loop import Stuck, VirtualLoop
from tests.simulation.network import Network
from tests.simulation.schedules import USERS, Schedule
from tests.simulation.trace import Trace
from tests.simulation.world import MakeCluster, World
from tollhouse.errors import StoreUnavailable
from tollhouse.sessions.outcomes import Issued
from tollhouse.sessions.records import Session
from tollhouse.sessions.verbs.data_editor import SessionData

Verified = dict[tuple[int, int], Session | None]
"""Sessions by process and the call that created them."""

_LEADERLESS_S: Final = 60
_ATTEMPTS: Final = 10
_PAUSE_S: Final = 0.2


class Report(Struct, frozen=True, kw_only=True):
    """How a run ended. `violations` are those inside the fault model, `excused` those that its excuse explains."""

    seed: int
    digest: str
    violations: tuple[Violation, ...]
    excused: tuple[Violation, ...]
    calls: int
    durable: int
    changes: int
    lines: tuple[str, ...]


def make_cluster(loop: VirtualLoop, network: Network, rng: random.Random, schedule: Schedule) -> Any:
    """Return the servers and Sentinels of a schedule."""
    return Cluster(
        loop,
        network,
        rng,
        replicas=len(schedule.priorities) - 1,
        priorities=schedule.priorities,
        lag_ms=schedule.lag_ms,
    )


def simulate(schedule: Schedule, make: MakeCluster = make_cluster) -> Report:
    """Run a schedule."""
    run = _Run(schedule, make)
    try:
        with _collected():
            end, loop = virtual.run(run.main)
        end = msgspec.structs.replace(end, lost=tuple(loop.lost))
        found = violations(run.history, end)
    except Stuck as error:
        found = [Violation(rule="stuck", text=str(error))]
    excused = [one for one in found if one.excused or (schedule.excuse and one.rule in EXCUSABLE)]
    durable = sum(done.outcome == "ok" and getattr(done.value, "durable", False) for done in run.history.done)
    return Report(
        seed=schedule.seed,
        digest=run.trace.digest,
        violations=tuple(one for one in found if one not in excused),
        excused=tuple(excused),
        calls=len(run.history.done),
        durable=durable,
        changes=max((number for _, number, _ in run.history.generations), default=1) - 1,
        lines=tuple(run.trace.lines),
    )


@contextmanager
def _collected() -> Iterator[None]:
    """Collect no garbage before the end: when it is collected depends on what the process did before.

    At the end what is young is collected: futures report then what no caller received.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.collect(0)
        gc.enable()


class _Run:
    def __init__(self, schedule: Schedule, make: MakeCluster) -> None:
        self.history = History()
        self._schedule = schedule
        self._make = make

    async def main(self, loop: VirtualLoop) -> End:
        """Run all faults and calls at their times, wait until all is well again, and look at what is there."""
        self.trace = Trace(loop)
        world = World(loop, self.trace, self._schedule, self._make, self.history)
        for fault in self._schedule.faults:
            loop.call_at(fault.at_ms / 1000, strike, fault, world)
        for call in self._schedule.calls:
            loop.call_at(call.at_ms / 1000, world.perform, call)
        await asyncio.sleep(self._schedule.end_ms / 1000)
        await world.settled()
        await _led(world.cluster)
        self.trace.note("all is repaired: a new process verifies every session, as those that are left do")
        world.clients.append(world.start(len(world.clients)))
        verified, superseded, failures = await self._look(world.clients)
        data, logins = ({}, {}) if failures else await self._look_closer(world.clients[-1])
        places = {client.number: client.primary for client in world.clients}
        for client in world.clients:
            await client.aclose()
        servers = {f"{server.host[0]}:{server.host[1]}": server for server in world.cluster.servers}
        left = [f"task {name}" for name in virtual.unfinished(loop, but=asyncio.current_task())]
        left += [f"connection {link.number}" for link in world.network.connections.values() if link.client_open]
        return End(
            verified=verified,
            superseded=superseded,
            data=data,
            logins=logins,
            failures=failures,
            left_over=tuple(left),
            lost=(),
            places=places,
            roles={place: server.roles for place, server in servers.items()},
            forgotten_s=world.cluster.forgotten_s,
            acks_s={place: server.acks_s for place, server in servers.items()},
            max_unreplicated_ms=self._schedule.max_unreplicated_ms,
        )

    async def _look(self, clients: list[Client]) -> tuple[Verified, Verified, tuple[str, ...]]:
        """Return what each process finds with the latest tokens and with those before a rotation, and what fails."""
        verified: Verified = {}
        superseded: Verified = {}
        failures: list[str] = []
        for client in clients:
            try:
                await _recovered(client)
                for number, chain in self.history.chains.items():
                    if chain.former != chain.latest:
                        superseded[client.number, number] = await client.sessions.verify(chain.former)
                    verified[client.number, number] = await client.sessions.verify(chain.latest)
            except StoreUnavailable as error:
                failures.append(f"process {client.number} cannot verify sessions at the end: {error}")
        return verified, superseded, tuple(failures)

    async def _look_closer(self, client: Client) -> tuple[dict[int, SessionData | None], dict[int, bool]]:
        """Return the data of every session, and who may log in."""
        data = {number: await client.sessions.data(chain.latest) for number, chain in self.history.chains.items()}
        issued = {user: await client.sessions.create(user_name(user)) for user in range(USERS)}
        return data, {user: isinstance(each, Issued) for user, each in issued.items()}


async def _led(cluster: Any) -> None:
    """Return when a server is a primary: servers that follow each other are replaced by Sentinel after 20 to 30 s."""
    for _ in range(_LEADERLESS_S):
        if any(server.roles[-1][1] for server in cluster.servers):
            return
        await asyncio.sleep(1)


async def _recovered(client: Client) -> None:
    """Return when the process reaches its store: calls fail at once until a probe, which they start, has an answer."""
    for _ in range(_ATTEMPTS):
        try:
            await client.sessions.list("a user without sessions")
        except StoreUnavailable:
            await asyncio.sleep(_PAUSE_S)
        else:
            return
    await client.sessions.list("a user without sessions")
