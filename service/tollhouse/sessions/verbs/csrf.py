"""Tokens against cross-site request forgery, for forms of applications: bound to one session, and made without a store.

A token is `<random>.<HMAC of sid and random>` under a key of its own. The page of another site can neither read one nor
make one, and one of another session does not count; so a cookie that a sibling domain planted is of no use (ASVS
3.5.1). It stays good while the session lives, also after a rotation, and until its deployment secret is dropped. Two
are never equal, so a page that is compressed does not reveal it by its length (BREACH).
"""

from __future__ import annotations

import base64
import hmac
import re
from typing import Final

from tollhouse.errors import require_type
from tollhouse.keyring import Keyring
from tollhouse.sessions.tokens import RandomBytes

_KEY_LABEL: Final = "csrf-token"
_RANDOM_BYTES: Final = 16
_FORM: Final = re.compile(r"([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})")


def make_csrf_token(keyring: Keyring, sid: str, random_bytes: RandomBytes) -> str:
    """Return a new token of a session, under the newest secret."""
    random = _text(random_bytes(_RANDOM_BYTES))
    return f"{random}.{_mac(keyring, keyring.key_ids()[0], sid, random)}"


def is_csrf_token(keyring: Keyring, sid: str, text: str) -> bool:
    """Return whether a text is a token of a session; every secret is tried, each in constant time."""
    require_type("csrf_token", text, str, "give the token as text, as the request had it")
    match = _FORM.fullmatch(text)
    if match is None:
        return False
    random, given = match.groups()
    found = [hmac.compare_digest(_mac(keyring, key_id, sid, random), given) for key_id in keyring.key_ids()]
    return any(found)


def _mac(keyring: Keyring, key_id: str, sid: str, random: str) -> str:
    key = keyring.key(_KEY_LABEL, key_id)
    assert key is not None, "the id is that of a configured secret"
    return _text(hmac.digest(key, f"{sid}.{random}".encode(), "sha256"))


def _text(bits: bytes) -> str:
    return base64.urlsafe_b64encode(bits).rstrip(b"=").decode()
