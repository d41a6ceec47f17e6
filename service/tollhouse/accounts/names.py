"""Canonical account names: all spellings of a name that differ in case or composition are one account."""

from __future__ import annotations

import unicodedata
from typing import Final

from tollhouse.errors import InvalidInput
from tollhouse.sessions.validation import valid_text

NAME_CHARACTERS_MAX: Final = 128


def canonical(name: str) -> str:
    """Return the spelling under which an account is stored: case folded, then NFC; 1 to 128 characters.

    `Ada`, `ADA` and `ada` are one account, and so are the composed and the decomposed form of an accent. Letters
    that only look alike stay different. Raises InvalidInput for control and invisible characters, and for spaces at
    the ends.
    """
    folded = folded_case(valid_text("user", name, shortest=1, longest=NAME_CHARACTERS_MAX))
    if folded != folded.strip():
        raise InvalidInput("user", name, "leave out the spaces at the ends")
    if any(unicodedata.category(character) == "Cf" for character in folded):
        raise InvalidInput("user", name, "leave out invisible characters")
    return valid_text("user", folded, shortest=1, longest=NAME_CHARACTERS_MAX)


def folded_case(text: str) -> str:
    """Return the text case-folded for comparison, by Unicode's canonical caseless matching."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
