"""Recovery codes: ten texts that a user keeps for the day on which the other second factor is gone; each is good once.

A code has 24 characters of Crockford's Base32, which are 120 random bits, in groups of four: `7q2k-x9fd-…`. Because it
cannot be guessed, what is stored is an HMAC of it, under a key of the deployment's secret (ASVS 5.0, 6.5.2 asks for a
password hash below 112 bits). Case, hyphens and spaces do not count, nor does an `O` for a zero or an `I` for a one.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from tollhouse.errors import InvalidInput, require_type
from tollhouse.keyring import Keyring
from tollhouse.sessions.tokens import RandomBytes

CODES: Final = 10
"""So many codes are made at a time."""
CHARACTERS: Final = 24

_HASH_LABEL: Final = "recovery-code"
_HASH_BYTES: Final = 24
_GROUP: Final = 4
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_BITS: Final = 5
_BYTES: Final = CHARACTERS * _BITS // 8
_TEXT_MAX: Final = 64
_LOOK_ALIKES: Final = str.maketrans("oil", "011", "- ")
_CODE: Final = re.compile(rf"[{_ALPHABET}]{{{CHARACTERS}}}")


class RecoveryCode(Struct, frozen=True, kw_only=True):
    """What is stored of a code: its hash, and the id of the secret that the key of the hash was derived from."""

    hash: str
    key_id: str


def new_codes(
    keyring: Keyring, user: str, random_bytes: RandomBytes = secrets.token_bytes
) -> tuple[tuple[str, ...], tuple[RecoveryCode, ...]]:
    """Return ten new codes, for the user alone, and what is stored of them, under the newest secret."""
    key_id = keyring.key_ids()[0]
    codes = [_text(random_bytes(_BYTES)) for _ in range(CODES)]
    stored = tuple(RecoveryCode(hash=_hash(keyring, user, code, key_id), key_id=key_id) for code in codes)
    return tuple(map(_grouped, codes)), stored


def required_recovery_code(text: str) -> str:
    """Return a code as it is hashed; raises InvalidInput for a text that no code can be."""
    require_type("code", text, str, "give the recovery code as text")
    if len(text) <= _TEXT_MAX and text.isascii():
        code = text.lower().translate(_LOOK_ALIKES)
        if _CODE.fullmatch(code):
            return code
    raise InvalidInput("code", "(hidden)", f"give a recovery code as it was shown: {CHARACTERS} letters and digits")


def codes_left(
    keyring: Keyring, user: str, codes: Sequence[RecoveryCode], code: str
) -> tuple[RecoveryCode, ...] | None:
    """Return the codes that are left without this one; None if it is none of them. It compares with each."""
    hashes = {key_id: _hash(keyring, user, code, key_id) for key_id in {one.key_id for one in codes}}
    left = tuple(one for one in codes if not hmac.compare_digest(one.hash, hashes[one.key_id]))
    return None if len(left) == len(codes) else left


def _text(random: bytes) -> str:
    number = int.from_bytes(random)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(0, CHARACTERS * _BITS, _BITS))


def _grouped(text: str) -> str:
    return "-".join(text[start : start + _GROUP] for start in range(0, CHARACTERS, _GROUP))


def _hash(keyring: Keyring, user: str, code: str, key_id: str) -> str:
    """Return the hash of a code, which is none if the secret of its key is no longer configured: empty."""
    key = keyring.key(_HASH_LABEL, key_id)
    if key is None:
        return ""
    return hmac.digest(key, f"{code}:{user}".encode(), "sha256")[:_HASH_BYTES].hex()
