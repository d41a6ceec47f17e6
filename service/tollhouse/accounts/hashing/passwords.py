"""Password hashing and verification: Argon2id with a pepper, in a bounded thread pool.

The hash is of an HMAC of the password under a key derived from the deployment's secret, so a stolen store alone does
not allow guessing. The key's id is stored with the hash, so hashes under older secrets still verify.

After a change of the profile some accounts have hashes of another cost than the rest. A wrong password then costs one
hash of each profile for every name, in whatever order, so that its time tells neither whether there is an account nor
how old its hash is. A right one costs its own hash alone: who has the password need not be told less.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeVar, TypeVarTuple

from msgspec import Struct

from tollhouse.accounts.hashing import argon2id
from tollhouse.accounts.hashing.argon2id import MEMORY_KIB_MAX, POOL_MEMORY_KIB, PROFILES, Profile
from tollhouse.accounts.hashing.memory_budget import MemoryBudget
from tollhouse.keyring import Keyring
from tollhouse.metrics import Metrics
from tollhouse.worker_pool import WorkerPool

_PEPPER_LABEL: Final = "password-pepper"
_QUEUED_PER_THREAD: Final = 8
_WAIT_MS: Final = 2_000

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


def _ignore() -> None:
    """Do nothing: the caller needs no word of how far it is."""


class StoredHash(Struct, frozen=True, kw_only=True):
    """The stored hash of a password: a PHC string, and the id of the secret that its pepper was derived from."""

    phc: str
    key_id: str


class PasswordMatch(Struct, frozen=True, kw_only=True):
    """The password is right; `needs_rehash` if its hash has other parameters than new ones or an older secret."""

    needs_rehash: bool


def hash_pool(profile: Profile) -> WorkerPool:
    """Return a pool whose threads run as many hashes of the profile as the machine can take at once.

    Eight calls may wait for each thread, none of them for more than two seconds. A caller that is cancelled waits for
    a hash that has begun, so that its outcome counts.
    """
    threads = argon2id.parallel_hashes(profile.memory_kib)
    queued = _QUEUED_PER_THREAD * threads
    return WorkerPool("password hashing", threads, queued=queued, wait_ms=_WAIT_MS, finish=True)


class Passwords:
    """Hashes and verifies passwords, given as `password_bytes`; needs a keyring with a secret.

    Both methods raise Overloaded when too many hashes are queued; then nothing was computed. They call `on_begin` in
    the thread when the hash begins. `memory_kib_max` bounds the memory that verifying a stored hash may take; hashes of
    the profile in use are always within it.
    """

    def __init__(
        self,
        keyring: Keyring,
        metrics: Metrics,
        *,
        profile: Profile = PROFILES["default"],
        pool: WorkerPool | None = None,
        memory_kib_max: int = MEMORY_KIB_MAX,
        named: Collection[Profile] = tuple(PROFILES.values()),
        memory: MemoryBudget | None = None,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        keyring.require_secret("passwords are hashed under it")
        self._keyring = keyring
        self._metrics = metrics
        self._profile = profile
        self._pool = hash_pool(profile) if pool is None else pool
        self._memory = MemoryBudget(POOL_MEMORY_KIB) if memory is None else memory
        self._memory_kib_max = max(memory_kib_max, profile.memory_kib)
        self._random_bytes = random_bytes
        self._newest = keyring.key_ids()[0]
        self._named = frozenset(named)
        self._dummies = {profile: self._dummy(profile)}

    def require_place(self) -> None:
        """Raise Overloaded if too many hashes are queued for another one."""
        self._pool.require_place()

    async def hash(self, password: bytes, on_begin: Callable[[], None] = _ignore) -> StoredHash:
        """Return the hash of a new password: the current parameters, the newest secret."""
        salt = self._random_bytes(argon2id.SALT_BYTES)
        peppered = self._peppered(password, self._newest)
        phc = await self._pool.run(self._argon2id, peppered, salt, on_begin)
        return StoredHash(phc=phc, key_id=self._newest)

    async def verify(
        self,
        password: bytes,
        stored: StoredHash | None,
        on_begin: Callable[[], None] = _ignore,
        on_match: Callable[[], None] = _ignore,
    ) -> PasswordMatch | None:
        """Return a match, or None for a wrong password; without a usable hash, do the same work and return None.

        `on_match` is called in the thread if the password is right, also if the caller was cancelled meanwhile.
        """
        profile = None if stored is None else self._usable_profile(stored)
        if stored is None or profile is None:
            stored, profile = StoredHash(phc=self._dummies[self._profile], key_id=self._newest), self._profile
        peppered, dummies = self._peppered(password, stored.key_id), self._dummies_beside(profile)
        hashes = ((profile, stored.phc), *dummies)
        if not await self._pool.run(self._matches, hashes, peppered, on_begin, on_match):
            return None
        return PasswordMatch(needs_rehash=stored.key_id != self._newest or profile != self._profile)

    def close(self) -> None:
        """Drop the hashes that are queued."""
        self._pool.close()

    def _usable_profile(self, stored: StoredHash) -> Profile | None:
        """Return the cost of a stored hash; count it and return None if this process cannot or will not verify it."""
        profile = argon2id.profile_of(stored.phc)
        usable = profile is not None and profile.memory_kib <= self._memory_kib_max
        if usable and stored.key_id in self._keyring.key_ids():
            return profile
        self._metrics.discarded_state("password-hash")
        return None

    def _dummies_beside(self, profile: Profile) -> Sequence[tuple[Profile, str]]:
        """Return a hash of every profile that stored hashes were seen to have, except this one.

        A wrong password is compared with them too, so that it takes as long for every account, whatever its profile,
        and for names without one. Only named profiles count: hashes of other parameters could be made to pile up.
        """
        if profile in self._named and profile not in self._dummies:
            self._dummies[profile] = self._dummy(profile)
        own = profile if profile in self._dummies else self._profile
        return [(other, phc) for other, phc in self._dummies.items() if other != own]

    def _dummy(self, profile: Profile) -> str:
        salt, tag = self._random_bytes(argon2id.SALT_BYTES), self._random_bytes(argon2id.TAG_BYTES)
        return argon2id.dummy_hash(profile, salt, tag)

    def _peppered(self, password: bytes, key_id: str) -> bytes:
        key = self._keyring.key(_PEPPER_LABEL, key_id)
        assert key is not None, "a key id is checked before its pepper is derived"
        return base64.b64encode(hmac.digest(key, password, "sha256"))

    def _argon2id(self, peppered: bytes, salt: bytes, on_begin: Callable[[], None]) -> str:
        on_begin()
        return self._timed(self._profile, argon2id.argon2id, peppered, salt, self._profile)

    def _matches(
        self,
        hashes: Sequence[tuple[Profile, str]],
        peppered: bytes,
        on_begin: Callable[[], None],
        on_match: Callable[[], None],
    ) -> bool:
        """Return True if the password has the first hash; if it has not, compare it with the others in vain."""
        on_begin()
        (profile, phc), *dummies = hashes
        if self._timed(profile, argon2id.matches, phc, peppered):
            on_match()
            return True
        for profile, dummy in dummies:
            self._timed(profile, argon2id.matches, dummy, peppered)
        return False

    def _timed(self, profile: Profile, function: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        with self._memory.hold(profile.memory_kib):
            began_s = time.perf_counter()
            result = function(*arguments)
            self._metrics.password_hash(time.perf_counter() - began_s)
        return result
