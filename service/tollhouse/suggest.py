"""Suggestions for a misspelled name, in the words in which every error message makes them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Final

LIKENESS: Final = 0.6
"""The least likeness of a suggestion, as difflib measures it from 0 to 1."""

_CHARACTERS_MAX: Final = 64
"""Only the beginning of a word is compared: the work is quadratic in its length, and clients choose the word."""


def similar(word: str, known: Iterable[str], *, likeness: float = LIKENESS) -> list[str]:
    """Return the known words that `word` may be a misspelling of, the most likely first."""
    words = list(known)
    return get_close_matches(word[:_CHARACTERS_MAX], words, n=max(1, len(words)), cutoff=likeness)


def one_of(word: object, known: Collection[str], *, listed: str = "", prefix: str = "") -> str:
    """Return the remedy for a word that is not in a closed set: the one that may be meant, and all that there are.

    `listed` names the page of a long set, in place of its words. Letter case makes no difference to what may be meant.
    A `prefix` that all words have is left out of the comparison, because it would make any two of them similar. Values
    other than text resemble no word.
    """
    every = listed or f"known are {', '.join(known) or 'none'}"
    spellings = {name.removeprefix(prefix).lower(): name for name in known}
    nearest = similar(word.removeprefix(prefix).lower(), spellings)[:1] if isinstance(word, str) else []
    return f"did you mean {spellings[nearest[0]]!r}? {every[0].upper()}{every[1:]}" if nearest else every
