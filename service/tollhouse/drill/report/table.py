"""The table of docs/failover.md: what several drills measured, one table for each way in which they were set up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from tollhouse.drill.faults import FAULTS
from tollhouse.drill.report.markdown import format_figure
from tollhouse.drill.report.report import DrillOptions, Report, Summary
from tollhouse.drill.results.metrics import MEASURES

_ALWAYS: Final = frozenset({"errors", "gap_ms", "plain_lost"})
_SHOWN: Final = (
    *("errors", "not_sent", "rejected", "ambiguous", "defects", "takes_degraded", "gap_ms", "longest_ms"),
    *("over_deadline", "plain_lost", "takes_lost", "creates_lost", "plain_lost_ms", "resurrected_plain", "deposed"),
    *("over_admission",),
)
"""The rows of a fault: those of `_ALWAYS`, and of the others those that are not 0 everywhere."""
_EXTRA: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"cancel-storm": ("cancelled", "foreign", "leaked_slots", "reconnects"), "script-flush": ("reconnects",)}
)
_NEVER: Final = ("durable_lost", "resurrected", "ghosts", "over_admission_unexplained", "foreign")
"""What must not happen in any fault: one row each, with the worst of all."""
_OF: Final[Mapping[str, str]] = MappingProxyType({"plain_lost": "plain_acknowledged"})

_SetUp = tuple[int, int | None]


def render(reports: Sequence[Report]) -> str:
    """Return the tables as Markdown; reports of drills that were set up alike share one."""
    set_ups = dict.fromkeys(_set_up(report.options) for report in reports)
    alike = ([report for report in reports if _set_up(report.options) == each] for each in set_ups)
    return "\n".join(line for each in alike for line in _table(each))


def _set_up(options: DrillOptions) -> _SetUp:
    return options.min_replicas, options.max_unreplicated_ms


def _table(reports: Sequence[Report]) -> Iterator[str]:
    options = reports[0].options
    clients = tuple(dict.fromkeys(client for report in reports for client in report.options.clients))
    found = {(one.fault, one.client): one for report in reports for one in report.summaries}
    yield f"min-replicas-to-write {options.min_replicas}, max_unreplicated_ms {options.max_unreplicated_ms or 'off'}:\n"
    yield "| fault | | " + " | ".join(f"{client}, median | worst" for client in clients) + " |"
    yield "|---|---|" + "---:|---:|" * len(clients)
    for fault in FAULTS:
        summaries = [found.get((fault, client)) for client in clients]
        if any(summaries):
            yield from _fault(fault, summaries)
    for measure in _NEVER:
        worst = [_worst_of(found, client, measure) for client in clients]
        yield _row("all" if measure == _NEVER[0] else "", measure, worst)
    yield ""
    yield from (f"    {report.options.command}" for report in reports)
    yield ""


def _fault(fault: str, summaries: Sequence[Summary | None]) -> Iterator[str]:
    name = f"`{fault}`"
    for measure in (*_SHOWN, *_EXTRA.get(fault, ())):
        extra = measure in _ALWAYS or measure in _EXTRA.get(fault, ())
        if extra or any(summary is not None and summary.worst[measure] for summary in summaries):
            yield _row(name, measure, [_cells(summary, measure) for summary in summaries])
            name = ""


def _row(fault: str, measure: str, cells: Sequence[tuple[str, str]]) -> str:
    unit = ", ms" if measure.endswith("_ms") else ""
    return f"| {fault} | {MEASURES[measure]}{unit} | " + " | ".join(cell for pair in cells for cell in pair) + " |"


def _cells(summary: Summary | None, measure: str) -> tuple[str, str]:
    """Return median and worst, each of how many if that matters; two empty cells if the client was not drilled."""
    if summary is None:
        return "", ""
    whole = _OF.get(measure)
    median, worst = (
        format_figure(measure, figures[measure])
        + ("" if whole is None else f" of {format_figure(whole, figures[whole])}")
        for figures in (summary.median, summary.worst)
    )
    return median, worst


def _worst_of(found: Mapping[tuple[str, str], Summary], client: str, measure: str) -> tuple[str, str]:
    values = [summary.worst[measure] for (_, name), summary in found.items() if name == client]
    seen = [value for value in values if value is not None]
    if not seen:
        return "", ""
    return "", format_figure(measure, max(seen) if len(seen) == len(values) else None)
