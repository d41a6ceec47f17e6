"""Schedules stay inside the fault model, and those that do not say so."""

from __future__ import annotations

from itertools import pairwise

from tests.simulation.schedules import Fault, Schedule, excused, schedule

SEEDS = range(400)
OUTAGES = frozenset({"kill", "kill-empty", "hang", "isolate", "isolate-with-client", "failover"})
CATCH_UP_MS = 4_000


def _outages(whole: Schedule) -> list[Fault]:
    return [fault for fault in whole.faults if fault.kind in OUTAGES]


def test_a_seed_is_one_schedule() -> None:
    """The same seed gives the same schedule, and every seed another one."""
    assert [schedule(seed) for seed in SEEDS] == [schedule(seed) for seed in SEEDS]
    assert len({schedule(seed).calls for seed in SEEDS}) == len(SEEDS)


def test_even_seeds_change_the_primary_while_sessions_are_created() -> None:
    """Their first outage is one of the primary, and creations follow each other around it."""
    for seed in SEEDS[::2]:
        whole = schedule(seed)
        first = _outages(whole)[0]
        near = [call for call in whole.calls if abs(call.at_ms - first.at_ms) < 2_500 and call.verb == "create"]

        assert first.for_ms >= 1_000
        assert near


def test_one_server_at_a_time_is_out_of_service() -> None:
    """Between two outages a server catches up; what loses every copy of a write has its excuse."""
    for seed in SEEDS:
        whole = schedule(seed)
        if whole.excuse:
            continue
        for before, after in pairwise(_outages(whole)):
            assert before.at_ms + before.for_ms + CATCH_UP_MS <= after.at_ms
        assert sum(fault.kind == "kill-empty" for fault in whole.faults) <= 1
        assert all(fault.for_ms >= 5_000 for fault in whole.faults if fault.kind == "kill-empty")


def test_schedules_outside_the_fault_model_are_few_and_named() -> None:
    """One seed in twenty loses what no client can keep, in each of the ways that there are."""
    excuses = [whole.excuse for whole in map(schedule, SEEDS) if whole.excuse]

    assert len(excuses) == sum(map(excused, SEEDS))
    assert len(SEEDS) // 25 < len(excuses) <= len(SEEDS) // 20
    assert len(set(excuses)) == 2
