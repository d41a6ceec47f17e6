"""`tollhouse accounts calibrate`: what hashing a password costs here, and which parameters take a given time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from rich.console import Console
from rich_click import RichCommand

from tollhouse.accounts.hashing.argon2id import Profile
from tollhouse.accounts.hashing.calibration import (
    MEMORY_MIB_MIN,
    Calibration,
    MeasuredProfile,
    calibration,
    measured,
    recommend,
)
from tollhouse.cli.query import CONFIG, JSON, print_line, print_result
from tollhouse.cli.service_file import load_for_running_service
from tollhouse.runtime.machine import processors


@click.command(cls=RichCommand)
@CONFIG
@click.option(
    "--target-ms",
    type=click.IntRange(10, 5_000),
    default=250,
    show_default=True,
    help="How long a hash may take, while no other runs.",
)
@click.option(
    "--memory-mib",
    type=click.IntRange(MEMORY_MIB_MIN, 1_048_576),
    help="Memory of the hashes that run at once in one process (default: the setting `accounts.hash_memory_mib`).",
)
@JSON
def calibrate(*, config: Path | None, target_ms: int, memory_mib: int | None, as_json: bool) -> None:
    """Measure what each profile costs here, and recommend settings: exit code 0, or 1 if none is fast enough.

    Run it on the machine of the service while it is quiet. It takes up to half a minute, and as much memory as the
    budget. Nothing is stored.
    """
    budget_mib = memory_mib or load_for_running_service(os.environ, config).accounts.hash_memory_mib
    console, cpus = Console(stderr=as_json), processors()
    print_line(console, f"{cpus} processors, {budget_mib} MiB for hashes, {target_ms} ms asked for; measuring")
    profiles: list[MeasuredProfile] = []
    for one in measured(budget_mib, cpus):
        profiles.append(one)
        print_line(console, _line(one))
    own = recommend(target_ms, budget_mib, cpus)
    recommended = _one(own, budget_mib, cpus)
    print_line(console, _line(recommended))
    result = calibration(target_ms, budget_mib, cpus, tuple(profiles), recommended)
    print_result(result, _show, as_json=as_json)
    sys.exit(0 if result.within_target else 1)


def _one(profile: Profile, memory_mib: int, cpus: int) -> MeasuredProfile:
    return next(measured(memory_mib, cpus, (("own", profile),)))


def _line(one: MeasuredProfile) -> str:
    costs = f"{one.name} (m={one.memory_kib}, t={one.time_cost}, p={one.parallelism})"
    if one.hash_ms is None:
        return f"{costs}: more than the budget"
    times = f"{one.hash_ms:.0f} ms alone, {one.busy_ms:.0f} ms with {one.permits} at once"
    return f"{costs}: {times}, {one.logins_per_s:.1f} logins a second"


def _show(result: Calibration) -> None:
    console = Console()
    if not result.within_target:
        sentence = "no parameters within the floor of OWASP ASVS 5.0 are as fast as that; the cheapest of them:"
    else:
        sentence = "recommended:"
    print_line(console, f"\n{sentence}\n\n{result.settings()}".rstrip())
