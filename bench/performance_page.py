"""Writes the table of docs/performance.md from the results: python -m bench.performance_page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

_ROOT = Path(__file__).parents[1]
PAGE = _ROOT / "docs" / "performance.md"
_RESULTS = _ROOT / "bench" / "results"
_HEAD = (
    "| path | processor time of your process | of the server | until it returns | what bounds it | measured by |\n"
    "|---|---:|---:|---:|---|---|\n"
)
_TRIP, _PYTHON, _NOTHING = "the round trip", "Python", "Python; no server is needed"
#   name in bench.paths, at a time, name of the path, what bounds it
_PATHS = (
    ("take", 1, "a take alone", _TRIP),
    ("take", 50, "takes, 50 at a time", _PYTHON),
    ("take", 1000, "takes, 1,000 at a time", "Python, and the script"),
    ("leased take", 1, "a take from a quota lease", _NOTHING),
    ("refusal", 1, "a refusal that the process remembers", _NOTHING),
    ("verify", 1, "a verify of a session alone", _TRIP),
    ("verify", 50, "verifies, 50 at a time", "Python, and the script"),
    ("cache get", 1, "a hit of the cache alone", _TRIP),
    ("cache get", 50, "hits of the cache, 50 at a time", _PYTHON),
    ("get_or_load, hit", 50, "hits by `get_or_load`, 50 at a time", _PYTHON),
)
_FRAMEWORK, _CLIENTS = "Starlette", 10_000


def table() -> str:
    """Return the table that the page has to show: the rows of those results that are there."""
    found = {name: path for name in _ROWS if (path := _RESULTS / f"{name}.json").exists()}
    rows = (row for name, path in found.items() for row in _ROWS[name](json.loads(path.read_text())["figures"]))
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def write(page: str) -> str:
    """Return the page with the table of the present results."""
    before, _, rest = page.partition(_HEAD)
    return before + table() + rest[rest.index("\n\n") + 1 :]


def _library(figures: Any) -> Iterator[tuple[str, ...]]:
    found = {(one["library"], one["concurrency"]): one for one in figures["figures"]}
    for name, concurrency, path, bound in _PATHS:
        if (name, concurrency) in found:
            one = found[name, concurrency]
            yield path, _us(one["client_us"]), _us(one["server_us"]), _us(one["p50_us"]), bound, "`bench.paths`"


def _http(figures: Any) -> Iterator[tuple[str, ...]]:
    ours = next(one for one in figures["figures"] if one["server"] == "Tollhouse")
    path = f"takes over HTTP, {ours['connections']} at a time"
    yield path, _us(ours["cpu_us"]), _us(ours["store_us"]), _us(ours["p50_us"]), "Python", "`bench.servers`"


def _middleware(figures: Any) -> Iterator[tuple[str, ...]]:
    found = {one["app"]: one for one in figures["figures"] if one["clients"] == _CLIENTS}
    bare, limited = found[_FRAMEWORK], found[f"{_FRAMEWORK} + Tollhouse"]
    added_us = median(cpu - its for cpu, its in zip(limited["cpus_us"], bare["cpus_us"], strict=True))
    path = f"middleware around {_FRAMEWORK}, {bare['connections']} requests at a time"
    yield path, f"{_us(added_us)} more", "", _us(limited["p50_us"]), "Python", "`bench.middleware`"


def _us(value: float) -> str:
    """Return microseconds, with one decimal if they are few, or milliseconds."""
    if value >= 1000:
        return f"{value / 1000:.1f} ms"
    return f"{value:.1f} µs" if value < 10 else f"{value:.0f} µs"


_ROWS = {"paths": _library, "servers": _http, "middleware": _middleware}


if __name__ == "__main__":
    PAGE.write_text(write(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
