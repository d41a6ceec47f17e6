"""Session tokens: what a client holds, and the little of it that is stored.

A token is `v1.<key id>.<tag>.<sid>.<secret>`. The key id names the secret of the deployment that it was made
under, the tag says where the user's keys live, the sid (128 random bits) is public, and the secret (256 random
bits) is known to the client alone: the store holds its verifier, an HMAC under a key that the store never sees.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from tollhouse.keyring import Keyring

RandomBytes = Callable[[int], bytes]
"""Gives that many bytes that nobody can guess."""

_KEY_LABEL: Final = "session-token"
_SID_BYTES: Final = 16
_SECRET_BYTES: Final = 32
_VERIFIER_BYTES: Final = 24

# The last character of sid and secret carries fewer bits than the others: one token has one spelling.
_TOKEN: Final = re.compile(
    r"v1\.([0-9a-f]{8})\.([0-9a-f]{2})\.([a-z2-7]{25}[aeimquy4])\.([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])"
)
_SID: Final = re.compile(r"[a-z2-7]{25}[aeimquy4]")


class Token(Struct, frozen=True, kw_only=True):
    """A well-formed token; only `reveal` shows its secret."""

    key_id: str
    tag: str
    sid: str
    secret: str

    def reveal(self) -> str:
        """Give the text that goes to the client, and nowhere else."""
        return f"v1.{self.key_id}.{self.tag}.{self.sid}.{self.secret}"

    def __repr__(self) -> str:
        return f"Token(v1.{self.key_id}.{self.tag}.{self.sid}.<hidden>)"


def issue(keyring: Keyring, tag: str, random_bytes: RandomBytes = secrets.token_bytes) -> Token:
    """Make a fresh token under the newest secret."""
    return Token(
        key_id=keyring.key_ids()[0],
        tag=tag,
        sid=new_sid(random_bytes),
        secret=base64.urlsafe_b64encode(random_bytes(_SECRET_BYTES)).rstrip(b"=").decode(),
    )


def new_sid(random_bytes: RandomBytes = secrets.token_bytes) -> str:
    """Give 128 random bits as 26 characters of base32."""
    return base64.b32encode(random_bytes(_SID_BYTES)).rstrip(b"=").decode().lower()


def parse(text: str) -> Token | None:
    """Read what a client sent; whatever is not exactly a token is None."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        return None
    key_id, tag, sid, secret = match.groups()
    return Token(key_id=key_id, tag=tag, sid=sid, secret=secret)


def is_sid(text: str) -> bool:
    """Tell whether a text can be a session id at all."""
    return _SID.fullmatch(text) is not None


def verifier(keyring: Keyring, token: Token) -> str | None:
    """Give what is stored for a token; None where its secret was dropped from the deployment."""
    key = keyring.key(_KEY_LABEL, token.key_id)
    if key is None:
        return None
    return hmac.digest(key, (token.sid + token.secret).encode(), "sha256")[:_VERIFIER_BYTES].hex()
