"""Password rules: a minimum length, a maximum size, and no common passwords.

No rule requires kinds of characters, and nothing is trimmed or cut: a password counts as typed, in NFC.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from tollhouse.accounts.common_passwords import is_common
from tollhouse.errors import ConfigurationError, InvalidInput, require_type

PASSWORD_BYTES_MAX: Final = 1_024
CHARACTERS_MIN: Final = 15
"""The minimum length of NIST SP 800-63B-4 for a password that is the only factor, in code points."""

_LOWEST_MIN: Final = 8
_HIGHEST_MIN: Final = 64
_HIDDEN: Final = "(hidden)"


def password_bytes(password: str) -> bytes:
    """Return a password as the bytes that are hashed: NFC in UTF-8, so that keyboards make no difference.

    Raises InvalidInput above 1,024 bytes, at a login too, so that no client can make hashing expensive.
    """
    require_type("password", password, str, "give text")
    try:
        encoded = unicodedata.normalize("NFC", password).encode() if len(password) <= PASSWORD_BYTES_MAX else None
    except UnicodeEncodeError:
        raise InvalidInput("password", _HIDDEN, "send whole Unicode characters") from None
    if encoded is None or len(encoded) > PASSWORD_BYTES_MAX:
        raise InvalidInput("password", _HIDDEN, f"use at most {PASSWORD_BYTES_MAX:,} bytes of UTF-8")
    return encoded


class PasswordRules:
    """The rules for a new password; the operator sets the minimum length."""

    def __init__(self, characters_min: int = CHARACTERS_MIN) -> None:
        if not _LOWEST_MIN <= characters_min <= _HIGHEST_MIN:
            remedy = f"ask for {_LOWEST_MIN} to {_HIGHEST_MIN} characters"
            raise ConfigurationError("password length", characters_min, remedy)
        self._characters_min = characters_min

    def check(self, password: str, name: str) -> bytes:
        """Return the password as bytes; raises InvalidInput if the account `name` may not have it."""
        encoded = password_bytes(password)
        characters = encoded.decode()
        if len(characters) < self._characters_min:
            remedy = f"use at least {self._characters_min} characters; a few words in a row are easy to remember"
            raise InvalidInput("password", _HIDDEN, remedy, kind="weak-password")
        if is_common(characters, own=(name, name.partition("@")[0])):
            remedy = "it is little more than well-known words, your name or a pattern; choose words of your own"
            raise InvalidInput("password", _HIDDEN, remedy, kind="weak-password")
        return encoded
