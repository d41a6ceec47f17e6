"""Two checkouts beside each other: the same benchmark in turn, so that a change of speed shows above the noise.

    python -m bench.checkouts OLD NEW --rounds 5

Each checkout has a `.venv` with the extra `bench`. Every round runs each benchmark once in each checkout, by its own
code, and takes its figures from its `bench/results`. A figure has slowed down when the new median is below the lowest
old round.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

BENCHMARKS = {"lanes": "lanes", "limits": "limits", "middleware": "middleware", "takes_over_http": "takes-over-http"}
"""By module, the name of its result."""

RUN = """
import sys
from contextlib import asynccontextmanager
from importlib import import_module

module = import_module(f"bench.{sys.argv.pop(1)}")
if every := getattr(module, "peers", None):

    @asynccontextmanager
    async def one(*args):
        async with every(*args) as peers:
            yield peers[:1]

    module.peers = one
module.main()
"""
"""Runs a benchmark, of the peers of `bench.limits` only one: their figures are not compared here, and cost the time."""

Rates = dict[str, list[float]]


def compared(old: Path, new: Path, names: list[str], rounds: int, seconds: float) -> tuple[Rates, Rates]:
    """Return the rates of both checkouts, by figure, one for each round."""
    rates: dict[Path, Rates] = {old: defaultdict(list), new: defaultdict(list)}
    for number in range(1, rounds + 1):
        for name in names:
            for checkout in (old, new) if number % 2 else (new, old):
                print(f"Round {number} of {rounds}: {name} in {checkout} …", file=sys.stderr, flush=True)
                for figure, rate in _measured(checkout, name, seconds):
                    rates[checkout][figure].append(rate)
    return rates[old], rates[new]


def table(old: Rates, new: Rates) -> str:
    """Return a row for each figure that both have: the old lowest and median, the new median, and their ratio."""
    rows = [
        "| figure | old lowest | old median | new median | new/old | |",
        "|---|---:|---:|---:|---:|---|",
        *(
            f"| {figure} | {min(before):,.0f} | {median(before):,.0f} | {median(after):,.0f}"
            f" | {median(after) / median(before):.2f} | {'SLOWER' if median(after) < min(before) else ''} |"
            for figure, before in old.items()
            if (after := new.get(figure))
        ),
    ]
    return "\n".join(rows)


def _measured(checkout: Path, name: str, seconds: float) -> Iterator[tuple[str, float]]:
    subprocess.run(
        [".venv/bin/python", "-c", RUN, name, "--rounds", "1", "--seconds", str(seconds)],
        cwd=checkout,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    result = json.loads((checkout / "bench" / "results" / f"{BENCHMARKS[name]}.json").read_text(encoding="utf-8"))
    return _rates(name, result["figures"])


def _rates(name: str, figures: Any) -> Iterator[tuple[str, float]]:
    """Yield the name and the rate a second of each figure that is ours."""
    if name == "takes_over_http":
        yield from ((f"HTTP, {one['application']}", one["requests_per_s"]["median"]) for one in figures)
        return
    if name == "lanes":
        for one in figures:
            if one["client"] == "store":
                yield f"store, `{one['workload']}`, {one['concurrency']} at a time", one["calls_per_s"]
        return
    for one in figures["figures"]:
        where = f"{one['clients']} clients" if name == "middleware" else f"{one['concurrency']} at a time"
        # Older checkouts call the variant of a limiter its algorithm.
        what = one["app"] if name == "middleware" else f"{one['library']}, {one.get('variant') or one['algorithm']}"
        if "Tollhouse" in what:
            yield f"{what}, {where}", median(one["rates"])
    if name == "limits":
        yield "refusals of hot keys", figures["refused"]["per_s"]["median"]


def main() -> None:
    """Run the benchmarks and print the table."""
    parser = argparse.ArgumentParser(description="The same benchmarks in two checkouts, in turn.")
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--only", choices=BENCHMARKS, action="append")
    args = parser.parse_args()
    print(table(*compared(args.old, args.new, args.only or list(BENCHMARKS), args.rounds, args.seconds)))


if __name__ == "__main__":
    main()
