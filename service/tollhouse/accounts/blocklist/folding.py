"""Folded spellings of a password: what is compared, so that capitals, separators and look-alike digits hide nothing."""

from __future__ import annotations

import unicodedata
from typing import Final

CHARACTERS_MAX: Final = 128
"""The longest text that is compared: what goes on like this for so long is judged by its beginning."""

_SEPARATORS: Final = str.maketrans("", "", " \t-_.,/\\:;|'\"`~")
_LOOK_ALIKES: Final = {"4": "a", "@": "a", "8": "b", "3": "e", "9": "g", "6": "g", "0": "o", "5": "s", "$": "s"} | {
    "7": "t",
    "+": "t",
    "2": "z",
}
_ONES: Final = ("i", "l")
"""The letters for which 1 and the exclamation mark may stand."""

_LEET: Final = tuple(str.maketrans(_LOOK_ALIKES | {"1": letter, "!": letter}) for letter in _ONES)
_EDGES: Final = "0123456789!?@#$%^&*()+=<>[]{}"


def plain(text: str) -> str:
    """Return the text in one case, without marks, compatibility characters and separators."""
    if text.isascii():
        return text.lower().translate(_SEPARATORS)[:CHARACTERS_MAX]
    decomposed = unicodedata.normalize("NFKD", text.casefold()).casefold()
    letters = "".join(character for character in decomposed if unicodedata.category(character) != "Mn")
    return unicodedata.normalize("NFC", letters).translate(_SEPARATORS)[:CHARACTERS_MAX]


def with_letters(text: str) -> tuple[str, ...]:
    """Return the texts of the same length that have letters in place of look-alike digits and symbols, if any has."""
    spelled = dict.fromkeys(text.translate(table) for table in _LEET)
    return () if tuple(spelled) == (text,) else tuple(spelled)


def whole_forms(password: str) -> tuple[str, ...]:
    """Return the spellings of a password that a list may have: as typed, folded, and without digits at its ends."""
    folded = plain(password)
    core = folded.strip(_EDGES)
    forms = (password, password.casefold(), folded, core, *with_letters(folded))
    return tuple(dict.fromkeys(form for form in forms if form))
