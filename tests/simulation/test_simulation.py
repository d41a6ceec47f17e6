"""The stores under simulated failures: invariants hold, runs repeat exactly, and a violation is made small."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.run import Report, simulate
from tests.simulation.schedules import schedule
from tests.simulation.shrink import shrink

SEEDS = range(30)
"""`make simulate` runs 2,000 and more."""


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    return [simulate(schedule(seed)) for seed in SEEDS]


def test_no_schedule_breaks_an_invariant(reports: list[Report]) -> None:
    """No durable write is lost, no ended session accepted, no call late or answered for another, nothing left over."""
    broken = {report.seed: report.violations for report in reports if report.violations}

    assert broken == {}


def test_schedules_meet_what_they_are_for(reports: list[Report]) -> None:
    """The primary changes in about half of them, calls are answered durable, and every schedule has a fault."""
    assert all(schedule(seed).faults for seed in SEEDS)
    assert sum(report.changes > 0 for report in reports) >= len(reports) // 3
    assert sum(report.durable for report in reports) > sum(report.calls for report in reports) // 4


def test_a_run_is_the_same_in_every_process(reports: list[Report]) -> None:
    """Another process, with other hashes of text, delivers the same bytes at the same virtual times."""
    here = [f"{report.seed} {report.digest}" for report in reports[:4]]
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "0:4", "--workers", "1", "--digests"]
    runs = [
        subprocess.Popen(command, env={**os.environ, "PYTHONHASHSEED": hashes}, stdout=subprocess.PIPE, text=True)
        for hashes in ("1", "2")
    ]
    elsewhere = [run.communicate(timeout=60)[0].splitlines()[:4] for run in runs]

    assert elsewhere == [here, here]
    assert len({report.digest for report in reports}) == len(reports)


def test_a_violation_is_shrunk_to_what_it_takes() -> None:
    """A cluster outside the fault model loses durable writes; a few calls and one fault are left of its schedule."""
    lossy = (schedule(seed) for seed in range(19, 2_000, 20))
    found, whole = next((report.excused[0], whole) for whole in lossy if (report := simulate(whole)).excused)

    small = shrink(whole, found.rule, simulate, excused=True)

    assert Counter(one.rule for one in simulate(small).excused)[found.rule] >= 1
    assert len(small.faults) <= 2
    assert len(small.calls) <= 3
