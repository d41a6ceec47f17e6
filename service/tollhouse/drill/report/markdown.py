"""The report as Markdown: a table per fault, the timeline of its worst round, and the command to repeat it.

Figures are rounded up when less is better and down when more is, by the same rule for every client.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from tollhouse.drill.faults import FAULTS
from tollhouse.drill.report.report import Report, RoundReport, Summary
from tollhouse.drill.report.slo import SloVerdict
from tollhouse.drill.results.availability import BUCKET_MS, GRACE_MS
from tollhouse.drill.results.metrics import MEASURES, MORE_IS_BETTER, Figures

ALWAYS: Final = (
    *("calls", "errors", "degraded", "takes_degraded", "gap_ms", "unavailable_ms", "latency_p50_ms", "latency_p99_ms"),
    *("longest_ms", "over_deadline", "plain_acknowledged", "plain_lost", "plain_lost_ms", "durable_acknowledged"),
    *("durable_lost", "not_durable", "revoked_durably", "resurrected", "deposed", "hot_admitted", "hot_lost"),
    *("hot_degraded", "over_admission", "over_admission_unexplained", "foreign", "lag_ms"),
)
"""The measures that every table shows; of the others it shows those that have a bound or are not 0."""


def render(report: Report) -> str:
    """Return the report as Markdown."""
    return "\n".join(
        [*_head(report), *(line for fault in report.options.faults for line in _fault(report, fault)), *_end()]
    )


def format_figure(name: str, value: float | None) -> str:
    """Return a figure with at most one decimal, rounded in the unfavourable direction, or `?` if it is None."""
    if value is None:
        return "?"
    round_to = math.floor if name in MORE_IS_BETTER else math.ceil
    tenths = round_to(round(value * 10, 6))
    return f"{tenths // 10:,}" if tenths % 10 == 0 else f"{tenths / 10:,.1f}"


def _head(report: Report) -> Iterator[str]:
    options, machine = report.options, report.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    kept = sum(verdict.kept for verdict in report.verdicts)
    yield "# Failover drill\n"
    yield f"{kept} of {len(report.verdicts)} bounds were kept in the worst round.\n"
    yield f"    {options.command}\n"
    yield (
        f"{options.rate} operations/s through the {options.via}, rounds: {options.rounds}, "
        f"down-after-milliseconds {options.down_after_ms}, min-replicas-to-write {options.min_replicas}, "
        f"max_unreplicated_ms {options.max_unreplicated_ms or 'off'}, "
        f"deadline {options.deadline_ms} ms, seed {options.seed}."
    )
    yield f"{machine.system}, {machine.cores} cores of {machine.processor}, {machine.server}, Python {machine.python}:"
    yield f"{versions}."
    if options.via == "http":
        yield "Over HTTP sessions are created through the library, and a revocation does not say whether it is durable."
    yield f"Load average {machine.load_before:.2f} before and {machine.load_after:.2f} after.\n"


def _fault(report: Report, name: str) -> Iterator[str]:
    fault = FAULTS[name]
    summaries = [summary for summary in report.summaries if summary.fault == name]
    verdicts = {verdict.measure: verdict for verdict in report.verdicts if verdict.fault == name}
    yield f"## {name}\n"
    yield f"{fault.does} It must show: {fault.shows}.\n"
    several = report.options.rounds > 1
    kinds = (" median", " worst") if several else ("",)
    heads = [summary.client + kind for summary in summaries for kind in kinds]
    yield "| | " + " | ".join([*heads, "at most", "kept"]) + " |"
    yield "|---|" + "---:|" * (len(heads) + 1) + "---|"
    for measure in MEASURES:
        if measure in ALWAYS or measure in verdicts or any(summary.worst[measure] for summary in summaries):
            yield _row(measure, summaries, verdicts.get(measure), several=several)
    yield ""
    for problem in (one for one in report.rounds if one.fault == name and one.problem is not None):
        yield f"Round {problem.number} of {problem.client} could not be finished: {problem.problem}.\n"
    for summary in summaries:
        yield from _picture([one for one in report.rounds if (one.fault, one.client) == (name, summary.client)])


def _row(measure: str, summaries: Sequence[Summary], verdict: SloVerdict | None, *, several: bool) -> str:
    figures = [one for summary in summaries for one in (summary.median, summary.worst)[0 if several else 1 :]]
    cells = [format_figure(measure, one[measure]) for one in figures]
    bound = ["", ""] if verdict is None else [f"{verdict.at_most:,g}", "yes" if verdict.kept else "**no**"]
    unit = ", ms" if measure.endswith("_ms") else ""
    return f"| {MEASURES[measure]}{unit} | " + " | ".join([*cells, *bound]) + " |"


def _picture(rounds: Sequence[RoundReport]) -> Iterator[str]:
    """Yield the timeline of the round with the longest gap."""
    charted = [one for one in rounds if one.timeline]
    if charted:
        chosen = max(charted, key=lambda one: _gap(one.figures))
        yield f"![{chosen.fault}, {chosen.client}, round {chosen.number}]({chosen.timeline})\n"


def _gap(figures: Figures) -> float:
    return figures["gap_ms"] or 0.0


def _end() -> Iterator[str]:
    yield "## How it is measured\n"
    yield (
        "Calls are made when they are due, whether earlier ones were answered or not, and the latency of an answered "
        "call counts from then. "
        "Plain writes are takes on their own keys, and sessions answered `durable: false`; for redis-py they are "
        "`SET`s of as many keys, under the same schedule, with socket timeouts of 0.3 s and the same deadline. "
        "An acknowledged write is lost if the server that the Sentinels name in the end does not have it, read "
        f"from that server directly. The gap is the longest of any operation. An interval of {BUCKET_MS} ms is "
        f"unavailable if a store answered less than 99 % of its calls. A call is over its deadline if it took "
        f"{GRACE_MS} ms longer than that. "
        "Each take on the shared key leaves a trace on a key of its own, in the same call. Takes in a window above the "
        "limit are unexplained if their trace survived and the outage rule did not admit them. "
        "`?` means that the value could not be observed, which keeps no bound."
    )
    yield ""
