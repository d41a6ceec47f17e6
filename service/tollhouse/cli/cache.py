"""`tollhouse cache`: what the cache saves, why a key is served or not, and its removal."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich_click import RichCommand, RichGroup

from tollhouse.cache.management.stats import CacheStats
from tollhouse.cli import cache_output as output
from tollhouse.cli.query import CONFIG, JSON, cache_of, print_result, query
from tollhouse.wiring import Tollhouse


@click.group(cls=RichGroup)
def cache() -> None:
    """Show what the cache saves and why a key is served or not, and remove values.

    Without a URL the commands use the store of the service that `tollhouse serve` runs for this user.
    """


@cache.command(cls=RichCommand)
@CONFIG
@JSON
def stats(*, config: Path | None, as_json: bool) -> None:
    """Show hits and misses of all processes, by family of keys: exit code 0, or 1 if the store does not answer.

    A family are the keys with the same first word. A process sends its counts within a second.

    --json prints what `GET /v1/cache/stats` answers.
    """

    async def ask(tollhouse: Tollhouse) -> tuple[CacheStats, str]:
        return await tollhouse.cache.stats(), cache_of(tollhouse)

    found, place = query(config, ask)
    print_result(found, lambda found: output.show_stats(place, found), as_json=as_json)
    sys.exit(0 if found.available else 1)
