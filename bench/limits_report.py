"""The result of `bench.limits`: tables and a chart, figures as JSON, and whether the targets are reached."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from msgspec import Struct

from bench.ours import DEFAULT, FILLED, LIBRARY, THREE, THREE_FILLED
from bench.rounds import Spread, spread
from bench.svg import Bar, Panel, draw
from bench.verdict import Verdict, listed

TIMES_BEST = {1: 1.1, 50: 3.0, 1000: 5.0}
"""The target of the default algorithm, as a multiple of the takes of the best peer, by concurrency."""
TIMES_ONE = 1.6
"""The most that three windows may cost, as a multiple of one."""
REFUSED_PER_S = 600_000
_READING = """\
All figures are medians over the rounds. Each take is of the next of 10,000 subjects, and admitted. "Filled" means that
all sub-buckets of all windows hold units. The last columns are for one take: processor time of the server's main
thread, time inside the commands that the take sends, as the server counts it, and processor time of this process."""


class Figure(Struct, frozen=True, kw_only=True):
    """One limiter at one concurrency: takes per second of every round, and for a take the medians of the rounds' own.

    `client_us` is processor time of the measuring process, `server_us` that of the server's main thread, `script_us`
    the time inside the commands that a take sends, as the server counts it: on a clock that runs on while it waits.
    """

    library: str
    algorithm: str
    concurrency: int
    rates: list[float]
    p50_us: float
    p99_us: float
    client_us: float
    server_us: float
    script_us: float

    @property
    def name(self) -> str:
        return f"{self.library}: {self.algorithm}"

    @property
    def own(self) -> bool:
        return self.library == LIBRARY

    @property
    def per_s(self) -> Spread:
        return spread(self.rates)

    def times(self, other: Figure) -> float:
        """Return the takes as a multiple of the other's, as the median over the rounds, which took turns."""
        return median(rate / its for rate, its in zip(self.rates, other.rates, strict=True))


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
    """The whole result."""

    verdicts: list[Verdict]
    figures: list[Figure]
    memory: list[Memory]
    refused: Refused


def reported(figures: list[Figure], memory: list[Memory], refused: Refused) -> Report:
    """Return the verdicts on the targets."""
    races = _races(figures)
    verdicts = [*(_beside_peers(race) for race in races), _three_windows(races), _refusals(refused)]
    return Report(verdicts=verdicts, figures=figures, memory=memory, refused=refused)


def document(report: Report) -> str:
    """Return the verdicts and the tables as Markdown."""
    races = [_race(race) for race in _races(report.figures)]
    return "\n\n".join([listed(report.verdicts), _READING, *races, _memory(report.memory)])


def chart(title: str, report: Report) -> str:
    """Return the chart of takes per second, fastest first."""
    panels = [
        Panel(
            title=f"{race[0].concurrency} at a time, takes per second, with the slowest and the fastest round",
            bars=[_bar(one) for one in _fastest_first(race)],
        )
        for race in _races(report.figures)
    ]
    return draw(title, panels)


def _beside_peers(race: Sequence[Figure]) -> Verdict:
    best, concurrency = _best_peer(race), race[0].concurrency
    filled, empty = (_of(race, algorithm).times(best) for algorithm in (FILLED, DEFAULT))
    return Verdict(
        reached=filled >= TIMES_BEST[concurrency],
        text=f"{filled:.2f} times the best peer ({best.name}) at concurrency {concurrency} with all sub-buckets "
        f"filled, {empty:.2f} times with empty ones. The bar is {TIMES_BEST[concurrency]:g}.",
    )


def _three_windows(races: Sequence[Sequence[Figure]]) -> Verdict:
    costs = {
        f"{race[0].concurrency} at a time, {state}": _of(race, one).times(_of(race, three))
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


def _race(race: Sequence[Figure]) -> str:
    best = _best_peer(race)
    lines = [
        f"## {race[0].concurrency} at a time",
        "",
        "| limiter | takes/s | lowest to highest | x best peer | p50 | p99 | server CPU | in commands | client CPU |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.name} | {one.per_s.median:,.0f} | {one.per_s.lowest:,.0f} to {one.per_s.highest:,.0f} | "
        f"{one.times(best):.2f} | {one.p50_us:,.0f} µs | {one.p99_us:,.0f} µs | {one.server_us:.1f} µs | "
        f"{one.script_us:.1f} µs | {one.client_us:.1f} µs |"
        for one in _fastest_first(race)
    ]
    return "\n".join(lines)


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


def _bar(figure: Figure) -> Bar:
    rate = figure.per_s
    text = f"{rate.median:,.0f}"
    return Bar(name=figure.name, value=rate.median, lowest=rate.lowest, highest=rate.highest, text=text, own=figure.own)


def _races(figures: Sequence[Figure]) -> list[list[Figure]]:
    """Return the figures of each concurrency."""
    return [[one for one in figures if one.concurrency == concurrency] for concurrency in TIMES_BEST]


def _fastest_first(race: Sequence[Figure]) -> list[Figure]:
    return sorted(race, key=lambda one: -one.per_s.median)


def _best_peer(race: Sequence[Figure]) -> Figure:
    return next(one for one in _fastest_first(race) if not one.own)


def _of(race: Sequence[Figure], algorithm: str) -> Figure:
    return next(one for one in race if one.own and one.algorithm == algorithm)
