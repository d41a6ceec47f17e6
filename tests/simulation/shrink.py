"""Shrinking: the fewest faults and calls of a schedule that still break the same rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from tests.simulation.findings import Rule
from tests.simulation.run import Report
from tests.simulation.schedules import Schedule

T = TypeVar("T")


def shrink(
    schedule: Schedule,
    rule: Rule,
    simulate: Callable[[Schedule], Report],
    *,
    runs_max: int = 300,
    excused: bool = False,
) -> Schedule:
    """Return a schedule as small as `runs_max` runs find that still breaks `rule`, or breaks it and is `excused`."""
    runs = 0

    def breaks(candidate: Schedule) -> bool:
        nonlocal runs
        runs += 1
        found = simulate(candidate)
        return runs <= runs_max and any(one.rule == rule for one in (found.excused if excused else found.violations))

    before = None
    while schedule != before and runs < runs_max:
        before = schedule
        calls = _fewest(
            schedule.calls,
            lambda kept: breaks(msgspec.structs.replace(before, calls=tuple(kept))),  # noqa: B023 - at once
        )
        schedule = msgspec.structs.replace(schedule, calls=tuple(calls))
        faults = _fewest(
            schedule.faults,
            lambda kept: breaks(msgspec.structs.replace(schedule, faults=tuple(kept))),  # noqa: B023 - at once
        )
        schedule = msgspec.structs.replace(schedule, faults=tuple(faults))
    return schedule


def _fewest(items: Sequence[T], breaks: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    """Leave out parts, first halves and at last single items, as long as what is left still breaks."""
    size = max(len(items) // 2, 1)
    while items:
        start, smaller = 0, False
        while start < len(items):
            kept = [*items[:start], *items[start + size :]]
            if breaks(kept):
                items, smaller = kept, True
            else:
                start += size
        if size == 1 and not smaller:
            break
        size = max(size // 2, 1)
    return items
