"""Keys derived from the secret: one per purpose, so that none can be used for another.

Every key is HMAC-SHA-256(secret, label), after the expand step of RFC 5869. Without a secret, digests are plain
BLAKE2b: they hide names from a casual reader, but not from one who guesses names and hashes them.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from msgspec import Struct

from tollhouse.errors import ConfigurationError

SECRET_BYTES_MIN = 32
"""The shortest secret that is accepted, in bytes."""


class Keyring(Struct, frozen=True):
    """The secrets of a deployment, newest first; empty if none is configured."""

    secrets: tuple[bytes, ...] = ()

    @property
    def keyed(self) -> bool:
        """Whether digests are keyed; if not, sessions do not open."""
        return bool(self.secrets)

    def require_secret(self, reason: str) -> None:
        """Raise ConfigurationError, with `reason` in its remedy, if there is no secret."""
        if not self.secrets:
            remedy = f"give {SECRET_BYTES_MIN} random bytes or more, such as those of `openssl rand -hex 32`; {reason}"
            raise ConfigurationError("TOLLHOUSE_SECRET", None, remedy)

    def key_ids(self) -> tuple[str, ...]:
        """Return an id for each secret, newest first: 8 hex digits that reveal nothing about it."""
        return tuple(_key_id(secret) for secret in self.secrets)

    def key(self, label: str, key_id: str | None = None) -> bytes | None:
        """Derive the 32-byte key for `label` from the newest secret, or that of `key_id`; None if it is unknown."""
        for secret in self.secrets:
            if key_id is None or key_id == _key_id(secret):
                return _derive(secret, label)
        return None

    def digest(self, label: str, value: str | bytes) -> str:
        """Return the 32 hex digits (128 bits) that replace `value` in key names, under the newest secret."""
        return _digest(self.secrets[0] if self.secrets else None, label, value)

    def digests(self, label: str, value: str | bytes) -> tuple[str, ...]:
        """Return the digest under every secret, newest first, to find keys that were named under an older secret."""
        return tuple([_digest(secret, label, value) for secret in self.secrets or (None,)])


def _digest(secret: bytes | None, label: str, value: str | bytes) -> str:
    data = value.encode() if isinstance(value, str) else value
    if secret is None:
        return hashlib.blake2b(data, digest_size=16, person=label.encode()[:16]).hexdigest()
    return hashlib.blake2b(data, digest_size=16, key=_derive(secret, label)).hexdigest()


@lru_cache(maxsize=256)
def _derive(secret: bytes, label: str) -> bytes:
    return hmac.digest(secret, b"tollhouse/1/" + label.encode(), "sha256")


@lru_cache(maxsize=256)
def _key_id(secret: bytes) -> str:
    return _derive(secret, "key-id").hex()[:8]
