"""What is measured of profiles, and which parameters are recommended: by a machine whose speed is known."""

from __future__ import annotations

import pytest

from tollhouse.accounts.hashing.argon2id import PROFILES, Profile
from tollhouse.accounts.hashing.calibration import (
    ROUNDS_MAX,
    calibration,
    hash_together,
    measured,
    recommend,
)
from tollhouse.accounts.hashing.cost import floor_kib

FAST = Profile(memory_kib=8, time_cost=1)


class Machine:
    """A machine on which a pass over a MiB takes so many milliseconds, and hashes at once slow each other down."""

    def __init__(self, ms_per_mib=0.5, busy=1.25):
        self.ms_per_mib, self.busy, self.measured = ms_per_mib, busy, []

    def measure(self, profile, hashes):
        self.measured.append((profile, hashes))
        alone_s = self.ms_per_mib * profile.memory_kib / 1_024 * profile.time_cost / 1_000
        return alone_s if hashes == 1 else self.busy * alone_s


def test_each_profile_is_measured_alone_and_with_others():
    """The figures are of one hash alone, of one among as many as may run, and the logins a second of them together."""
    machine = Machine()

    default, owasp, low, high = measured(256, 4, PROFILES.items(), machine.measure)

    assert (default.name, default.permits, default.hash_ms, default.busy_ms) == ("default", 4, 96.0, 120.0)
    assert default.logins_per_s == pytest.approx(4 / 0.120)
    assert (owasp.permits, owasp.hash_ms, owasp.logins_per_s) == (4, 19.0, pytest.approx(4 / 0.02375))
    assert low.parallelism == 4
    assert (high.permits, high.hash_ms, high.busy_ms, high.logins_per_s) == (1, None, None, None)
    assert PROFILES["rfc9106-high"] not in [profile for profile, _ in machine.measured]


def test_one_permit_is_not_measured_twice():
    """If one hash runs at a time, its time alone is its time."""
    machine = Machine()

    (one,) = measured(64, 4, [("default", PROFILES["default"])], machine.measure)

    assert one.hash_ms == one.busy_ms == 96.0
    assert {hashes for _, hashes in machine.measured} == {1}


def test_measuring_takes_a_bounded_time():
    """A fast hash is measured nine times, a slow one until a second and a half is over."""
    quick, slow = Machine(), Machine(ms_per_mib=40)

    next(measured(64, 1, [("owasp", PROFILES["owasp"])], quick.measure))
    next(measured(64, 1, [("owasp", PROFILES["owasp"])], slow.measure))

    assert len(quick.measured) == ROUNDS_MAX
    assert len(slow.measured) == 1


#    target_ms, memory_mib, cpus, ms a MiB, memory_kib, passes
RECOMMENDED = [
    (250, 256, 2, 0.5, 131_072, 3),
    (250, 256, 64, 0.5, 65_536, 7),  # 64 MiB at least, though not all processors can hash then
    (250, 4_096, 2, 0.5, 262_144, 1),
    (5_000, 64, 4, 0.1, 65_536, 10),
    (60, 256, 2, 0.5, 122_880, 1),  # no whole pass over all of it: less memory
    (22, 256, 2, 0.5, 22_528, 2),  # below 46 MiB, two passes
    (19, 256, 2, 0.5, 19_456, 2),
    (18.5, 256, 2, 0.5, 12_288, 3),  # below 19 MiB, three
    (1_000, 12, 2, 0.5, 12_288, 10),
    (10, 256, 2, 0.5, 12_288, 3),  # nothing is as fast as that
]


@pytest.mark.parametrize(("target_ms", "memory_mib", "cpus", "ms_per_mib", "memory_kib", "passes"), RECOMMENDED)
def test_memory_comes_first_then_passes(target_ms, memory_mib, cpus, ms_per_mib, memory_kib, passes):
    """What is recommended takes the target at most, as much memory as each processor has, and never less than ASVS."""
    profile = recommend(target_ms, memory_mib, cpus, Machine(ms_per_mib).measure)

    assert profile == Profile(memory_kib=memory_kib, time_cost=passes)
    assert profile.memory_kib >= floor_kib(profile.time_cost)


@pytest.mark.parametrize(("ms_per_mib", "within"), [(0.5, True), (2.0, False)])
def test_a_calibration_says_whether_the_target_was_met(ms_per_mib, within):
    """A fifth above the target is within it; its settings are lines of a file."""
    machine = Machine(ms_per_mib)
    own = recommend(20, 256, 1, machine.measure)
    (recommended,) = measured(256, 1, [("own", own)], machine.measure)

    whole = calibration(20, 256, 1, (), recommended)

    assert whole.within_target is within
    assert f"memory_kib = {own.memory_kib}\ntime_cost = {own.time_cost}\nparallelism = 1\n" in whole.settings()


def test_hashes_are_computed_in_threads_of_their_own():
    """The measurement of a real machine computes as many hashes as it is told to, and takes some time."""
    assert hash_together(FAST, 3) > 0
