"""The report as Markdown, for people: a table per fault, the timeline of its worst round, and how to do it again.

Figures are rounded up where less is better and down where more is, by the same rule for every client.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from tollhouse.drill.faults import FAULTS
from tollhouse.drill.report.report import Report, RoundReport, Summary
from tollhouse.drill.report.slo import Verdict
from tollhouse.drill.results.availability import BUCKET_MS, GRACE_MS
from tollhouse.drill.results.metrics import MEASURES, MORE_IS_BETTER, Figures

ALWAYS: Final = (
    *("calls", "errors", "degraded", "takes_degraded", "gap_ms", "unavailable_ms", "latency_p50_ms", "latency_p99_ms"),
    *("longest_ms", "over_deadline", "plain_acknowledged", "plain_lost", "plain_lost_ms", "durable_acknowledged"),
    *("durable_lost", "not_durable", "revoked_durably", "resurrected", "deposed", "hot_admitted", "hot_lost"),
    *("hot_degraded", "over_admission", "over_admission_unexplained", "foreign", "lag_ms"),
)
"""What every table shows; of the other measures those that are bounded, or that found something."""


def render(report: Report) -> str:
    """Give the whole report."""
    return "\n".join(
        [*_head(report), *(line for fault in report.asked.faults for line in _fault(report, fault)), *_end()]
    )


def shown(name: str, value: float | None) -> str:
    """Give a figure with at most one decimal, rounded against whoever it is about; `?` was not observed."""
    if value is None:
        return "?"
    round_to = math.floor if name in MORE_IS_BETTER else math.ceil
    tenths = round_to(round(value * 10, 6))
    return f"{tenths // 10:,}" if tenths % 10 == 0 else f"{tenths / 10:,.1f}"


def _head(report: Report) -> Iterator[str]:
    asked, machine = report.asked, report.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    kept = sum(verdict.held for verdict in report.verdicts)
    yield "# Failover drill"
    yield ""
    yield f"{kept} of {len(report.verdicts)} bounds were kept in the worst round."
    yield ""
    yield f"    {asked.command}"
    yield ""
    yield (
        f"{asked.rate} operations/s through the {asked.via}, rounds: {asked.rounds}, "
        f"down-after-milliseconds {asked.down_after_ms}, deadline {asked.deadline_ms} ms, seed {asked.seed}."
    )
    yield f"{machine.system}, {machine.cores} cores of {machine.processor}, {machine.server}, Python {machine.python}:"
    yield f"{versions}."
    if asked.via == "http":
        yield "Over HTTP sessions begin through the library, and a revocation does not say whether it is durable."
    yield f"Load average {machine.load_before:.2f} before and {machine.load_after:.2f} after."
    yield ""


def _fault(report: Report, name: str) -> Iterator[str]:
    fault = FAULTS[name]
    summaries = [summary for summary in report.summaries if summary.fault == name]
    verdicts = {verdict.measure: verdict for verdict in report.verdicts if verdict.fault == name}
    yield f"## {name}"
    yield ""
    yield f"{fault.does} It must show: {fault.shows}."
    yield ""
    several = report.asked.rounds > 1
    kinds = (" median", " worst") if several else ("",)
    heads = [summary.client + kind for summary in summaries for kind in kinds]
    yield "| | " + " | ".join([*heads, "at most", "kept"]) + " |"
    yield "|---|" + "---:|" * (len(heads) + 1) + "---|"
    for measure in MEASURES:
        if measure in ALWAYS or measure in verdicts or any(summary.worst[measure] for summary in summaries):
            yield _row(measure, summaries, verdicts.get(measure), several=several)
    yield ""
    for problem in (one for one in report.rounds if one.fault == name and one.problem is not None):
        yield f"Round {problem.number} of {problem.client} could not be finished: {problem.problem}."
        yield ""
    for summary in summaries:
        yield from _picture([one for one in report.rounds if (one.fault, one.client) == (name, summary.client)])


def _row(measure: str, summaries: Sequence[Summary], verdict: Verdict | None, *, several: bool) -> str:
    figures = [one for summary in summaries for one in (summary.median, summary.worst)[0 if several else 1 :]]
    cells = [shown(measure, one[measure]) for one in figures]
    asked = ["", ""] if verdict is None else [f"{verdict.at_most:,g}", "yes" if verdict.held else "**no**"]
    unit = ", ms" if measure.endswith("_ms") else ""
    return f"| {MEASURES[measure]}{unit} | " + " | ".join([*cells, *asked]) + " |"


def _picture(rounds: Sequence[RoundReport]) -> Iterator[str]:
    """Show the round with the longest gap."""
    drawn = [one for one in rounds if one.timeline]
    if drawn:
        chosen = max(drawn, key=lambda one: _gap(one.figures))
        yield f"![{chosen.fault}, {chosen.client}, round {chosen.number}]({chosen.timeline})"
        yield ""


def _gap(figures: Figures) -> float:
    return figures["gap_ms"] or 0.0


def _end() -> Iterator[str]:
    yield "## How it is measured"
    yield ""
    yield (
        "Calls are made when they are due, whether earlier ones were answered or not, and the latency of those that "
        "were answered counts from then. "
        "Plain writes are takes on keys of their own, and sessions answered `durable: false`; of redis-py they are "
        "`SET`s of as many keys, under the same schedule, with socket timeouts of 0.3 s and the same deadline. "
        "Lost is what was acknowledged and what the server that the Sentinels name in the end does not have, read "
        f"from it directly. The gap is the longest of any operation; unavailable are intervals of {BUCKET_MS} ms in "
        f"which a store answered less than 99 % of the calls; over its deadline is a call that kept its caller "
        f"{GRACE_MS} ms longer than that. "
        "Takes on the shared key leave a trace each under a key of their own, in the same call: what a window holds "
        "above the limit without those whose trace is lost, and without those that the rule for outages admitted, has "
        "no excuse. `?` means that it could not be observed, which keeps no bound."
    )
    yield ""
