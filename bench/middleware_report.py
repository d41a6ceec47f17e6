"""The result of `bench.middleware`: a table, a chart, and whether the targets are reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from msgspec import Struct

from bench.rounds import Spread, spread
from bench.svg import Bar, Panel, draw
from bench.verdict import Verdict, listed

STARLETTE, LITESTAR = "Starlette", "Litestar"
OWN = "Tollhouse"
LITESTARS = f"{LITESTAR} + RateLimitConfig"
LESS = "no fields"
"""The end of the name of an application that writes no fields: it is shown, but does less than ours."""
TIMES_SLOWAPI = 4.0
TIMES_LITESTARS = 5.0
COST = 0.35
"""The part of a bare application's requests that our middleware may cost."""
ADDED_US = 20.0
"""The time that our middleware may add to a request."""
LEASED_US = 9.0
"""The time that it may add if its clients are few and busy, and their policy has quota leases."""
TIMES_P99 = 2.0
"""The 99th percentile behind our middleware, as a multiple of the bare application's."""
FEW = 10
"""So many clients are busy ones."""
CLIENT_BUSY = 0.8
"""Above this part of a core the measuring process might itself be what is measured."""


class Figure(Struct, frozen=True, kw_only=True):
    """One application: requests per second of every round, and the medians of the rounds' own latencies.

    `client_busy` is the part of a core that the measuring process used, in the round in which it used most.
    """

    app: str
    clients: int
    connections: int
    rates: list[float]
    p50_us: float
    p99_us: float
    client_busy: float

    @property
    def per_s(self) -> Spread:
        return spread(self.rates)

    def times(self, other: Figure) -> float:
        """Return the requests as a multiple of the other's, as the median over the rounds, which took turns."""
        return median(rate / its for rate, its in zip(self.rates, other.rates, strict=True))

    def added_us(self, other: Figure) -> float:
        """Return what a request takes longer than the other's, as the median over the rounds, which took turns."""
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
        *_added(own[0], found[f"{own[0].app}, leased"], found[STARLETTE]),
    ]


def _added(own: Figure, leased: Figure, bare: Figure) -> Iterator[Verdict]:
    """Yield the verdicts on the time of a request; those on leases are for few clients only."""
    for one, bar in ((own, ADDED_US), (leased, LEASED_US)):
        if one is own or one.clients == FEW:
            yield Verdict(
                reached=one.added_us(bare) <= bar,
                text=f"with {one.clients:,} clients {one.app} adds {one.added_us(bare):.1f} µs to a request. The bar "
                f"is {bar:g}.",
            )
    times = own.p99_us / bare.p99_us
    yield Verdict(
        reached=times <= TIMES_P99,
        text=f"with {own.clients:,} clients the 99th percentile of {own.app} is {times:.2f} times that of the bare "
        f"application. The bar is {TIMES_P99:g}.",
    )


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
        "| application | requests/s (median) | lowest to highest | of the bare one | added | p50 | p99 | client |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(one, _bare(one, group)) for one in group]
    return "\n".join(lines)


def _row(one: Figure, bare: Figure) -> str:
    rate = one.per_s
    return (
        f"| {one.app} | {rate.median:,.0f} | {rate.lowest:,.0f} to {rate.highest:,.0f} | {one.times(bare):.0%} | "
        f"{one.added_us(bare):.1f} µs | {one.p50_us:,.0f} µs | {one.p99_us:,.0f} µs | {one.client_busy:.0%} |"
    )


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
    framework = figure.app.partition(" + ")[0]
    return next(one for one in figures if one.app == framework)
