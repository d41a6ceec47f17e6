"""Runs a drill: every fault, client and round in turn; writes a history and a timeline of each round."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from tollhouse.drill.faults import DEFAULT, FAULTS, Extent
from tollhouse.drill.links import Links
from tollhouse.drill.report import chart
from tollhouse.drill.report.report import DrillOptions, Report, RoundReport, assemble, describe_machine
from tollhouse.drill.report.slo import Slo
from tollhouse.drill.results import history
from tollhouse.drill.results.availability import buckets
from tollhouse.drill.results.metrics import RoundData, measure, no_figures, per_operation
from tollhouse.drill.round import Round, RoundPlan, RoundProgress
from tollhouse.errors import ConfigurationError, TollhouseError
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster, free_addresses
from tollhouse.stores.transport.handshake import read_info

_PORT_OFFSET: Final = 10_000


class DrillProgress(Struct, frozen=True, kw_only=True):
    """How far a drill is: `done` of `steps` rounds, and the progress of this one."""

    plan: RoundPlan
    done: int
    steps: int
    progress: RoundProgress


OnDrillProgress = Callable[[DrillProgress], None]
"""Called many times a second."""


class Drill:
    """One drill; it writes histories and timelines into `folder` as rounds end."""

    def __init__(
        self, options: DrillOptions, folder: Path, slo: Slo, on_progress: OnDrillProgress, *, extent: Extent = DEFAULT
    ) -> None:
        self._options = options
        self._folder = folder
        self._slo = slo
        self._on_progress = on_progress
        self._extent = extent
        self._secret = secrets.token_hex(32).encode()
        self._cluster: SentinelCluster | None = None
        self._links: Links | None = None
        self._server = "unknown"

    async def run(self) -> Report:
        """Run every round and return the report; every server that it started is stopped."""
        load_before = os.getloadavg()[0]
        rounds: list[RoundReport] = []
        plans = tuple(self._plans())
        try:
            for plan in plans:
                rounds.append(await self._run_round(plan, len(rounds), len(plans)))
        finally:
            await self._stop()
        return assemble(self._options, describe_machine(self._server, load_before), rounds, self._slo)

    def _plans(self) -> Iterator[RoundPlan]:
        options = self._options
        for name in options.faults:
            for client in options.clients:
                for number in range(1, options.rounds + 1):
                    yield RoundPlan(
                        fault=FAULTS[name],
                        client=client,
                        via=options.via,
                        number=number,
                        rate=options.rate,
                        max_unreplicated_ms=options.max_unreplicated_ms,
                        extent=self._extent,
                        seed=options.seed + number,
                        secret=self._secret,
                    )

    async def _run_round(self, plan: RoundPlan, done: int, steps: int) -> RoundReport:
        """Run one round; a round that could not be finished reports the problem, and keeps no bound."""

        def on_progress(progress: RoundProgress) -> None:
            self._on_progress(DrillProgress(plan=plan, done=done, steps=steps, progress=progress))

        on_progress(RoundProgress(at_ms=0.0, calls=0, errors=0))
        cluster = await self._healthy_cluster(links=plan.fault.links)
        try:
            data = await Round(plan, cluster, on_progress, self._links).run()
        except ConfigurationError:
            raise
        except TollhouseError as error:
            await self._stop()
            return RoundReport(
                fault=plan.fault.name, client=plan.client, number=plan.number, figures=no_figures(), problem=str(error)
            )
        if plan.fault.failovers:
            await self._stop()
        return self._write_round(plan, data)

    async def _healthy_cluster(self, *, links: bool) -> SentinelCluster:
        """Return a healthy, empty cluster; one of that kind that no fault has failed over is used again."""
        if links is not (self._links is not None):
            await self._stop()
        if self._cluster is None:
            self._cluster = await self._start(links=links)
        await asyncio.to_thread(self._empty, self._cluster)
        return self._cluster

    async def _start(self, *, links: bool) -> SentinelCluster:
        """Start a cluster, with `links` between its nodes that a fault can cut."""
        addresses = free_addresses()
        if links:
            self._links = await Links.open({(host, port): (host, port + _PORT_OFFSET) for host, port in addresses})
        return await asyncio.to_thread(
            SentinelCluster.start,
            down_after_ms=self._options.down_after_ms,
            min_replicas=self._options.min_replicas,
            port_offset=_PORT_OFFSET if links else 0,
            addresses=addresses,
        )

    def _empty(self, cluster: SentinelCluster) -> None:
        primary = cluster.primary()
        assert primary is not None, "no fault has happened to this cluster"
        cluster.call(primary, "FLUSHALL")
        facts = read_info(cluster.call(primary, "INFO", "server").encode())
        name = facts.get("server_name", "redis")
        self._server = f"{name} {facts.get(f'{name}_version', 'unknown')}"

    async def _stop(self) -> None:
        if self._cluster is not None:
            cluster, self._cluster = self._cluster, None
            await asyncio.to_thread(cluster.stop)
        if self._links is not None:
            links, self._links = self._links, None
            await links.aclose()

    def _write_round(self, plan: RoundPlan, data: RoundData) -> RoundReport:
        name = f"{plan.fault.name}-{plan.client}-{plan.number}"
        title = f"{plan.fault.name}, {plan.client}, round {plan.number}"
        svg = chart.draw(title, buckets(data.calls, data.span_ms), data.marks, data.span_ms)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{name}.jsonl").write_bytes(history.encode(plan.client, data.calls, data.marks))
        (self._folder / f"{name}.svg").write_text(svg, encoding="utf-8")
        return RoundReport(
            fault=plan.fault.name,
            client=plan.client,
            number=plan.number,
            figures=measure(data),
            operations=per_operation(data),
            marks=tuple(sorted(data.marks, key=lambda mark: mark.at_ms)),
            history=f"{name}.jsonl",
            timeline=f"{name}.svg",
        )
