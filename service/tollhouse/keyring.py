"""Keys derived from the secret: one per purpose, so that none can stand in for another.

Every key is HMAC-SHA-256(secret, label), after the expand step of RFC 5869. Without a secret
digests are plain BLAKE2b: they hide names from a glance, not from someone who guesses them.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from msgspec import Struct

SECRET_BYTES_MIN = 32
"""The shortest secret that is accepted, in bytes."""


class Keyring(Struct, frozen=True):
    """The secrets of a deployment, newest first; empty where none is configured."""

    secrets: tuple[bytes, ...] = ()

    @property
    def keyed(self) -> bool:
        """Tell whether digests are keyed; sessions refuse to open where they are not."""
        return bool(self.secrets)

    def key_ids(self) -> tuple[str, ...]:
        """Name each secret by 8 hex digits that reveal nothing about it, newest first."""
        return tuple(_derive(secret, "key-id").hex()[:8] for secret in self.secrets)

    def key(self, label: str, key_id: str | None = None) -> bytes | None:
        """Derive the 32-byte key for `label`: of the newest secret, or of the one that `key_id` names."""
        for secret, own_id in zip(self.secrets, self.key_ids(), strict=True):
            if key_id is None or own_id == key_id:
                return _derive(secret, label)
        return None

    def digest(self, label: str, value: str | bytes) -> str:
        """Give 32 hex digits (128 bits) that stand for `value` in key names, under the newest secret."""
        return self.digests(label, value)[0]

    def digests(self, label: str, value: str | bytes) -> tuple[str, ...]:
        """Give the digest under every secret, newest first, to find what an older secret named."""
        data = value.encode() if isinstance(value, str) else value
        if not self.secrets:
            return (hashlib.blake2b(data, digest_size=16, person=label.encode()[:16]).hexdigest(),)
        return tuple(
            hashlib.blake2b(data, digest_size=16, key=_derive(secret, label)).hexdigest() for secret in self.secrets
        )


@lru_cache(maxsize=256)
def _derive(secret: bytes, label: str) -> bytes:
    return hmac.digest(secret, b"tollhouse/1/" + label.encode(), "sha256")
