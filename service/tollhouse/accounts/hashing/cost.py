"""What hashing may cost by the settings: the parameters of a hash, how many run at once, and the memory of all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from tollhouse.accounts.hashing.argon2id import PROFILES, Profile, parallel_hashes
from tollhouse.errors import ConfigurationError
from tollhouse.runtime.machine import processors
from tollhouse.settings import Settings
from tollhouse.settings.accounts import Argon2Settings

KIB_PER_MIB: Final = 1_024
FLOOR_KIB: Final = {1: 47_104, 2: 19_456, 3: 12_288}
"""The least memory by the number of passes; the last row also for more passes (OWASP ASVS 5.0, Appendix C)."""


class HashingCost(Struct, frozen=True, kw_only=True):
    """The parameters of new hashes, the memory of those that run at once, and how many these are."""

    name: str
    profile: Profile
    memory_kib: int
    permits: int


def hashing_cost(settings: Settings, cpus: int | None = None) -> HashingCost:
    """Return what the settings ask for, on a machine of so many processors; by default, on this one.

    Raises ConfigurationError for parameters below the floor, and for a hash that takes more than the budget.
    """
    name, chosen = settings.password_profile, settings.accounts.argon2
    if name == "own":
        profile = Profile(memory_kib=chosen.memory_kib, time_cost=chosen.time_cost, parallelism=chosen.parallelism)
        _require_floor(profile)
    else:
        profile = PROFILES[name]
        _require_unused(chosen, name)
    memory_kib = settings.accounts.hash_memory_mib * KIB_PER_MIB
    if profile.memory_kib > memory_kib:
        needed_mib = -(-profile.memory_kib // KIB_PER_MIB)
        remedy = f"a hash of password_profile {name!r} takes {needed_mib} MiB; use {needed_mib} or more, or a profile "
        raise ConfigurationError("accounts.hash_memory_mib", settings.accounts.hash_memory_mib, remedy + "of less")
    permits = parallel_hashes(profile.memory_kib, memory_kib, processors() if cpus is None else cpus)
    return HashingCost(name=name, profile=profile, memory_kib=memory_kib, permits=permits)


def floor_kib(time_cost: int) -> int:
    """Return the least memory of a hash of so many passes."""
    return FLOOR_KIB[min(time_cost, max(FLOOR_KIB))]


def warnings(cost: HashingCost, *, workers: int, cpus: int, machine_bytes: int | None) -> Iterator[str]:
    """Return what does not fit the machine; None if its memory is not known."""
    needed_mib = workers * cost.memory_kib // KIB_PER_MIB
    if machine_bytes is not None and needed_mib * KIB_PER_MIB**2 > machine_bytes // 2:
        each = f"{workers} workers with accounts.hash_memory_mib = {cost.memory_kib // KIB_PER_MIB}"
        has = f"this machine has {machine_bytes // KIB_PER_MIB**2} MiB"
        yield f"password hashes may take {needed_mib} MiB ({each}), and {has}; use less, or fewer workers"
    if cost.permits == 1 and cpus > 1:
        yield (
            f"one password is hashed at a time, though there are {cpus} processors: accounts.hash_memory_mib has room "
            f"for one hash of password_profile {cost.name!r} only"
        )
    if cost.profile.parallelism > cpus:
        yield (
            f"password_profile {cost.name!r} wants {cost.profile.parallelism} threads for a hash, and there are {cpus} "
            "processors: its hashes take longer than its parameters say; see `tollhouse accounts calibrate`"
        )


def _require_unused(chosen: Argon2Settings, name: str) -> None:
    if chosen != Argon2Settings():
        remedy = 'set it to "own" to use the parameters of accounts.argon2, or remove them'
        raise ConfigurationError("password_profile", name, remedy)


def _require_floor(profile: Profile) -> None:
    least_kib = floor_kib(profile.time_cost)
    if profile.memory_kib < least_kib:
        remedy = f"use {least_kib} or more with time_cost {profile.time_cost} (OWASP ASVS 5.0, Appendix C)"
        raise ConfigurationError("accounts.argon2.memory_kib", profile.memory_kib, remedy)
