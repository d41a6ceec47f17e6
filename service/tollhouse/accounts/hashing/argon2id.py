"""Argon2id: named parameter profiles, hashing and verification.

A stored hash is a PHC string with its own parameters. They are bounded before anything is computed, because an
attacker who can write to the store could put huge ones there.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from argon2.exceptions import VerifyMismatchError
from argon2.low_level import Type, hash_secret, verify_secret
from msgspec import Struct

from tollhouse.errors import ConfigurationError
from tollhouse.runtime.machine import processors
from tollhouse.settings.passwords import PasswordProfile

SALT_BYTES: Final = 16
TAG_BYTES: Final = 32
TIME_COST_MAX: Final = 10
"""The most passes over the memory of one hash."""

POOL_MEMORY_KIB: Final = 262_144
"""How much memory the hashes that run at the same time in one process may take together."""

_VERSION: Final = 19
_PARALLELISM_MAX: Final = 8
_MEMORY_KIB_PER_LANE: Final = 8
_PHC: Final = re.compile(
    rf"\$argon2id\$v={_VERSION}\$m=(\d{{1,8}}),t=(\d{{1,2}}),p=(\d)\$([^$]{{11,64}})\$([^$]{{22,86}})"
)


class Profile(Struct, frozen=True, kw_only=True):
    """The cost of one hash."""

    memory_kib: int
    time_cost: int
    parallelism: int = 1

    def __post_init__(self) -> None:
        least_kib = _MEMORY_KIB_PER_LANE * self.parallelism
        if not 1 <= self.time_cost <= TIME_COST_MAX:
            raise ConfigurationError("time_cost", self.time_cost, f"use 1 to {TIME_COST_MAX}")
        if not 1 <= self.parallelism <= _PARALLELISM_MAX:
            raise ConfigurationError("parallelism", self.parallelism, f"use 1 to {_PARALLELISM_MAX}")
        if self.memory_kib < least_kib:
            raise ConfigurationError("memory_kib", self.memory_kib, f"use at least {least_kib}")


PROFILES: Final[Mapping[PasswordProfile, Profile]] = MappingProxyType(
    {
        "default": Profile(memory_kib=65_536, time_cost=3),
        "owasp": Profile(memory_kib=19_456, time_cost=2),
        "rfc9106-low": Profile(memory_kib=65_536, time_cost=3, parallelism=4),
        "rfc9106-high": Profile(memory_kib=2_097_152, time_cost=1, parallelism=4),
    }
)
"""`owasp` is for small machines; the others are those of RFC 9106, and `default` its low one with one thread a hash."""


def parallel_hashes(work_kib: int, memory_kib: int = POOL_MEMORY_KIB, cpus: int | None = None) -> int:
    """Return how many hashes of `work_kib` may run at once: one per processor and within the memory, at least one."""
    return max(1, min(processors() if cpus is None else cpus, memory_kib // work_kib))


def argon2id(secret: bytes, salt: bytes, profile: Profile) -> str:
    """Return the hash of a secret as a PHC string; other threads run meanwhile."""
    return hash_secret(
        secret,
        salt,
        time_cost=profile.time_cost,
        memory_cost=profile.memory_kib,
        parallelism=profile.parallelism,
        hash_len=TAG_BYTES,
        type=Type.ID,
        version=_VERSION,
    ).decode()


def matches(phc: str, secret: bytes) -> bool:
    """Return True if the secret has this hash, at the cost that the hash names; `profile_of` must have accepted it."""
    try:
        return verify_secret(phc.encode(), secret, Type.ID)
    except VerifyMismatchError:
        return False


def profile_of(phc: str) -> Profile | None:
    """Return the cost of a stored hash; None if it is no Argon2id hash within the bounds of this process."""
    match = _PHC.fullmatch(phc)
    if match is None or not all(_is_base64(part) for part in match.groups()[3:]):
        return None
    memory_kib, time_cost, parallelism = (int(number) for number in match.groups()[:3])
    try:
        return Profile(memory_kib=memory_kib, time_cost=time_cost, parallelism=parallelism)
    except ConfigurationError:
        return None


def dummy_hash(profile: Profile, salt: bytes, tag: bytes) -> str:
    """Return a hash that no password matches if `tag` is random, and that costs as much to verify as any other."""
    cost = f"m={profile.memory_kib},t={profile.time_cost},p={profile.parallelism}"
    return f"$argon2id$v={_VERSION}${cost}${_base64(salt)}${_base64(tag)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).rstrip(b"=").decode()


def _is_base64(text: str) -> bool:
    """Return True if the text is unpadded base64 in its canonical spelling."""
    try:
        return _base64(base64.b64decode(text + "=" * (-len(text) % 4), validate=True)) == text
    except (binascii.Error, ValueError):
        return False
