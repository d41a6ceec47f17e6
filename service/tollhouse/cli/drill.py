"""`tollhouse drill`: inject faults into servers under load, and measure their effect on callers."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich_click import RichCommand, RichGroup

from tollhouse import logs
from tollhouse.drill.clients.client import CLIENTS, DEADLINE_MS, VIAS
from tollhouse.drill.faults import FAULTS
from tollhouse.drill.report import markdown, slo, table
from tollhouse.drill.report.report import DrillOptions, Report
from tollhouse.drill.results.metrics import MEASURES
from tollhouse.drill.runner import Drill, DrillProgress, OnDrillProgress
from tollhouse.errors import ConfigurationError

RATE = 200
DOWN_AFTER_MS = 2000
_FAULTS_HELP = f"Which faults, with commas between: {', '.join(FAULTS)} (all)."
_CLIENTS_HELP = f"Which clients, with commas between: {', '.join(CLIENTS)} (both)."


def _some_of(known: Collection[str]) -> Callable[[click.Context, click.Parameter, str], tuple[str, ...]]:
    """Make a parser of names separated by commas; it returns them in the order of `known`."""

    def read(_: click.Context, parameter: click.Parameter, text: str) -> tuple[str, ...]:
        named = [name.strip() for name in text.split(",")]
        for name in named:
            if name not in known:
                raise click.BadParameter(f"{name!r} is not one of {', '.join(known)}", param=parameter)
        return tuple(name for name in known if name in named)

    return read


@click.group(cls=RichGroup)
def drill() -> None:
    """Inject faults into servers, and measure their effect on callers."""


@drill.command(cls=RichCommand)
@click.option("--fault", "faults", callback=_some_of(FAULTS), default=",".join(FAULTS), help=_FAULTS_HELP)
@click.option("--client", "clients", callback=_some_of(CLIENTS), default=",".join(CLIENTS), help=_CLIENTS_HELP)
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=1, show_default=True, help="Rounds of each fault and client."
)
@click.option("--rate", type=click.IntRange(20, 5000), default=RATE, show_default=True, help="Operations a second.")
@click.option(
    "--down-after-ms",
    type=click.IntRange(500, 60_000),
    default=DOWN_AFTER_MS,
    show_default=True,
    help="How long a server must be silent before a Sentinel considers it down.",
)
@click.option(
    "--min-replicas",
    type=click.IntRange(0, 2),
    default=0,
    show_default=True,
    help="min-replicas-to-write: how many replicas must follow a primary, or it refuses writes.",
)
@click.option(
    "--max-unreplicated-ms",
    type=click.IntRange(200, 60_000),
    help="How long Tollhouse uses a primary that no replica acknowledges (for ever).",
)
@click.option("--via", type=click.Choice(VIAS), default="library", show_default=True, help="How Tollhouse is called.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/drill"),
    show_default=True,
    help="Folder for the report, the histories and the timelines.",
)
@click.option(
    "--slo",
    "slo_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="TOML file with the bounds per fault and metric, instead of the built-in ones.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the schedule, to repeat it.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object, and no progress.")
def run(slo_file: Path | None, out: Path, as_json: bool, **options: Any) -> None:  # noqa: FBT001 - click gives it
    """Start a primary, two replicas and three Sentinels, break them under load, and report: exit code 0, 1 or 2.

    0 if the worst round kept every bound, 1 if not, 2 if an option cannot be used.
    It starts and stops its own servers; your data are not touched.
    """
    logs.configure("error", "auto")
    drill_options = DrillOptions(command=shlex.join(["tollhouse", *sys.argv[1:]]), deadline_ms=DEADLINE_MS, **options)
    bounds = (
        slo.built_in(
            drill_options.down_after_ms,
            drill_options.via,
            min_replicas=drill_options.min_replicas,
            max_unreplicated_ms=drill_options.max_unreplicated_ms,
        )
        if slo_file is None
        else slo.read(slo_file, FAULTS)
    )
    with _progress(quiet=as_json) as on_progress:
        report = asyncio.run(Drill(drill_options, out, bounds, on_progress).run())
    (out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    (out / "report.md").write_text(markdown.render(report), encoding="utf-8")
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _show(report, out)
    sys.exit(0 if report.ok else 1)


@drill.command("list", cls=RichCommand)
@click.option(
    "--down-after-ms",
    type=int,
    default=DOWN_AFTER_MS,
    show_default=True,
    help="The bounds are those for this time, after which a Sentinel considers a silent server down.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(down_after_ms: int, as_json: bool) -> None:  # noqa: FBT001 - click gives it
    """List the faults, with their effect and their bounds."""
    bounds = slo.built_in(down_after_ms, "library")
    faults = [
        {"fault": fault.name, "does": fault.does, "shows": fault.shows, "at_most": slo.bounds(bounds, fault.name)}
        for fault in FAULTS.values()
    ]
    if as_json:
        click.echo(msgspec.json.encode({"faults": faults}))
        return
    console = Console()
    for fault in FAULTS.values():
        console.print(f"[bold]{fault.name}[/bold]\n  {fault.does}\n  Must show: {fault.shows}.", highlight=False)
        for measure, at_most in slo.bounds(bounds, fault.name).items():
            console.print(f"    {MEASURES[measure]}: at most {at_most:g}  ({measure})", highlight=False)
        console.print()


@drill.command("table", cls=RichCommand)
@click.argument("reports", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def show_table(reports: tuple[Path, ...]) -> None:
    """Print what drills measured, from the report.json of each, as the tables of docs/failover.md."""
    click.echo(table.render([_read_report(path) for path in reports]))


def _read_report(path: Path) -> Report:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            "REPORT", str(path), f"not the report.json of a drill of this version: {error}"
        ) from error


@contextmanager
def _progress(*, quiet: bool) -> Generator[OnDrillProgress]:
    """Show the progress of the drill if stderr is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[seen]}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        bar = progress.add_task("starting", seen="")

        def show(step: DrillProgress) -> None:
            part = min(step.progress.at_ms / step.plan.span_ms, 1.0)
            progress.update(
                bar,
                description=f"{step.plan.fault.name} · {step.plan.client} · round {step.plan.number}",
                completed=step.done + part,
                total=step.steps,
                seen=f"{step.progress.calls} calls, {step.progress.errors} errors",
            )

        yield show


def _show(report: Report, out: Path) -> None:
    table = Table("fault", "measure", "at most", "worst", "kept")
    for verdict in report.verdicts:
        worst = markdown.format_figure(verdict.measure, verdict.worst)
        outcome = "yes" if verdict.kept else "[red]NO[/red]"
        table.add_row(verdict.fault, MEASURES[verdict.measure], f"{verdict.at_most:,g}", worst, outcome)
    console = Console()
    console.print(table)
    for one in report.rounds:
        if one.problem is not None:
            console.print(f"{one.fault}, {one.client}, round {one.number}: {one.problem}", markup=False)
    console.print(f"The report is in {out / 'report.md'}, all numbers in {out / 'report.json'}", markup=False)
