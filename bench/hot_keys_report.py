"""The result of `bench.hot_keys`: tables, and whether the targets are reached."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from bench.rounds import Spread
from bench.shared_limit import CALLERS, UNITS
from bench.verdict import Verdict, listed

LEASED_PER_S = 500_000
SHARE_MIN = 0.95
_LEASED = "leased"
_SHARED_HEAD = (
    "| processes | policy | admitted in the fullest second | lowest to highest | of the limit | admitted/s | "
    "decisions/s |"
)


class HotKeys(Struct, frozen=True, kw_only=True):
    """Takes per second of some keys by some callers in one process, and calls of the server for each."""

    policy: str
    keys: int
    callers: int
    per_s: Spread
    calls: float


class Shared(Struct, frozen=True, kw_only=True):
    """What several processes did with one limit; `fullest` is the number of admissions in the fullest second."""

    policy: str
    processes: int
    fullest: Spread
    admitted_per_s: Spread
    decisions_per_s: Spread


class Report(Struct, frozen=True, kw_only=True):
    """The whole result."""

    verdicts: list[Verdict]
    hot: list[HotKeys]
    shared: list[Shared]


def reported(hot: list[HotKeys], shared: list[Shared]) -> Report:
    """Return the verdicts on the targets."""
    leased = [one for one in hot if one.policy == _LEASED]
    verdicts = [_rate(leased), *map(_kept, shared), _used(shared)]
    return Report(verdicts=verdicts, hot=hot, shared=shared)


def document(report: Report) -> str:
    """Return the verdicts and the tables as Markdown."""
    return "\n\n".join([listed(report.verdicts), _hot_table(report.hot), _shared_table(report.shared)])


def _rate(leased: Sequence[HotKeys]) -> Verdict:
    slowest = min(leased, key=lambda one: one.per_s.median)
    return Verdict(
        reached=slowest.per_s.median >= LEASED_PER_S,
        text=f"{slowest.per_s.median:,.0f} decisions a second with leases in one process, all admitted, at least: "
        f"keys {slowest.keys}, callers {slowest.callers}. The bar is {LEASED_PER_S:,}.",
    )


def _kept(one: Shared) -> Verdict:
    return Verdict(
        reached=one.fullest.highest <= UNITS,
        text=f"processes {one.processes}, {one.policy}: at most {one.fullest.highest:,.0f} admissions in any second of "
        f"any round. The limit is {UNITS:,}.",
    )


def _used(shared: Sequence[Shared]) -> Verdict:
    most = max((one for one in shared if one.policy == _LEASED), key=lambda one: one.processes)
    share = most.fullest.median / UNITS
    return Verdict(
        reached=share >= SHARE_MIN,
        text=f"processes {most.processes}, {most.policy}: {share:.1%} of the limit are admitted in the fullest second. "
        f"The bar is {SHARE_MIN:.0%}.",
    )


def _hot_table(hot: Sequence[HotKeys]) -> str:
    lines = [
        "## One process, all takes admitted",
        "",
        "| policy | keys | callers | decisions/s | lowest to highest | calls for 1,000 |",
        "|---" * 6 + "|",
    ]
    lines += [
        f"| {one.policy} | {one.keys} | {one.callers} | {one.per_s.median:,.0f} | {one.per_s.lowest:,.0f} to "
        f"{one.per_s.highest:,.0f} | {1000 * one.calls:,.1f} |"
        for one in hot
    ]
    return "\n".join(lines)


def _shared_table(shared: Sequence[Shared]) -> str:
    lines = [
        f"## One limit of {UNITS:,} a second, {CALLERS} callers in each process",
        "",
        _SHARED_HEAD,
        "|---" * 7 + "|",
    ]
    lines += [
        f"| {one.processes} | {one.policy} | {one.fullest.median:,.0f} | {one.fullest.lowest:,.0f} to "
        f"{one.fullest.highest:,.0f} | {one.fullest.median / UNITS:.1%} | {one.admitted_per_s.median:,.0f} | "
        f"{one.decisions_per_s.median:,.0f} |"
        for one in shared
    ]
    note = (
        "Over a whole round at most 16/17 of the limit come back in a second: a sub-bucket counts whole until it ends."
    )
    return "\n".join([*lines, "", note])
