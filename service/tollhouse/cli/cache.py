"""`tollhouse cache`: what the cache saves, why a key is served or not, and its removal."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from msgspec import Struct
from rich_click import RichCommand, RichGroup

from tollhouse.cache.management.stats import CacheStats
from tollhouse.cli import cache_output as output
from tollhouse.cli.cache_warm import warm
from tollhouse.cli.query import CONFIG, JSON, cache_of, print_result, query
from tollhouse.wiring import Tollhouse


class ClearResult(Struct, frozen=True, kw_only=True):
    """The output of `clear --json`; `removed` is null for tags, whose values are not counted."""

    cache: str
    cleared: str
    removed: int | None


@click.group(cls=RichGroup)
def cache() -> None:
    """Show what the cache saves and why a key is served or not, and remove values.

    Without a URL the commands use the store of the service that `tollhouse serve` runs for this user.
    """


cache.add_command(warm)


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


@cache.command(cls=RichCommand)
@click.option("--tag", "tags", multiple=True, help="Remove the values that have this tag; may be given several times.")
@click.option("--key", help="Remove the value of this key.")
@click.option("--pattern", help="Remove the values whose keys match, such as `model:metrics:*`.")
@click.option("--all", "everything", is_flag=True, help="Remove every value.")
@click.option("--yes", is_flag=True, help="Do not ask before --all.")
@CONFIG
@JSON
def clear(
    *,
    tags: tuple[str, ...],
    key: str | None,
    pattern: str | None,
    everything: bool,
    yes: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Remove values by exactly one of --tag, --key, --pattern and --all: readers do not get them any more.

    What is being loaded for them is not stored. --all asks first; without a terminal it needs --yes.
    """
    if sum((bool(tags), key is not None, pattern is not None, everything)) != 1:
        raise click.UsageError("give exactly one of --tag, --key, --pattern and --all")
    if everything and not yes and not sys.stdin.isatty():
        raise click.UsageError("--all removes every value: give --yes, too")

    async def work(tollhouse: Tollhouse) -> ClearResult:
        what, removed = await _clear(tollhouse, tags, key, pattern, confirm=everything and not yes)
        return ClearResult(cache=cache_of(tollhouse), cleared=what, removed=removed)

    print_result(
        query(config, work),
        lambda done: output.show_cleared(done.cache, done.cleared, done.removed),
        as_json=as_json,
    )


async def _clear(
    tollhouse: Tollhouse, tags: tuple[str, ...], key: str | None, pattern: str | None, *, confirm: bool
) -> tuple[str, int | None]:
    """Remove what the options name; return its kind, and how many values there were."""
    if tags:
        await tollhouse.cache.invalidate_tags(*tags)
        return "tag", None
    if key is not None:
        return "key", int(await tollhouse.cache.invalidate(key))
    if pattern is not None:
        return "pattern", await tollhouse.cache.delete_pattern(pattern)
    if confirm:
        entries = (await tollhouse.cache.stats()).stats.total_keys
        click.confirm(f"Remove all {entries:,} values of {cache_of(tollhouse)}?", abort=True)
    return "all", await tollhouse.cache.clear_all()


@cache.command(cls=RichCommand)
@click.argument("key", required=False)
@click.option("--pattern", help="Count the values whose keys match, such as `model:metrics:*`, and name some.")
@CONFIG
@JSON
def inspect(*, key: str | None, pattern: str | None, config: Path | None, as_json: bool) -> None:
    """Show what is stored for KEY, and whether a read would return it: exit code 0 if it would, else 1.

    Values are never shown, and nothing is counted. With --pattern the exit code is 1 if none matches.
    """
    if (key is None) == (pattern is None):
        raise click.UsageError("give a KEY or --pattern")
    if key is not None:
        name = key
        report = query(config, lambda tollhouse: tollhouse.cache.inspection.key(name))
        print_result(report, output.show_entry, as_json=as_json)
        sys.exit(0 if report.result == "hit" else 1)
    words = pattern or ""
    matching = query(config, lambda tollhouse: tollhouse.cache.inspection.pattern(words))
    print_result(matching, output.show_matching, as_json=as_json)
    sys.exit(0 if matching.entries else 1)
