"""`tollhouse cache`: what the cache saves, why a key is served or not, and its removal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click
from msgspec import Struct
from rich_click import RichCommand, RichGroup

from tollhouse.ai.canonical import parse
from tollhouse.app import installed_models
from tollhouse.cache.management.stats import CacheStats
from tollhouse.cli import cache_output as output
from tollhouse.cli.cache_warm import warm
from tollhouse.cli.models import search_working_folder
from tollhouse.cli.query import CONFIG, JSON, cache_of, imported_on_use, print_result, query
from tollhouse.http.ai import TENANT
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

    asks = everything and not yes
    if asks:
        _confirm(config)

    async def work(tollhouse: Tollhouse) -> ClearResult:
        what, removed = await _clear(tollhouse, tags, key, pattern)
        return ClearResult(cache=cache_of(tollhouse), cleared=what, removed=removed)

    print_result(
        query(config, work, warns=not asks),
        lambda done: output.show_cleared(done.cache, done.cleared, done.removed),
        as_json=as_json,
    )


def _confirm(config: Path | None) -> None:
    """Ask whether all values may go, while no event loop runs: one that runs would hold up an interrupt."""

    async def ask(tollhouse: Tollhouse) -> str:
        found = await tollhouse.cache.stats()
        values = f"{found.stats.total_keys:,} values" if found.available else "values"
        return f"Remove all {values} of {cache_of(tollhouse)}?"

    click.confirm(query(config, ask), abort=True)


async def _clear(
    tollhouse: Tollhouse, tags: tuple[str, ...], key: str | None, pattern: str | None
) -> tuple[str, int | None]:
    """Remove what the options name; return its kind, and how many values there were."""
    if tags:
        await tollhouse.cache.invalidate_tags(*tags)
        return "tag", None
    if key is not None:
        return "key", int(await tollhouse.cache.invalidate(key))
    if pattern is not None:
        return "pattern", await tollhouse.cache.delete_pattern(pattern)
    return "all", await tollhouse.cache.clear_all()


@cache.command(cls=RichCommand)
@click.argument("key", required=False)
@click.option("--model", help="Inspect the output of this model for --input.")
@click.option("--input", "text", help="The input of the model, as JSON.")
@click.option("--pattern", help="Count the values whose keys match, such as `model:metrics:*`, and name some.")
@click.option("--value", "with_value", is_flag=True, help="Print the stored value, too: its beginning, as JSON.")
@CONFIG
@JSON
def inspect(
    *,
    key: str | None,
    model: str | None,
    text: str | None,
    pattern: str | None,
    with_value: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Show what is stored for KEY, or for a model and its input: exit code 0 if a read would return it, else 1.

    Nothing is counted. Values are shown with --value only. With --pattern the exit code is 1 if none matches.
    """
    if sum(one is not None for one in (key, model, pattern)) != 1 or (model is None) != (text is None):
        raise click.UsageError("give exactly one of a KEY, --model with --input, and --pattern")
    if pattern is not None:
        if with_value:
            raise click.UsageError("--value is for the value of one key")
        _inspect_pattern(pattern, config, as_json=as_json)

    async def ask(tollhouse: Tollhouse) -> output.InspectedEntry:
        name, place = await _key_of(tollhouse, key, model, text), cache_of(tollhouse)
        if not with_value:
            return output.InspectedEntry(cache=place, entry=await tollhouse.cache.inspection.key(name))
        entry, value = await tollhouse.cache.inspection.key_and_value(name)
        return output.InspectedEntry(cache=place, entry=entry, value=value)

    if model is not None:
        search_working_folder()
    found = query(config, ask, imported_on_use if model is None else installed_models)
    print_result(found, output.show_entry, as_json=as_json)
    sys.exit(0 if found.entry.result == "hit" else 1)


async def _key_of(tollhouse: Tollhouse, key: str | None, model: str | None, text: str | None) -> str:
    """Return the key, or that of the output of a model for an input."""
    if model is None or text is None:
        return key or ""
    return await tollhouse.results.key(model, parse(os.fsencode(text)), tenant=TENANT)


def _inspect_pattern(pattern: str, config: Path | None, *, as_json: bool) -> NoReturn:
    async def ask(tollhouse: Tollhouse) -> output.InspectedPattern:
        matching = await tollhouse.cache.inspection.pattern(pattern)
        return output.InspectedPattern(cache=cache_of(tollhouse), matching=matching)

    found = query(config, ask)
    print_result(found, output.show_matching, as_json=as_json)
    sys.exit(0 if found.matching.entries else 1)
