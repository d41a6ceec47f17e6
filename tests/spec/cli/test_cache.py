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
