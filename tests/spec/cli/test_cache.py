"""`tollhouse cache` on a store of this process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

import tollhouse
from tollhouse.cli.commands import cli

Run = Callable[..., Result]
_NUMBERS = itertools.count()


@pytest.fixture
def url() -> str:
    """A server of its own."""
    return f"fake://cli-cache-{next(_NUMBERS)}"


@pytest.fixture
def run(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `tollhouse cache` in an empty folder, as a user who has set nothing but the URL."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str, typed: str | None = None, **variables: str) -> Result:
        environment = {"TOLLHOUSE_URL": url, "XDG_RUNTIME_DIR": str(tmp_path), "COLUMNS": "200", **variables}
        return CliRunner().invoke(cli, ["cache", *args], env=environment, input=typed)

    return run


def work(url: str, use: Callable[[tollhouse.Cache], Awaitable[Any]]) -> Any:
    """Return what `use` returns for the cache of an application."""

    async def main() -> Any:
        async with tollhouse.open(url) as th:
            return await use(th.cache)

    return asyncio.run(main())


async def some_reads(cache: tollhouse.Cache) -> None:
    """Two misses and a hit, in two families."""

    async def load() -> str:
        return "value"

    await cache.get_or_load("model:metrics:abc", load, tags=["abc"])
    await cache.get_or_load("model:metrics:abc", load, tags=["abc"])
    await cache.get_or_load("image:7", load)


def test_stats_are_shown(url: str, run: Run) -> None:
    """S3-22, S4-42: totals with the store that they are of; with --json in the shape of the service."""
    work(url, some_reads)

    shown, told = run("stats"), run("stats", "--json")

    assert shown.exit_code == told.exit_code == 0
    assert f"Cache is healthy: {url}?db=2, keys tollhouse:…" in shown.stdout
    assert "hits: 1; misses: 2; hit rate: 33.33 %" in shown.stdout
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.stdout.splitlines() if "│" in line]
    assert [row[:4] for row in rows] == [
        ["image", "0", "1", "0.0 %"],
        ["model", "1", "1", "50.0 %"],
        ["all", "1", "2", "33.3 %"],
    ]
    assert {row[-1] for row in rows} == {"1 absent", "2 absent"}
    body = msgspec.json.decode(told.stdout)
    assert set(body) == {"available", "stats", "config", "message", "detail"}
    assert (body["stats"]["hits"], body["stats"]["misses"], body["stats"]["total_keys"]) == (1, 2, 2)


def test_stats_of_a_store_that_is_down(run: Run) -> None:
    """S4-43: it is said, with exit code 1 and without the password."""
    down = run("stats", TOLLHOUSE_URL="redis://:sesame@127.0.0.1:1")

    assert down.exit_code == 1
    assert "Cache is unavailable: redis://127.0.0.1:1/2" in down.stdout
    assert "sesame" not in down.output


#   options, what is said, its count, the values that are left
CLEARED: list[tuple[tuple[str, ...], str, int | None, int]] = [
    (("--tag", "abc", "--tag", "other"), "tag", None, 1),
    (("--key", "image:7"), "key", 1, 1),
    (("--key", "image:8"), "key", 0, 2),
    (("--pattern", "model:metrics:*"), "pattern", 1, 1),
    (("--all", "--yes"), "all", 2, 0),
]


@pytest.mark.parametrize(("options", "what", "removed", "left"), CLEARED)
def test_values_are_removed(
    url: str, run: Run, options: tuple[str, ...], what: str, removed: int | None, left: int
) -> None:
    """S0-34: by tags, by key, by pattern or all; the count is said if it is known."""
    work(url, some_reads)

    done = run("clear", *options, "--json")

    async def count(cache: tollhouse.Cache) -> int:
        return sum([await cache.look_up(key) is not None for key in ("model:metrics:abc", "image:7")])

    assert done.exit_code == 0
    said = msgspec.json.decode(done.stdout)
    assert (said["cleared"], said["removed"]) == (what, removed)
    assert url in said["cache"]
    assert work(url, count) == left


@pytest.mark.parametrize(
    "options", [(), ("--tag", "a", "--all"), ("--key", "a", "--pattern", "a:*"), ("--all",), ("--pattern", "mod*:a")]
)
def test_a_vague_removal_is_refused(url: str, run: Run, options: tuple[str, ...]) -> None:
    """Two options or none, --all without a terminal or --yes, a part of a word: refused, and nothing is removed."""
    work(url, some_reads)

    done = run("clear", *options)

    assert done.exit_code != 0
    assert work(url, lambda cache: cache.look_up("image:7")) is not None


def test_a_key_is_inspected(url: str, run: Run) -> None:
    """S4-45: exit code 0 if a read would be a hit, else 1; a pattern counts."""
    work(url, some_reads)

    hit, miss = run("inspect", "model:metrics:abc"), run("inspect", "model:metrics:def", "--json")
    matching, vague = run("inspect", "--pattern", "model:*"), run("inspect")

    assert (hit.exit_code, miss.exit_code, matching.exit_code, vague.exit_code) == (0, 1, 0, 2)
    assert "a read would be a hit" in hit.stdout
    assert "valid" in hit.stdout
    assert msgspec.json.decode(miss.stdout)["entry"]["result"] == "absent"
    assert "1 match" in matching.stdout
    assert all(url in done.stdout for done in (hit, miss, matching))


def test_a_value_is_shown_if_it_is_wanted(url: str, run: Run) -> None:
    """S4-45: --value prints what is stored as JSON, of an entry that a read would not return, too."""
    work(url, some_reads)

    silent, shown, told = (run("inspect", "image:7", *options) for options in ((), ("--value",), ("--value", "--json")))
    work(url, lambda cache: cache.clear())
    old, none = run("inspect", "image:7", "--value"), run("inspect", "image:8", "--value", "--json")

    assert '"value"' not in silent.stdout
    assert '"value"' in shown.stdout
    assert msgspec.json.decode(told.stdout)["value"] == '"value"'
    assert "value" not in msgspec.json.decode(run("inspect", "image:7", "--json").stdout)
    assert (old.exit_code, '"value"' in old.stdout) == (1, True)
    assert msgspec.json.decode(none.stdout)["value"] is None


@pytest.mark.parametrize(
    "options",
    [
        ("--value",),
        ("--pattern", "image:*", "--value"),
        ("image:7", "--pattern", "image:*"),
        ("image:7", "--model", "length", "--input", "7"),
        ("--model", "length"),
        ("--input", "7"),
        ("image:7", "--input", "7"),
    ],
)
def test_a_vague_inspection_is_refused(url: str, run: Run, options: tuple[str, ...]) -> None:
    """No key, two of them, or half of an AI result: exit code 2."""
    work(url, some_reads)

    assert run("inspect", *options).exit_code == 2
