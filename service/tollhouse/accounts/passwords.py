"""Passwords: hashed and verified with Argon2id under a pepper, off the event loop and within bounds.

What is hashed is an HMAC of the password under a key derived from the deployment's secret, so a stolen
store alone is no ground for guessing. The key's id is kept beside the hash; hashes under older secrets
still verify, and `outdated` tells when to make a new one.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

from msgspec import Struct

from tollhouse.accounts import hashing
from tollhouse.accounts.hashing import MEMORY_KIB_MAX, PROFILES, Profile
from tollhouse.accounts.pool import Pool, permits_for
from tollhouse.accounts.rules import prepared
from tollhouse.errors import ConfigurationError
from tollhouse.keyring import Keyring
from tollhouse.metrics import Metrics

_PEPPER_LABEL: Final = "password-pepper"

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


class StoredHash(Struct, frozen=True, kw_only=True):
    """What an account keeps of its password: a PHC string, and the id of the secret whose pepper is in it."""

    phc: str
    key_id: str


class Passwords:
    """Hashes and verifies passwords; needs a keyring with a secret.

    Every call that computes may raise Overloaded. `memory_kib_max` bounds what a stored hash may cost;
    hashes of the profile in use are always affordable.
    """

    def __init__(
        self,
        keyring: Keyring,
        metrics: Metrics,
        *,
        profile: Profile = PROFILES["default"],
        pool: Pool | None = None,
        memory_kib_max: int = MEMORY_KIB_MAX,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        if not keyring.keyed:
            remedy = "set it to at least 32 random bytes; passwords are hashed under it"
            raise ConfigurationError("TOLLHOUSE_SECRET", None, remedy)
        self._keyring = keyring
        self._metrics = metrics
        self._profile = profile
        self._pool = Pool("password hashing", permits_for(profile.memory_kib)) if pool is None else pool
        self._memory_kib_max = max(memory_kib_max, profile.memory_kib)
        self._random_bytes = random_bytes
        self._newest = keyring.key_ids()[0]
        self._dummy = StoredHash(
            phc=hashing.unmatched(profile, random_bytes(hashing.SALT_BYTES), random_bytes(hashing.TAG_BYTES)),
            key_id=self._newest,
        )

    async def hash(self, password: str) -> StoredHash:
        """Hash a new password with the present parameters, under the newest secret."""
        salt = self._random_bytes(hashing.SALT_BYTES)
        peppered = self._peppered(password, self._newest)
        phc = await self._pool.run(self._timed, hashing.argon2id, peppered, salt, self._profile)
        return StoredHash(phc=phc, key_id=self._newest)

    async def verify(self, password: str, stored: StoredHash | None) -> bool:
        """Tell whether this is the password; without a usable hash, work as long as with one and say no."""
        given = stored if stored is not None and self._usable(stored) else self._dummy
        peppered = self._peppered(password, given.key_id)
        return await self._pool.run(self._timed, hashing.matches, given.phc, peppered)

    def outdated(self, stored: StoredHash) -> bool:
        """Tell whether a hash that verified should be replaced: other parameters, or an older secret."""
        return stored.key_id != self._newest or hashing.profile_of(stored.phc) != self._profile

    def close(self) -> None:
        """Drop what waits to be computed."""
        self._pool.close()

    def _usable(self, stored: StoredHash) -> bool:
        profile = hashing.profile_of(stored.phc)
        usable = profile is not None and profile.memory_kib <= self._memory_kib_max
        usable = usable and stored.key_id in self._keyring.key_ids()
        if not usable:
            self._metrics.discarded_state("password-hash")
        return usable

    def _peppered(self, password: str, key_id: str) -> bytes:
        key = self._keyring.key(_PEPPER_LABEL, key_id)
        assert key is not None, "a key id is checked before its pepper is asked for"
        return base64.b64encode(hmac.digest(key, prepared(password), "sha256"))

    def _timed(self, function: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        began_s = time.perf_counter()
        result = function(*arguments)
        self._metrics.password_hash(time.perf_counter() - began_s)
        return result
