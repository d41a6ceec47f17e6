"""Runs a drill: every fault, client and round in turn, and writes down what was seen."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from tollhouse.drill.clients.client import ClientName
from tollhouse.drill.faults import FAULTS
from tollhouse.drill.report import chart
from tollhouse.drill.report.report import Asked, Report, RoundReport, assemble, machine
from tollhouse.drill.report.slo import Slo
from tollhouse.drill.results import history
from tollhouse.drill.results.availability import buckets
from tollhouse.drill.results.metrics import Seen, measure, nothing, per_operation
from tollhouse.drill.round import Progress, Round, Task
from tollhouse.errors import ConfigurationError, TollhouseError
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster

BEFORE_S: Final = 2.0
"""How long the workload runs before the fault."""


class Step(Struct, frozen=True, kw_only=True):
    """Where a drill is: the round, how many there are, and how far the workload of this one is."""

    fault: str
    client: ClientName
    number: int
    done: int
    steps: int
    span_ms: float
    progress: Progress


Told = Callable[[Step], None]
"""Hears how far the drill is, many times a second."""


class Drill:
    """One drill; it writes histories and timelines into a folder as rounds end."""

    def __init__(self, asked: Asked, folder: Path, slo: Slo, told: Told, *, after_s: float | None = None) -> None:
        self._asked = asked
        self._folder = folder
        self._slo = slo
        self._told = told
        self._after_s = after_s
        self._secret = secrets.token_hex(32).encode()
        self._topology: SentinelCluster | None = None
        self._server = "unknown"

    async def run(self) -> Report:
        """Play every round, and give the report. Nothing that it started is left behind."""
        load_before = os.getloadavg()[0]
        rounds: list[RoundReport] = []
        tasks = tuple(self._tasks())
        try:
            for task in tasks:
                rounds.append(await self._played(task, len(rounds), len(tasks)))
        finally:
            await self._stop()
        return assemble(self._asked, machine(self._server, load_before), rounds, self._slo)

    def _tasks(self) -> Iterator[Task]:
        asked = self._asked
        for name in asked.faults:
            for client in asked.clients:
                for number in range(1, asked.rounds + 1):
                    fault = FAULTS[name]
                    yield Task(
                        fault=fault,
                        client=client,
                        via=asked.via,
                        number=number,
                        rate=asked.rate,
                        before_s=BEFORE_S,
                        after_s=fault.after_s if self._after_s is None else self._after_s,
                        seed=asked.seed + number,
                        secret=self._secret,
                    )

    async def _played(self, task: Task, done: int, steps: int) -> RoundReport:
        """Play one round; a round that could not be finished says why, and keeps no bound."""

        def told(progress: Progress) -> None:
            self._told(
                Step(
                    fault=task.fault.name,
                    client=task.client,
                    number=task.number,
                    done=done,
                    steps=steps,
                    span_ms=task.span_ms,
                    progress=progress,
                )
            )

        told(Progress(at_ms=0.0, calls=0, errors=0))
        topology = await self._well()
        try:
            seen = await Round(task, topology, told).play()
        except ConfigurationError:
            raise
        except TollhouseError as error:
            await self._stop()
            return _failed(task, str(error))
        if task.fault.failovers:
            await self._stop()
        return self._written(task, seen)

    async def _well(self) -> SentinelCluster:
        """Give a topology that is well and empty; one that a fault left whole is used again."""
        if self._topology is None:
            self._topology = await asyncio.to_thread(SentinelCluster.start, down_after_ms=self._asked.down_after_ms)
        await asyncio.to_thread(self._empty, self._topology)
        return self._topology

    def _empty(self, topology: SentinelCluster) -> None:
        primary = topology.primary()
        assert primary is not None, "no fault has happened to this topology"
        topology.call(primary, "FLUSHALL")
        facts = dict(
            line.partition(":")[::2] for line in topology.call(primary, "INFO", "server").splitlines() if ":" in line
        )
        name = facts.get("server_name", "redis")
        self._server = f"{name} {facts.get(f'{name}_version', 'unknown')}"

    async def _stop(self) -> None:
        if self._topology is not None:
            topology, self._topology = self._topology, None
            await asyncio.to_thread(topology.stop)

    def _written(self, task: Task, seen: Seen) -> RoundReport:
        name = f"{task.fault.name}-{task.client}-{task.number}"
        title = f"{task.fault.name}, {task.client}, round {task.number}"
        drawn = chart.draw(title, buckets(seen.calls, seen.span_ms), seen.marks, seen.span_ms)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{name}.jsonl").write_bytes(history.lines(task.client, seen.calls, seen.marks))
        (self._folder / f"{name}.svg").write_text(drawn, encoding="utf-8")
        return RoundReport(
            fault=task.fault.name,
            client=task.client,
            number=task.number,
            figures=measure(seen),
            operations=per_operation(seen),
            marks=tuple(sorted(seen.marks, key=lambda mark: mark.at_ms)),
            history=f"{name}.jsonl",
            timeline=f"{name}.svg",
        )


def _failed(task: Task, problem: str) -> RoundReport:
    return RoundReport(
        fault=task.fault.name,
        client=task.client,
        number=task.number,
        figures=nothing(),
        operations=(),
        marks=(),
        history="",
        timeline="",
        problem=problem,
    )
