"""What may be a password: long enough, bounded, and not among the first that anyone would guess.

No rule asks for kinds of characters, and nothing is trimmed or cut: a password counts as it was typed, in NFC.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from tollhouse.accounts.common_passwords import is_common
from tollhouse.errors import ConfigurationError, InvalidInput

PASSWORD_BYTES_MAX: Final = 1_024
CHARACTERS_MIN: Final = 15
"""What NIST SP 800-63B-4 asks of a password that is the only factor, in code points."""

_LOWEST_MIN: Final = 8
_HIGHEST_MIN: Final = 64
_HIDDEN: Final = "(hidden)"


def prepared(password: str) -> bytes:
    """Give the bytes that stand for a password, whoever typed it on whatever keyboard: NFC in UTF-8.

    Raises InvalidInput above 1,024 bytes, at a login as well, so that no one can make hashing expensive.
    """
    if len(password) > PASSWORD_BYTES_MAX:
        raise _too_long()
    try:
        encoded = unicodedata.normalize("NFC", password).encode()
    except UnicodeEncodeError:
        raise InvalidInput("password", _HIDDEN, "send whole Unicode characters") from None
    if len(encoded) > PASSWORD_BYTES_MAX:
        raise _too_long()
    return encoded


class PasswordRules:
    """What a new password has to keep to; the least length is the operator's choice."""

    def __init__(self, characters_min: int = CHARACTERS_MIN) -> None:
        if not _LOWEST_MIN <= characters_min <= _HIGHEST_MIN:
            remedy = f"ask for {_LOWEST_MIN} to {_HIGHEST_MIN} characters"
            raise ConfigurationError("password length", characters_min, remedy)
        self._characters_min = characters_min

    def check(self, password: str, name: str) -> None:
        """Raise InvalidInput where this may not become the password of the account `name`."""
        characters = prepared(password).decode()
        if len(characters) < self._characters_min:
            remedy = f"use at least {self._characters_min} characters; a few words in a row are easy to remember"
            raise InvalidInput("password", _HIDDEN, remedy, kind="weak-password")
        if is_common(characters, own=(name, name.partition("@")[0])):
            remedy = "it is little more than well-known words, your name or a pattern; choose words of your own"
            raise InvalidInput("password", _HIDDEN, remedy, kind="weak-password")


def _too_long() -> InvalidInput:
    return InvalidInput("password", _HIDDEN, f"use at most {PASSWORD_BYTES_MAX:,} bytes of UTF-8")
