"""Account names: one spelling stands for all that people would call the same name."""

from __future__ import annotations

import unicodedata
from typing import Final

from tollhouse.errors import InvalidInput
from tollhouse.sessions.validation import checked

NAME_CHARACTERS_MAX: Final = 128


def canonical(name: str) -> str:
    """Give the spelling under which an account is kept: case folded, then NFC; 1 to 128 characters.

    `Ada`, `ADA` and `ada` are one account, and so are both ways to write an accent. Letters that only look
    alike stay different. Raises InvalidInput for control and invisible characters and for spaces at the ends.
    """
    given = checked("user", name, shortest=1, longest=NAME_CHARACTERS_MAX)
    folded = folded_case(given)
    if folded != folded.strip():
        raise InvalidInput("user", name, "leave out the spaces at the ends")
    if any(unicodedata.category(character) == "Cf" for character in folded):
        raise InvalidInput("user", name, "leave out invisible characters")
    return checked("user", folded, shortest=1, longest=NAME_CHARACTERS_MAX)


def folded_case(text: str) -> str:
    """Give the text without differences of case, as Unicode's canonical caseless matching compares it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
