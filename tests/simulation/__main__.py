"""Runs many schedules: `python -m tests.simulation --seeds 0:2000 --workers 2`; one of them: `--seeds 17 --trace`."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.run import Report, simulate
from tests.simulation.schedules import Schedule, schedule
from tests.simulation.shrink import shrink

PART = 20
"""Seeds that a worker runs at a time."""


def main(arguments: list[str]) -> int:
    """Run the schedules of a range of seeds; return 1 if one of them breaks a rule."""
    options = _options(arguments)
    logging.getLogger("tollhouse").addHandler(logging.NullHandler())
    first, _, end = options.seeds.partition(":")
    seeds = range(int(first), int(end) if end else int(first) + 1)
    began_s = time.monotonic()
    reports = list(_reports(seeds, options.workers))
    if options.digests:
        print("\n".join(f"{report.seed} {report.digest}" for report in reports))
    _summarise(reports, seeds, time.monotonic() - began_s)
    broken = [report for report in reports if report.violations]
    for report in broken[: options.shown]:
        _tell(report.seed)
    if options.trace:
        for seed in seeds:
            print("\n".join(simulate(schedule(seed)).lines))
    return 1 if broken else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="0:200", help="one seed, or FIRST:END without END")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--shown", type=int, default=3, help="how many violations are shrunk and shown")
    parser.add_argument("--digests", action="store_true", help="print the digest of every seed")
    parser.add_argument("--trace", action="store_true", help="print the trace of every seed")
    return parser.parse_args(arguments)


def _reports(seeds: range, workers: int) -> Iterator[Report]:
    parts = [seeds[start : start + PART] for start in range(0, len(seeds), PART)]
    if workers < 2 or len(parts) < 2:
        for part in parts:
            yield from _run(part)
        return
    with ProcessPoolExecutor(workers) as pool:
        for reports in pool.map(_run, parts):
            yield from reports


def _run(seeds: range) -> list[Report]:
    """Return the reports of some seeds, without their lines."""
    reports = [_without_lines(simulate(schedule(seed))) for seed in seeds]
    gc.collect()  # the runs are over, so when this happens changes nothing
    return reports


def _without_lines(report: Report) -> Report:
    return Report(**{name: getattr(report, name) for name in report.__struct_fields__} | {"lines": ()})


def _summarise(reports: list[Report], seeds: range, took_s: float) -> None:
    broken = Counter(one.rule for report in reports for one in report.violations)
    excused = Counter(one.rule for report in reports for one in report.excused)
    calls, durable, changes = (
        sum(getattr(report, name) for report in reports) for name in ("calls", "durable", "changes")
    )
    print(f"{len(reports)} schedules, seeds {seeds.start} to {seeds.stop - 1}, in {took_s:.1f} s")
    print(f"{calls} calls, {durable} of them answered durable; {changes} changes of primary")
    print(f"violations: {dict(broken) or 'none'}; outside the fault model, apart: {dict(excused) or 'none'}")
    for report in reports:
        for one in report.violations:
            print(f"  seed {report.seed}: {one.rule}: {one.text}")


def _tell(seed: int) -> None:
    """Print the shrunk schedule of a violation, and its trace."""
    whole = schedule(seed)
    rule = simulate(whole).violations[0].rule
    small: Schedule = shrink(whole, rule, simulate)
    print(f"\nseed {seed}, {rule}: shrunk to {len(small.faults)} faults and {len(small.calls)} calls")
    print("\n".join(simulate(small).lines))
    for one in simulate(small).violations:
        print(f"  {one.rule}: {one.text}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
