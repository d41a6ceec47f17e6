"""The result of `bench.servers`: a table, and whether the targets are reached."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from msgspec import Struct

from bench.cores import Cores
from bench.go_programs import GoPrograms
from bench.rounds import Spread, spread
from bench.verdict import Verdict, listed

OURS, GO, ECHO = "Tollhouse", "Go, redis_rate", "echo"
CPU_US = 32.0
TIMES_GO = 1.3
P99_MS = 10.0
OF_ECHO = 0.90
FULL = 0.93
"""A server that used more of its core than this was what limited its rate, and not the load or the store."""

_HEAD = (
    "| server | requests/s | lowest to highest | CPU | p50 | p99 | memory | store CPU | in scripts | server busy | "
    "store busy | load busy |"
)


class Figure(Struct, frozen=True, kw_only=True):
    """The figures of one server, medians of the rounds; those in microseconds are for one request.

    `cpu_us` is processor time of the server, `store_us` of the store, and `script_us` the part of that inside scripts,
    as the store counts it. The busy ones are parts of a core: of the server, the store and the load.
    """

    server: str
    connections: int
    rates: list[float]
    cpu_us: float
    p50_us: float
    p99_us: float
    resident_bytes: int
    script_us: float
    store_us: float
    busy: float
    store_busy: float
    load_busy: float

    @property
    def per_s(self) -> Spread:
        return spread(self.rates)

    def times(self, other: Figure) -> float:
        """Return the requests as a multiple of the other's, as the median over the rounds, which took turns."""
        return median(rate / its for rate, its in zip(self.rates, other.rates, strict=True))


class Report(Struct, frozen=True, kw_only=True):
    """The whole result; `go` names the versions of the Go server, or says why there is none."""

    verdicts: list[Verdict]
    figures: list[Figure]
    cores: Cores
    go: str


def reported(figures: list[Figure], cores: Cores, programs: GoPrograms | str) -> Report:
    """Return the verdicts on the targets."""
    found = {one.server: one for one in figures}
    ours = found[OURS]
    verdicts = [_cpu(ours), _latency(ours), _of_echo(ours, found[ECHO])]
    if GO in found:
        verdicts.insert(1, _beside_go(ours, found[GO]))
    go = programs.versions if isinstance(programs, GoPrograms) else programs
    return Report(verdicts=verdicts, figures=figures, cores=cores, go=go)


def document(report: Report) -> str:
    """Return the verdicts and the table as Markdown."""
    go = f"The Go server was built with {report.go}." if len(report.figures) > 2 else f"No Go server: {report.go}."
    reading = (
        f"Medians of {len(report.figures[0].rates)} rounds; {report.cores.shared}. A server that is not busy all the "
        f"time was held back by something else. {go}"
    )
    return "\n\n".join([listed(report.verdicts), reading, _table(report.figures)])


def _cpu(ours: Figure) -> Verdict:
    return Verdict(
        reached=ours.cpu_us <= CPU_US,
        text=f"{ours.cpu_us:.1f} µs of processor time for a take. The bar is {CPU_US:g}.",
    )


def _beside_go(ours: Figure, go: Figure) -> Verdict:
    ratio, held = ours.times(go), "" if go.busy >= FULL else f", which was busy for {go.busy:.0%} of the time only"
    return Verdict(
        reached=ratio >= TIMES_GO,
        text=f"{ratio:.2f} times the requests of the Go server{held}; {go.cpu_us / ours.cpu_us:.2f} times by processor "
        f"time. The bar is {TIMES_GO:g}.",
    )


def _latency(ours: Figure) -> Verdict:
    return Verdict(
        reached=ours.p99_us <= 1000 * P99_MS,
        text=f"99 % of the takes have their answer in {ours.p99_us / 1000:.1f} ms. The bar is {P99_MS:g}.",
    )


def _of_echo(ours: Figure, echo: Figure) -> Verdict:
    return Verdict(
        reached=ours.times(echo) >= OF_ECHO,
        text=f"{ours.times(echo):.0%} of the requests of an echo. The bar is {OF_ECHO:.0%}.",
    )


def _table(figures: Sequence[Figure]) -> str:
    lines = [_HEAD, "|---" * (_HEAD.count("|") - 1) + "|"]
    lines += [
        f"| {one.server} | {one.per_s.median:,.0f} | {one.per_s.lowest:,.0f} to {one.per_s.highest:,.0f} | "
        f"{one.cpu_us:.1f} µs | {one.p50_us / 1000:.2f} ms | {one.p99_us / 1000:.2f} ms | "
        f"{one.resident_bytes / 2**20:.0f} MiB | {one.store_us:.1f} µs | {one.script_us:.1f} µs | {one.busy:.0%} | "
        f"{one.store_busy:.0%} | {one.load_busy:.0%} |"
        for one in sorted(figures, key=lambda one: -one.per_s.median)
    ]
    return "\n".join(lines)
