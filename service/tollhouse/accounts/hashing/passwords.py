"""Password hashing and verification: Argon2id with a pepper, in a bounded thread pool.

The hash is of an HMAC of the password under a key derived from the deployment's secret, so a stolen store alone does
not allow guessing. The key's id is stored with the hash, so hashes under older secrets still verify.

After a change of the profile some accounts have hashes of another cost than the rest. A wrong password then costs one
hash of each profile for every name, in whatever order, so that its time tells neither whether there is an account nor
how old its hash is. Processes learn of each other's profiles by `costs`; without, by the hashes that they verify
themselves. A right one costs its own hash alone: who has the password need not be told less.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar, TypeVarTuple

from msgspec import Struct

from tollhouse.accounts.hashing import argon2id as hashing
from tollhouse.accounts.hashing.argon2id import PROFILES, Profile
from tollhouse.accounts.hashing.costs import COSTS_MAX, HashCosts
from tollhouse.accounts.hashing.pool import HashPool
from tollhouse.keyring import Keyring
from tollhouse.metrics import Metrics

_PEPPER_LABEL: Final = "password-pepper"

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


class Passwords:
    """Hashes and verifies passwords, given as `password_bytes`; needs a keyring with a secret.

    Both methods raise Overloaded when too many hashes are queued; then nothing was computed. They call `on_begin` in
    the thread when the hash begins. A caller who is `trusted` has the other lane of the pool. A stored hash that takes
    more memory than the budget of the pool is not verified.
    """

    def __init__(
        self,
        keyring: Keyring,
        metrics: Metrics,
        *,
        profile: Profile = PROFILES["default"],
        pool: HashPool | None = None,
        costs: HashCosts | None = None,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        keyring.require_secret("passwords are hashed under it")
        self._keyring = keyring
        self._metrics = metrics
        self._profile = profile
        self._pool = default_pool(profile, metrics) if pool is None else pool
        self._random_bytes = random_bytes
        self._newest = keyring.key_ids()[0]
        self._dummies = {profile: self._dummy(profile)}
        self._costs = costs
        self._verified = {profile}

    def require_place(self, *, trusted: bool = False) -> None:
        """Raise Overloaded if too many hashes are queued for another one."""
        self._pool.require_place(trusted=trusted)

    def expect(self, profiles: Iterable[Profile]) -> None:
        """Make a wrong password cost a hash of these profiles as well, of `COSTS_MAX` altogether."""
        for profile in profiles:
            affordable = profile.memory_kib <= self._pool.memory_kib and len(self._dummies) < COSTS_MAX
            if affordable and profile not in self._dummies:
                self._dummies[profile] = self._dummy(profile)

    async def hash(
        self, password: bytes, on_begin: Callable[[], None] = _ignore, *, trusted: bool = False
    ) -> StoredHash:
        """Return the hash of a new password: the current parameters, the newest secret."""
        await self._learn_costs()
        salt = self._random_bytes(hashing.SALT_BYTES)
        peppered = self._peppered(password, self._newest)
        arguments = (self._argon2id, peppered, salt, on_begin)
        phc = await self._pool.run(*arguments, trusted=trusted, memory_kib=self._profile.memory_kib)
        return StoredHash(phc=phc, key_id=self._newest)

    async def verify(
        self,
        password: bytes,
        stored: StoredHash | None,
        on_begin: Callable[[], None] = _ignore,
        on_match: Callable[[], None] = _ignore,
        *,
        trusted: bool = False,
    ) -> PasswordMatch | None:
        """Return a match, or None for a wrong password; without a usable hash, do the same work and return None.

        `on_match` is called in the thread if the password is right, also if the caller was cancelled meanwhile.
        """
        await self._learn_costs()
        profile = None if stored is None else self._usable_profile(stored)
        if stored is None or profile is None:
            stored, profile = StoredHash(phc=self._dummies[self._profile], key_id=self._newest), self._profile
        peppered, dummies = self._peppered(password, stored.key_id), self._dummies_beside(profile)
        hashes = ((profile, stored.phc), *dummies)
        memory_kib = max(one.memory_kib for one, _ in hashes)
        arguments = (self._matches, hashes, peppered, on_begin, on_match)
        if not await self._pool.run(*arguments, trusted=trusted, memory_kib=memory_kib):
            return None
        return PasswordMatch(needs_rehash=stored.key_id != self._newest or profile != self._profile)

    def close(self) -> None:
        """Drop the hashes that are queued."""
        self._pool.close()

    async def _learn_costs(self) -> None:
        """Exchange the costs of hashes with other processes, if that is due."""
        verified = frozenset(self._verified)
        noted = None if self._costs is None else await self._costs.exchange(verified)
        if noted is not None:
            self._verified -= verified - {self._profile}
            self.expect(noted)

    def _usable_profile(self, stored: StoredHash) -> Profile | None:
        """Return the cost of a stored hash; count it and return None if this process cannot or will not verify it."""
        profile = hashing.profile_of(stored.phc)
        usable = profile is not None and profile.memory_kib <= self._pool.memory_kib
        if usable and stored.key_id in self._keyring.key_ids():
            return profile
        self._metrics.discarded_state("password-hash")
        return None

    def _dummies_beside(self, profile: Profile) -> Sequence[tuple[Profile, str]]:
        """Return a hash of every profile that stored hashes are known to have, except this one.

        A wrong password is compared with them too, so that it takes as long for every account, whatever its profile,
        and for names without one.
        """
        self.expect((profile,))
        self._verified.add(profile)
        own = profile if profile in self._dummies else self._profile
        return [(other, phc) for other, phc in self._dummies.items() if other != own]

    def _dummy(self, profile: Profile) -> str:
        salt, tag = self._random_bytes(hashing.SALT_BYTES), self._random_bytes(hashing.TAG_BYTES)
        return hashing.dummy_hash(profile, salt, tag)

    def _peppered(self, password: bytes, key_id: str) -> bytes:
        key = self._keyring.key(_PEPPER_LABEL, key_id)
        assert key is not None, "a key id is checked before its pepper is derived"
        return base64.b64encode(hmac.digest(key, password, "sha256"))

    def _argon2id(self, peppered: bytes, salt: bytes, on_begin: Callable[[], None]) -> str:
        on_begin()
        return self._timed(hashing.argon2id, peppered, salt, self._profile)

    def _matches(
        self,
        hashes: Sequence[tuple[Profile, str]],
        peppered: bytes,
        on_begin: Callable[[], None],
        on_match: Callable[[], None],
    ) -> bool:
        """Return True if the password has the first hash; if it has not, compare it with the others in vain."""
        on_begin()
        (_, phc), *dummies = hashes
        if self._timed(hashing.matches, phc, peppered):
            on_match()
            return True
        for _, dummy in dummies:
            self._timed(hashing.matches, dummy, peppered)
        return False

    def _timed(self, function: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        began_s = time.perf_counter()
        result = function(*arguments)
        self._metrics.password_hash(time.perf_counter() - began_s)
        return result


def default_pool(profile: Profile, metrics: Metrics) -> HashPool:
    """Return a pool for hashes of a profile within `POOL_MEMORY_KIB`, or for one at a time that takes more."""
    memory_kib = max(hashing.POOL_MEMORY_KIB, profile.memory_kib)
    return HashPool(hashing.parallel_hashes(profile.memory_kib, memory_kib), memory_kib, metrics)
