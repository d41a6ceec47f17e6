"""Sentences and tables that `tollhouse cache` prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import UNSET, Struct, UnsetType
from rich.console import Console
from rich.table import Column, Table

from tollhouse.cache.management.inspection import EntryReport, PatternReport
from tollhouse.cache.management.stats import CacheStats, FamilyStats, MissCauses
from tollhouse.cli.query import print_line

_BYTES_STEP: Final = 1024


class InspectedEntry(Struct, frozen=True, kw_only=True):
    """The output of `inspect --json`; it has a value if that is wanted, null if there is none."""

    cache: str
    entry: EntryReport
    value: str | UnsetType | None = UNSET


class InspectedPattern(Struct, frozen=True, kw_only=True):
    """The output of `inspect --pattern --json`."""

    cache: str
    matching: PatternReport


def show_stats(cache: str, found: CacheStats) -> None:
    """Print the totals, then a row for each family."""
    console = Console()
    print_line(console, f"{found.message}: {cache}")
    if not found.available:
        return
    stats, detail = found.stats, found.detail
    print_line(console, f"entries: {stats.total_keys:,}; memory of the server: {stats.used_memory}")
    print_line(console, f"hits: {stats.hits:,}; misses: {stats.misses:,}; hit rate: {stats.hit_rate} %")
    print_line(console, f"misses by cause: {_causes(detail.misses_by_cause)}; invalidations: {detail.invalidations:,}")
    if detail.families:
        console.print(_families_table(detail.families, detail.all_families))


def show_entry(found: InspectedEntry) -> None:
    """Print what a read would find and why, and the value if it is wanted."""
    console, report = Console(), found.entry
    result = "hit" if report.result == "hit" else f"miss: {report.result}"
    print_line(console, f"a read would be a {result}; {found.cache}")
    print_line(console, f"name on the server: {report.name}; stored: {_size(report.size_bytes)}")
    if report.age_ms is not None and report.ttl_ms is not None and report.load_ms is not None:
        times = (report.age_ms, max(report.ttl_ms, 0), report.load_ms)
        age, left, load = (f"{ms / 1000:,.3f} s" for ms in times)
        print_line(console, f"age: {age}; remaining: {left}; its load took {load}")
    if report.cleared:
        print_line(console, "everything was invalidated after its load began")
    for tag in report.tags:
        print_line(
            console, f"tag {tag.digest}: {'invalidated after its load began' if tag.is_invalidated else 'valid'}"
        )
    if report.lease_left_ms is not None:
        what = "held by an invalidation" if report.is_held else "being loaded"
        print_line(console, f"{what}, for {report.lease_left_ms / 1000:,.3f} s more unless that is renewed")
    if found.value is not UNSET:
        print_line(console, f"value: {found.value or 'none that can be shown'}")


def show_matching(found: InspectedPattern) -> None:
    """Print how many entries match, and the names of some."""
    console, report = Console(), found.matching
    print_line(console, f"{report.entries:,} match; their words but the first are digests; {found.cache}")
    for name in report.sample:
        print_line(console, name)


def show_cleared(cache: str, cleared: str, removed: int | None) -> None:
    """Print what was removed."""
    count = "invalidated" if removed is None else f"{removed:,} removed"
    print_line(Console(), f"values by {cleared}: {count}; {cache}")


def _families_table(families: dict[str, FamilyStats], total: FamilyStats) -> Table:
    """Return a row for each family and one for all; what never happened has no column."""
    rows = [*families.items(), *([("all", total)] if len(families) > 1 else [])]
    shown = [name for name, cell in _CELLS.items() if name not in _RARE or cell(total) != "0"]
    table = Table(
        Column("family", overflow="fold"), *(Column(name, justify="right") for name in shown), "misses by cause"
    )
    for family, one in rows:
        table.add_row(family, *(_CELLS[name](one) for name in shown), _causes(one.misses_by_cause))
    return table


def _causes(causes: MissCauses) -> str:
    counts = {
        "absent": causes.absent,
        "invalidated": causes.invalidated,
        "epoch": causes.epoch,
        "unusable": causes.unusable,
    }
    return ", ".join(f"{count:,} {cause}" for cause, count in counts.items() if count) or "none"


def _size(size_bytes: float) -> str:
    """Return a number of bytes in the unit that makes it short."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < _BYTES_STEP:
            return f"{size_bytes:,.0f} {unit}" if unit == "B" else f"{size_bytes:,.1f} {unit}"
        size_bytes /= _BYTES_STEP
    return f"{size_bytes:,.1f} TiB"


_CELLS: Final[Mapping[str, Callable[[FamilyStats], str]]] = {
    "hits": lambda one: f"{one.hits_by_layer.store:,}",
    "misses": lambda one: f"{one.misses:,}",
    "rate": lambda one: f"{one.hit_rate:.1f} %",
    "coalesced": lambda one: f"{one.coalesced:,}",
    "bypassed": lambda one: f"{one.bypassed:,}",
    "refused": lambda one: f"{one.refused_fills:,}",
    "stored": lambda one: _size(one.stored_bytes),
    "served": lambda one: _size(one.served_bytes),
    "saved": lambda one: f"{one.saved_ms / 1000:,.1f} s",
}
_RARE: Final = frozenset({"coalesced", "bypassed", "refused"})
