"""Measures what profiles cost on this machine, and finds the parameters for a time that a hash may take.

Memory is what makes guessing expensive, so it comes first: what the budget has for each processor, or 64 MiB if that is
more. Then come as many passes as the time allows (RFC 9106, section 4). Nothing below the floor of ASVS is recommended.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import median
from typing import Final

from msgspec import Struct

from tollhouse.accounts.hashing.argon2id import (
    PROFILES,
    SALT_BYTES,
    TIME_COST_MAX,
    Profile,
    argon2id,
    parallel_hashes,
)
from tollhouse.accounts.hashing.cost import FLOOR_KIB, KIB_PER_MIB, floor_kib

MEASURE_S: Final = 1.5
"""How long a profile is measured, unless one round takes longer."""
ROUNDS_MAX: Final = 9
MEMORY_MIB_MIN: Final = FLOOR_KIB[max(FLOOR_KIB)] // KIB_PER_MIB
"""The least budget for which anything can be recommended."""

_USUAL_KIB: Final = 65_536
_HASH_KIB_MAX: Final = 262_144
_TOLERANCE: Final = 1.2

Measure = Callable[[Profile, int], float]
"""Returns how many seconds so many hashes of a profile take that begin together."""


class MeasuredProfile(Struct, frozen=True, kw_only=True):
    """What a profile costs here; figures are None if a hash does not fit the budget.

    `hash_ms` is the time of one hash alone, `busy_ms` that of one among `permits`, as many as may run at once.
    """

    name: str
    memory_kib: int
    time_cost: int
    parallelism: int
    permits: int
    hash_ms: float | None = None
    busy_ms: float | None = None
    logins_per_s: float | None = None


class Calibration(Struct, frozen=True, kw_only=True):
    """The profiles as measured, and the parameters that are recommended, measured as well.

    `within_target` is false if even the cheapest parameters of the floor take over a fifth longer than asked for.
    """

    target_ms: int
    memory_mib: int
    cpus: int
    profiles: tuple[MeasuredProfile, ...]
    recommended: MeasuredProfile
    within_target: bool

    def settings(self) -> str:
        """Return the recommendation as lines of a settings file."""
        chosen = self.recommended
        return (
            f'password_profile = "own"\n\n[accounts]\nhash_memory_mib = {self.memory_mib}\n\n[accounts.argon2]\n'
            f"memory_kib = {chosen.memory_kib}\ntime_cost = {chosen.time_cost}\nparallelism = {chosen.parallelism}\n"
        )


def hash_together(profile: Profile, hashes: int) -> float:
    """Hash in so many threads at once, and return the seconds until the last has ended."""
    salt = secrets.token_bytes(SALT_BYTES)
    threads = [threading.Thread(target=argon2id, args=(b"a password", salt, profile)) for _ in range(hashes)]
    began_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began_s


def measured(
    memory_mib: int,
    cpus: int,
    profiles: Iterable[tuple[str, Profile]] = tuple(PROFILES.items()),
    measure: Measure = hash_together,
) -> Iterator[MeasuredProfile]:
    """Yield what each profile costs, as soon as it is measured."""
    for name, profile in profiles:
        permits = parallel_hashes(profile.memory_kib, memory_mib * KIB_PER_MIB, cpus)
        figures: Mapping[str, float] = {}
        if profile.memory_kib <= memory_mib * KIB_PER_MIB:
            alone_s = _median_s(profile, 1, measure)
            busy_s = alone_s if permits == 1 else _median_s(profile, permits, measure)
            figures = {"hash_ms": 1_000 * alone_s, "busy_ms": 1_000 * busy_s, "logins_per_s": permits / busy_s}
        yield MeasuredProfile(
            name=name,
            memory_kib=profile.memory_kib,
            time_cost=profile.time_cost,
            parallelism=profile.parallelism,
            permits=permits,
            **figures,
        )


def recommend(target_ms: int, memory_mib: int, cpus: int, measure: Measure = hash_together) -> Profile:
    """Return the parameters of one thread a hash that take about the target, or those of the floor if it takes longer.

    A hash takes about as long as its memory times its passes. The budget is `MEMORY_MIB_MIN` or more.
    """
    memory_kib = memory_mib * KIB_PER_MIB
    largest_kib = min(max(memory_kib // cpus, _USUAL_KIB), memory_kib, _HASH_KIB_MAX)
    one_pass_s = _median_s(Profile(memory_kib=largest_kib, time_cost=1), 1, measure)
    affordable_kib = int(largest_kib * target_ms / 1_000 / one_pass_s)
    for time_cost in (min(affordable_kib // largest_kib, TIME_COST_MAX), *FLOOR_KIB):
        size_kib = min(largest_kib, affordable_kib // max(time_cost, 1)) // KIB_PER_MIB * KIB_PER_MIB
        if time_cost and size_kib >= floor_kib(time_cost):
            return Profile(memory_kib=size_kib, time_cost=time_cost)
    passes = max(FLOOR_KIB)
    return Profile(memory_kib=FLOOR_KIB[passes], time_cost=passes)


def calibration(
    target_ms: int,
    memory_mib: int,
    cpus: int,
    profiles: tuple[MeasuredProfile, ...],
    recommended: MeasuredProfile,
) -> Calibration:
    """Return the whole, and whether what is recommended takes as long as asked for."""
    assert recommended.hash_ms is not None, "what is recommended fits the budget"
    return Calibration(
        target_ms=target_ms,
        memory_mib=memory_mib,
        cpus=cpus,
        profiles=profiles,
        recommended=recommended,
        within_target=recommended.hash_ms <= _TOLERANCE * target_ms,
    )


def _median_s(profile: Profile, hashes: int, measure: Measure) -> float:
    taken_s: list[float] = []
    while len(taken_s) < ROUNDS_MAX and sum(taken_s) < MEASURE_S:
        taken_s.append(measure(profile, hashes))
    return median(taken_s)
