"""A race: calls of several libraries on one server, whose rounds take turns, and its figures as a table and a chart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Any

from msgspec import Struct

from bench.rounds import Round, Spread, in_turns, one_round, spread
from bench.server import Observer, Spent
from bench.svg import Bar, Panel

_HEAD = "| library | calls/s | lowest to highest | x best peer | p50 | p99 | server CPU | in commands | client CPU |"


class Runner(Struct, frozen=True, kw_only=True):
    """One library in a race; `right` reads the reply of a call, and `commands` are those that a call sends.

    A library that runs more than once has variants. A reference shows what its call costs and is no competitor.
    `reset`, if it is not None, comes before each round.
    """

    library: str
    variant: str = ""
    call: Callable[[], Awaitable[Any]]
    right: Callable[[Any], bool] = bool
    commands: tuple[str, ...] = ("evalsha",)
    own: bool = False
    reference: bool = False
    reset: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        return _name(self.library, self.variant)


class Figure(Struct, frozen=True, kw_only=True):
    """One runner at one concurrency: calls per second of every round, and for a call the medians of the rounds' own.

    `client_us` is processor time of the measuring process, `server_us` that of the server's main thread, `commands_us`
    the time inside the commands that a call sends, as the server counts it: on a clock that runs on while it waits.
    """

    library: str
    variant: str
    own: bool
    reference: bool
    concurrency: int
    rates: list[float]
    p50_us: float
    p99_us: float
    client_us: float
    server_us: float
    commands_us: float

    @property
    def name(self) -> str:
        return _name(self.library, self.variant)

    @property
    def per_s(self) -> Spread:
        return spread(self.rates)

    def times(self, other: Figure) -> Spread:
        """Return the rate as a multiple of the other's, round by round: they took turns."""
        return spread([rate / its for rate, its in zip(self.rates, other.rates, strict=True)])


async def raced(
    runners: Sequence[Runner], observer: Observer, concurrency: int, rounds: int, seconds: float, warm_up_s: float
) -> list[Figure]:
    """Run all of them in turns, at one concurrency; a warm-up connects them before."""
    for one in runners:
        await _round(one, concurrency, warm_up_s)
    taken: dict[str, list[tuple[Round, Spent]]] = {one.name: [] for one in runners}
    for one in in_turns(runners, rounds):
        if one.reset is not None:
            one.reset()
        before = observer.spent(one.commands)
        done = await _round(one, concurrency, seconds)
        taken[one.name].append((done, observer.spent(one.commands).since(before, done.count)))
    return [_figure(one, concurrency, taken[one.name]) for one in runners]


def best_peer(race: Sequence[Figure]) -> Figure:
    """Return the fastest runner that is neither ours nor a reference."""
    return next(one for one in fastest_first(race) if not one.own and not one.reference)


def fastest_first(race: Sequence[Figure]) -> list[Figure]:
    """Return the figures by the median of their rates."""
    return sorted(race, key=lambda one: -one.per_s.median)


def race_table(race: Sequence[Figure]) -> str:
    """Return the figures of one race as Markdown, fastest first."""
    best = best_peer(race)
    return "\n".join([_HEAD, "|---" * _HEAD.count(" | ") + "|---|", *(_row(one, best) for one in fastest_first(race))])


def race_panel(race: Sequence[Figure], title: str) -> Panel:
    """Return the rates of one race as a panel of a chart, fastest first."""
    return Panel(title=title, bars=[_bar(one) for one in fastest_first(race)])


def _name(library: str, variant: str) -> str:
    return f"{library}: {variant}" if variant else library


async def _round(runner: Runner, concurrency: int, seconds: float) -> Round:
    return await one_round(runner.call, runner.right, concurrency, seconds)


def _figure(runner: Runner, concurrency: int, taken: Sequence[tuple[Round, Spent]]) -> Figure:
    rounds = [done for done, _ in taken]
    return Figure(
        library=runner.library,
        variant=runner.variant,
        own=runner.own,
        reference=runner.reference,
        concurrency=concurrency,
        rates=[done.per_s for done in rounds],
        p50_us=median(done.p50_us for done in rounds),
        p99_us=median(done.p99_us for done in rounds),
        client_us=median(1e6 * done.busy / done.per_s for done in rounds),
        server_us=median(spent.cpu_us for _, spent in taken),
        commands_us=median(spent.commands_us for _, spent in taken),
    )


def _row(one: Figure, best: Figure) -> str:
    rate, times = one.per_s, one.times(best).median
    return (
        f"| {one.name} | {rate.median:,.0f} | {rate.lowest:,.0f} to {rate.highest:,.0f} | {times:.2f} | "
        f"{one.p50_us:,.0f} µs | {one.p99_us:,.0f} µs | {one.server_us:.1f} µs | {one.commands_us:.1f} µs | "
        f"{one.client_us:.1f} µs |"
    )


def _bar(one: Figure) -> Bar:
    rate = one.per_s
    text = f"{rate.median:,.0f}"
    return Bar(name=one.name, value=rate.median, lowest=rate.lowest, highest=rate.highest, text=text, own=one.own)
