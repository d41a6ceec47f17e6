"""The result of `bench.middleware`: a table, a chart, and whether the targets are reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from msgspec import Struct

from bench.rounds import Spread, spread
from bench.svg import Bar, Panel, draw
from bench.verdict import Verdict, listed

STARLETTE, LITESTAR = "Starlette", "Litestar"
OWN = "Tollhouse"
REFUSED = f"{STARLETTE} + {OWN}, remembered refusal"
LEASED = f"{STARLETTE} + {OWN}, quota lease"
NOT_TUNED = ", not tuned"
"""The end of the name of an application whose garbage collector is as Python makes it."""
LITESTARS = f"{LITESTAR} + RateLimitConfig"
LESS = "no fields"
"""The end of the name of an application that writes no fields: it is shown, but does less than ours."""
TIMES_SLOWAPI = 4.0
TIMES_LITESTARS = 5.0
COST = 0.35
"""The part of a bare application's requests that our middleware may cost."""
ADDED_US = 20.0
"""What our middleware may add to a request that the store decides, in microseconds of the processor."""
KNOWN_US = 9.0
"""The same if the process knows the decision: by a refusal that it remembers, or by a quota lease."""
TIMES_P99 = 2.0
"""The slowest hundredth of requests behind our middleware, as a multiple of that of the bare application."""
_COLUMNS = (
    "application",
    "requests/s (median)",
    "lowest to highest",
    "of the bare one",
    "processor",
    "added",
    "wall clock added",
    "p50",
    "p99",
    "longest pause",
    "client",
)
HOT_CLIENTS = 10
"""Of many more clients none comes often enough for a lease."""
PAUSE_US = 1_000.0
"""A pause of the garbage collector that is short enough."""
CLIENT_BUSY = 0.8
"""Above this part of a core the measuring process might itself be what is measured."""


class Figure(Struct, frozen=True, kw_only=True):
    """One application: requests per second of every round, and the medians of the rounds' own latencies.

    `cpus_us` is the processor time of its process for each request, of every round. `pause_us` is the longest pause
    of its garbage collector. `client_busy` is the part of a core that the measuring process used, in the round in which
    it used most.
    """

    app: str
    clients: int
    connections: int
    rates: list[float]
    cpus_us: list[float]
    p50_us: float
    p99_us: float
    pause_us: float
    client_busy: float

    @property
    def per_s(self) -> Spread:
        return spread(self.rates)

    def times(self, other: Figure) -> float:
        """Return the requests as a multiple of the other's, as the median over the rounds, which took turns."""
        return median(rate / its for rate, its in zip(self.rates, other.rates, strict=True))

    def added_us(self, other: Figure) -> float:
        """Return the processor time that a request takes longer than the other's, as the median over the rounds."""
        return median(cpu - its for cpu, its in zip(self.cpus_us, other.cpus_us, strict=True))

    def longer_us(self, other: Figure) -> float:
        """Return the wall-clock time that a request takes longer in a process that is always busy, likewise."""
        return median(1e6 / rate - 1e6 / its for rate, its in zip(self.rates, other.rates, strict=True))


class Report(Struct, frozen=True, kw_only=True):
    """The whole result."""

    verdicts: list[Verdict]
    figures: list[Figure]


def reported(figures: list[Figure]) -> Report:
    """Return the verdicts on the targets."""
    verdicts = [verdict for group in _groups(figures) for verdict in _judged(group)]
    return Report(verdicts=[*verdicts, _client(figures)], figures=figures)


def document(report: Report) -> str:
    """Return the verdicts and the tables as Markdown."""
    return "\n\n".join([listed(report.verdicts), *(_table(group) for group in _groups(report.figures))])


def chart(title: str, report: Report) -> str:
    """Return the chart of the applications on one scale, for each population of clients."""
    panels = [
        Panel(
            title=f"{group[0].clients:,} clients over {group[0].connections} connections, requests per second, with "
            "the slowest and the fastest round",
            bars=[_bar(one) for one in group],
        )
        for group in _groups(report.figures)
    ]
    return draw(title, panels)


def _judged(group: Sequence[Figure]) -> list[Verdict]:
    found = {one.app: one for one in group}
    own = [found[f"{framework} + {OWN}"] for framework in (STARLETTE, LITESTAR)]
    slowapis = [one for one in group if "slowapi" in one.app.lower()]
    return [
        _beside(own[0], slowapis, TIMES_SLOWAPI),
        _beside(own[1], [found[LITESTARS]], TIMES_LITESTARS),
        *(_cost(one, _bare(one, group)) for one in own),
        _added(own[0], group, ADDED_US),
        _added(found[REFUSED], group, KNOWN_US),
        *([_added(found[LEASED], group, KNOWN_US)] if own[0].clients <= HOT_CLIENTS else []),
        _p99(own[0], _bare(own[0], group)),
        *_pauses(found),
    ]


def _added(own: Figure, group: Sequence[Figure], bar: float) -> Verdict:
    added_us = own.added_us(_bare(own, group))
    return Verdict(
        reached=added_us <= bar,
        text=f"with {own.clients:,} clients {own.app} adds {added_us:.1f} µs of the processor to a request. "
        f"The bar is {bar:g}.",
    )


def _p99(own: Figure, bare: Figure) -> Verdict:
    times = own.p99_us / bare.p99_us
    return Verdict(
        reached=times <= TIMES_P99,
        text=f"with {own.clients:,} clients 99 of 100 requests to {own.app} take {own.p99_us / 1000:.1f} ms at most, "
        f"{times:.2f} times those to the bare application. The bar is {TIMES_P99:g}.",
    )


def _pauses(found: Mapping[str, Figure]) -> list[Verdict]:
    """Return whether tuning leaves no pause longer than one without."""
    pairs = [(one, found[app.removesuffix(NOT_TUNED)]) for app, one in found.items() if app.endswith(NOT_TUNED)]
    return [
        Verdict(
            reached=tuned.pause_us <= max(one.pause_us / 2, PAUSE_US),
            text=f"with {one.clients:,} clients the garbage collector stops {tuned.app} for at most "
            f"{tuned.pause_us / 1000:.1f} ms, and for {one.pause_us / 1000:.1f} ms if it is not tuned. "
            "The bar is the half, or 1 ms.",
        )
        for one, tuned in pairs
    ]


def _beside(own: Figure, others: Sequence[Figure], bar: float) -> Verdict:
    """Compare with those others that do the same work; the text names all."""
    times = {one.app.partition(" + ")[2]: own.times(one) for one in others}
    words = "; ".join(f"{ratio:.2f} times that with {name}" for name, ratio in times.items())
    return Verdict(
        reached=min(ratio for name, ratio in times.items() if not name.endswith(LESS)) >= bar,
        text=f"with {own.clients:,} clients {own.app} answers {words}. The bar is {bar:g}.",
    )


def _cost(own: Figure, bare: Figure) -> Verdict:
    cost = 1 - own.times(bare)
    return Verdict(
        reached=cost <= COST,
        text=f"with {own.clients:,} clients {own.app} costs {cost:.0%} of the bare application. The bar is {COST:.0%}.",
    )


def _client(figures: Sequence[Figure]) -> Verdict:
    busiest = max(one.client_busy for one in figures)
    return Verdict(
        reached=busiest <= CLIENT_BUSY,
        text=f"the measuring process used at most {busiest:.0%} of a core; above {CLIENT_BUSY:.0%} it might itself be "
        "what is measured.",
    )


def _table(group: Sequence[Figure]) -> str:
    lines = [
        f"## {group[0].clients:,} clients",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|---" * len(_COLUMNS) + "|",
    ]
    return "\n".join([*lines, *(_row(one, _bare(one, group)) for one in group)])


def _row(one: Figure, bare: Figure) -> str:
    cells = (
        one.app,
        f"{one.per_s.median:,.0f}",
        f"{one.per_s.lowest:,.0f} to {one.per_s.highest:,.0f}",
        f"{one.times(bare):.0%}",
        f"{median(one.cpus_us):.1f} µs",
        f"{one.added_us(bare):.1f} µs",
        f"{one.longer_us(bare):.1f} µs",
        f"{one.p50_us:,.0f} µs",
        f"{one.p99_us:,.0f} µs",
        f"{one.pause_us / 1000:.1f} ms",
        f"{one.client_busy:.0%}",
    )
    return f"| {' | '.join(cells)} |"


def _bar(figure: Figure) -> Bar:
    rate = figure.per_s
    return Bar(
        name=figure.app,
        value=rate.median,
        lowest=rate.lowest,
        highest=rate.highest,
        text=f"{rate.median:,.0f}",
        own=OWN in figure.app,
    )


def _groups(figures: Sequence[Figure]) -> list[list[Figure]]:
    """Return the figures of each population."""
    return [
        [one for one in figures if one.clients == clients] for clients in dict.fromkeys(one.clients for one in figures)
    ]


def _bare(figure: Figure, figures: Sequence[Figure]) -> Figure:
    framework = figure.app.partition(" + ")[0].removesuffix(NOT_TUNED)
    return next(one for one in figures if one.app == framework)
