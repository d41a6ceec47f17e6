"""Password rules: a minimum length, a maximum size, and nothing that an attacker tries first.

No rule requires kinds of characters, and nothing is trimmed or cut: a password counts as typed, in NFC.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tollhouse.accounts.blocklist.filter_file import ReplaceableFilter
from tollhouse.accounts.blocklist.weakness import RULES, weaknesses, words_of, words_of_name
from tollhouse.errors import ConfigurationError, InvalidInput, WeakPassword, require_type

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
    """The rules for a new password; the operator sets the minimum length, words, and a filter of leaked passwords.

    `words` are names of the service and of who runs it. `filter_path` is a file of `tollhouse accounts passwords
    build`; one that takes its place is used at once.
    """

    def __init__(
        self, characters_min: int = CHARACTERS_MIN, *, words: Iterable[str] = (), filter_path: str | None = None
    ) -> None:
        if not _LOWEST_MIN <= characters_min <= _HIGHEST_MIN:
            remedy = f"ask for {_LOWEST_MIN} to {_HIGHEST_MIN} characters"
            raise ConfigurationError("password length", characters_min, remedy)
        self._characters_min = characters_min
        self._service = words_of(words)
        self._leaked = None if filter_path is None else ReplaceableFilter(Path(filter_path), "password_filter")

    def check(self, password: str, name: str) -> bytes:
        """Return the password as bytes; raises WeakPassword if the account `name` may not have it."""
        encoded = password_bytes(password)
        rules = self.broken(encoded.decode(), name)
        if rules:
            raise WeakPassword(rules, self._remedy(rules))
        return encoded

    def broken(self, characters: str, name: str) -> tuple[str, ...]:
        """Return the names of the rules that a password in NFC breaks, the most telling first."""
        if self._leaked is not None:
            self._leaked.refresh()
        return weaknesses(
            characters,
            name=words_of_name(name),
            service=self._service,
            characters_min=self._characters_min,
            leaked=self._leaked,
        )

    def _remedy(self, rules: Iterable[str]) -> str:
        reasons = ", and ".join(RULES[rule] for rule in rules)
        return f"{reasons}: use at least {self._characters_min} characters; a few words in a row are easy to remember"
