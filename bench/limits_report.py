"""The result of `bench.limits`: tables and a chart, figures as JSON, and whether the targets are reached."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from bench.ours import DEFAULT, FILLED, LIBRARY, THREE, THREE_FILLED
from bench.race import Figure, best_peer, race_panel, race_table
from bench.rounds import Spread
from bench.svg import draw
from bench.verdict import Verdict, listed

TIMES_BEST = {1: 0.95, 50: 4.5, 1000: 12.0}
"""The target of the default algorithm, as a multiple of the takes of the best peer, by concurrency."""
TIMES_BEST_ON_ONE_CORE = 1.0
TIMES_SLIDING_ON_ONE_CORE = 1.2
"""The target beside those peers only that are no fixed windows: a counter is less work, and admits twice the limit."""
_ONE_CORE = "at concurrency 1, client and server on one core,"
TIMES_ONE = 1.6
"""The most that three windows may cost, as a multiple of one."""
REFUSED_PER_S = 600_000
BYTES = {DEFAULT: 136, FILLED: 240, THREE: 208, THREE_FILLED: 432}
"""The most that one subject may take after a hundred takes."""
_READING = """\
All figures are medians over the rounds. Each take is of the next of 10,000 subjects, and admitted. "Filled" means that
all sub-buckets of all windows hold units. The last columns are for one take: processor time of the server's main
thread, time inside the commands that the take sends, as the server counts it, and processor time of this process."""


class Memory(Struct, frozen=True, kw_only=True):
    """The bytes of one subject in the server, after one take and after a hundred."""

    library: str
    algorithm: str
    first_bytes: int
    later_bytes: int


class Refused(Struct, frozen=True, kw_only=True):
    """Refusals per second of some keys by one task; `calls` reached the server meanwhile."""

    keys: int
    per_s: Spread
    calls: int


class Report(Struct, frozen=True, kw_only=True):
    """The whole result; `one_core` has the figures with client and server on one core."""

    verdicts: list[Verdict]
    figures: list[Figure]
    one_core: list[Figure]
    memory: list[Memory]
    refused: Refused


def reported(figures: list[Figure], one_core: list[Figure], memory: list[Memory], refused: Refused) -> Report:
    """Return the verdicts on the targets."""
    races = _races(figures)
    sliding = [one for one in one_core if one.variant != "fixed-window"]
    verdicts = [
        _beside_peers(sliding, "best peer that is no fixed window", _ONE_CORE, TIMES_SLIDING_ON_ONE_CORE),
        _beside_peers(one_core, "best peer", _ONE_CORE, TIMES_BEST_ON_ONE_CORE),
        *(
            _beside_peers(race, "best peer", f"at concurrency {concurrency}", bar)
            for race, (concurrency, bar) in zip(races, TIMES_BEST.items(), strict=True)
        ),
        _three_windows(races),
        _refusals(refused),
        _bytes(memory),
    ]
    return Report(verdicts=verdicts, figures=figures, one_core=one_core, memory=memory, refused=refused)


def document(report: Report) -> str:
    """Return the verdicts and the tables as Markdown."""
    one_core = f"## 1 at a time, client and server on one core\n\n{race_table(report.one_core)}"
    races = [
        one_core,
        *(f"## {race[0].concurrency} at a time\n\n{race_table(race)}" for race in _races(report.figures)),
    ]
    return "\n\n".join([listed(report.verdicts), _READING, *races, _memory(report.memory)])


def chart(title: str, report: Report) -> str:
    """Return the chart of takes per second, fastest first."""
    panels = [
        race_panel(race, f"{race[0].concurrency} at a time, takes per second, with the slowest and the fastest round")
        for race in _races(report.figures)
    ]
    return draw(title, panels)


def _beside_peers(race: Sequence[Figure], peer: str, where: str, bar: float) -> Verdict:
    best = best_peer(race)
    filled, empty = (_of(race, algorithm).times(best).median for algorithm in (FILLED, DEFAULT))
    return Verdict(
        reached=filled >= bar,
        text=f"{filled:.2f} times the {peer} ({best.name}) {where} with all sub-buckets filled, {empty:.2f} times with "
        f"empty ones. The bar is {bar:g}.",
    )


def _three_windows(races: Sequence[Sequence[Figure]]) -> Verdict:
    costs = {
        f"{race[0].concurrency} at a time, {state}": _of(race, one).times(_of(race, three)).median
        for race in races
        for state, one, three in (("empty", DEFAULT, THREE), ("filled", FILLED, THREE_FILLED))
    }
    words = "; ".join(f"{cost:.2f} times ({where})" for where, cost in costs.items())
    return Verdict(
        reached=max(costs.values()) <= TIMES_ONE,
        text=f"three windows cost what one costs {words}. The bar is {TIMES_ONE:g}.",
    )


def _refusals(refused: Refused) -> Verdict:
    rate = refused.per_s
    return Verdict(
        reached=rate.median >= REFUSED_PER_S,
        text=f"{rate.median:,.0f} refusals a second of {refused.keys} hot keys in one process ({rate.lowest:,.0f} to "
        f"{rate.highest:,.0f}), for which {refused.calls} calls reached the server. The bar is {REFUSED_PER_S:,}.",
    )


def _bytes(memory: Sequence[Memory]) -> Verdict:
    found = {one.algorithm: one.later_bytes for one in memory if one.library == LIBRARY}
    words = "; ".join(f"{found[algorithm]} for {algorithm} (the bar is {bar})" for algorithm, bar in BYTES.items())
    return Verdict(
        reached=all(found[algorithm] <= bar for algorithm, bar in BYTES.items()),
        text=f"bytes of one subject after a hundred takes: {words}.",
    )


def _memory(memory: Sequence[Memory]) -> str:
    lines = [
        "## Bytes of one subject",
        "",
        "By `MEMORY USAGE` of all keys that one subject has.",
        "",
        "| limiter | after 1 take | after 100 takes |",
        "|---|---|---|",
    ]
    ordered = sorted(memory, key=lambda one: one.later_bytes)
    return "\n".join(
        [
            *lines,
            *(f"| {one.library}: {one.algorithm} | {one.first_bytes:,} | {one.later_bytes:,} |" for one in ordered),
        ]
    )


def _races(figures: Sequence[Figure]) -> list[list[Figure]]:
    """Return the figures of each concurrency."""
    return [[one for one in figures if one.concurrency == concurrency] for concurrency in TIMES_BEST]


def _of(race: Sequence[Figure], algorithm: str) -> Figure:
    return next(one for one in race if one.own and one.variant == algorithm)
