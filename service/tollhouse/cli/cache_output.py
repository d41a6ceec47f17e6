"""Sentences and tables that `tollhouse cache` prints."""

from __future__ import annotations

from rich.console import Console

from tollhouse.cache.management.stats import CacheStats
from tollhouse.cli.query import print_line


def show_stats(cache: str, found: CacheStats) -> None:
    """Print the totals, then a row for each family."""
    console = Console()
    print_line(console, f"{found.message}: {cache}")
    if not found.available:
        return
    stats, causes = found.stats, found.detail.misses_by_cause
    print_line(console, f"entries: {stats.total_keys:,}; memory of the server: {stats.used_memory}")
    print_line(console, f"hits: {stats.hits:,}; misses: {stats.misses:,}; hit rate: {stats.hit_rate} %")
    print_line(
        console,
        f"misses by cause: {causes.absent:,} absent, {causes.invalidated:,} invalidated, {causes.epoch:,} epoch,"
        f" {causes.unusable:,} unusable; invalidations: {found.detail.invalidations:,}",
    )
