"""Session tokens: their format, and the verifier that is stored in place of the secret.

A token is `v1.<key id>.<user digest>.<sid>.<secret>`. The key id names the deployment secret that it was made under;
the digest (128 bits, keyed by that secret) stands for the user in the names of keys; the sid (128 random bits) is
public; and only the client has the secret (256 random bits): the store has its verifier, an HMAC under a key that the
store never sees. So a token names every key that its verification reads.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import require_type
from tollhouse.keyring import Keyring

RandomBytes = Callable[[int], bytes]
"""A function that returns so many unpredictable bytes."""

_KEY_LABEL: Final = "session-token"
_SUCCESSOR_LABEL: Final = "session-successor"
_SID_BYTES: Final = 16
_SECRET_BYTES: Final = 32
_VERIFIER_BYTES: Final = 24

# The last character of sid and secret carries fewer bits than the others: one token has one spelling.
_TOKEN: Final = re.compile(
    r"v1\.([0-9a-f]{8})\.([0-9a-f]{32})\.([a-z2-7]{25}[aeimquy4])\.([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])"
)
_SID: Final = re.compile(r"[a-z2-7]{25}[aeimquy4]")


class Token(Struct, frozen=True, kw_only=True):
    """A well-formed token; only `reveal` shows its secret, and what two tokens of one user have in common."""

    key_id: str
    digest: str
    sid: str
    secret: str

    def reveal(self) -> str:
        """Return the token as text, for the client and nothing else."""
        return f"v1.{self.key_id}.{self.digest}.{self.sid}.{self.secret}"

    def __repr__(self) -> str:
        return f"Token(v1.{self.key_id}.<user>.{self.sid}.<hidden>)"


def issue(
    keyring: Keyring, digest: str, random_bytes: RandomBytes = secrets.token_bytes, *, key_id: str | None = None
) -> Token:
    """Return a new token under the secret that the digest is of, which is the newest unless `key_id` names another."""
    return Token(
        key_id=keyring.key_ids()[0] if key_id is None else key_id,
        digest=digest,
        sid=new_sid(random_bytes),
        secret=new_secret(random_bytes),
    )


def new_sid(random_bytes: RandomBytes = secrets.token_bytes) -> str:
    """Return 128 random bits as 26 characters of base32."""
    return base64.b32encode(random_bytes(_SID_BYTES)).rstrip(b"=").decode().lower()


def new_secret(random_bytes: RandomBytes = secrets.token_bytes) -> str:
    """Return 256 random bits as 43 characters of base64url."""
    return _secret(random_bytes(_SECRET_BYTES))


def successor(keyring: Keyring, token: Token) -> Token:
    """Return the token that follows a token of a secret that is configured: the same for all who compute it."""
    key = keyring.key(_SUCCESSOR_LABEL, token.key_id)
    assert key is not None, "the secret of the token is configured"
    return replace(token, secret=_secret(_mac(key, token)))


def parse(text: str) -> Token | None:
    """Return the token in a text that a client sent; None if it is not exactly one, InvalidInput if it is no text."""
    require_type("token", text, str, "give the token as text; without one there is no session to verify")
    match = _TOKEN.fullmatch(text)
    if match is None:
        return None
    key_id, digest, sid, secret = match.groups()
    return Token(key_id=key_id, digest=digest, sid=sid, secret=secret)


def is_sid(text: str) -> bool:
    """Return True if a text has the form of a session id."""
    return _SID.fullmatch(text) is not None


def verifier(keyring: Keyring, token: Token) -> str | None:
    """Return the stored verifier of a token; None if its deployment secret is no longer configured."""
    key = keyring.key(_KEY_LABEL, token.key_id)
    if key is None:
        return None
    return _mac(key, token)[:_VERIFIER_BYTES].hex()


def _mac(key: bytes, token: Token) -> bytes:
    mac = _keyed(key).copy()
    mac.update((token.sid + token.secret).encode())
    return mac.digest()


@lru_cache(maxsize=256)
def _keyed(key: bytes) -> hmac.HMAC:
    """Return an HMAC that has taken in its key, which is as much work as to take in a token."""
    return hmac.new(key, digestmod="sha256")


def _secret(bits: bytes) -> str:
    return base64.urlsafe_b64encode(bits).rstrip(b"=").decode()
