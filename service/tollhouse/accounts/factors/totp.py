"""One-time passwords by time (TOTP, RFC 6238): SHA-1, six digits, a new code every 30 seconds.

Nothing secret is stored. The seed is an HMAC of a stored nonce and the user's name, under a key that is derived from
the deployment's secret: who has the store alone can compute no code, and no nonce is of use in another account.
The id of that secret is stored with the nonce, so seeds under older secrets still work while these are configured.

A code is good once: the step that it was of is stored, and only later ones count then (RFC 6238, 5.2).
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from tollhouse.errors import InvalidInput, require_type
from tollhouse.keyring import Keyring
from tollhouse.sessions.tokens import RandomBytes

STEP_MS: Final = 30_000
"""For so long a code is that of the time."""
DIGITS: Final = 6
SEED_BYTES: Final = 20
"""The length of a seed: that of a SHA-1 digest, as RFC 4226, 4 recommends."""

_SEED_LABEL: Final = "totp-seed"
_NONCE_BYTES: Final = 16
_UNUSED: Final = -1
_CODE: Final = re.compile(rf"[0-9]{{{DIGITS}}}")
_GROUPED: Final = re.compile(r"([0-9]{3}) ([0-9]{3})")


class TotpSeed(Struct, frozen=True, kw_only=True):
    """What is stored of a seed: its nonce, and the id of its secret.

    Codes of the step `last_step` and of earlier ones are not good any more; -1 before the first. The factor counts once
    it is `confirmed` by a code, so that no user is asked for codes of an app that never got the seed.
    """

    nonce: str
    key_id: str
    last_step: int = _UNUSED
    confirmed: bool = False


def new_seed(keyring: Keyring, random_bytes: RandomBytes = secrets.token_bytes) -> TotpSeed:
    """Return a new seed under the newest secret, which is not confirmed yet."""
    return TotpSeed(nonce=random_bytes(_NONCE_BYTES).hex(), key_id=keyring.key_ids()[0])


def seed_bytes(keyring: Keyring, user: str, seed: TotpSeed) -> bytes | None:
    """Return the 20 bytes of a user's seed; None if the secret that they derive from is no longer configured."""
    key = keyring.key(_SEED_LABEL, seed.key_id)
    if key is None:
        return None
    return hmac.digest(key, f"{seed.nonce}:{user}".encode(), "sha256")[:SEED_BYTES]


def otp(seed: bytes, step: int, digits: int = DIGITS) -> str:
    """Return the code of a step: the HOTP value of that counter (RFC 4226, 5.3)."""
    digest = hmac.digest(seed, step.to_bytes(8), "sha1")
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4]) & 0x7FFF_FFFF
    return f"{number % 10**digits:0{digits}}"


def step_at(now_ms: int) -> int:
    """Return the step of a time in milliseconds since 1970."""
    return now_ms // STEP_MS


def required_code(text: str) -> str:
    """Return the six digits of a text, `123456` or `123 456`; raises InvalidInput for what no code can be."""
    require_type("code", text, str, "give the code as text")
    if _CODE.fullmatch(text):
        return text
    if found := _GROUPED.fullmatch(text):
        return found[1] + found[2]
    raise InvalidInput("code", "(hidden)", "give the six digits that the app shows")


def step_of(seed: bytes, code: str, *, now_ms: int, window: int, last_step: int) -> int | None:
    """Return the step whose code this is, of `window` steps around the one of now; None for a wrong or used code.

    It takes as long for each of them, and for a wrong code.
    """
    now = step_at(now_ms)
    found = None
    for step in range(max(now - window, 0), now + window + 1):
        if hmac.compare_digest(otp(seed, step), code) and step > last_step:
            found = step
    return found


def base32(seed: bytes) -> str:
    """Return a seed as users type it into an app: 32 characters of RFC 4648, 6."""
    return base64.b32encode(seed).decode()


def otpauth_uri(seed: bytes, *, issuer: str, user: str) -> str:
    """Return the URI that an app reads from a QR code; the issuer and the user are what it shows."""
    label = f"{quote(issuer, safe='')}:{quote(user, safe='')}"
    parameters = f"secret={base32(seed)}&issuer={quote(issuer, safe='')}"
    return f"otpauth://totp/{label}?{parameters}&algorithm=SHA1&digits={DIGITS}&period={STEP_MS // 1000}"
