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


def one_of(word: object, known: Collection[str]) -> str:
    """Return the remedy for a word that is not in a closed set: the one that may be meant, and all that there are.

    Letter case makes no difference to what may be meant. Values other than text resemble no word.
    """
    listed = ", ".join(known)
    spellings = {name.lower(): name for name in known}
    nearest = similar(word.lower(), spellings)[:1] if isinstance(word, str) else []
    return f"did you mean {spellings[nearest[0]]!r}? Known are {listed}" if nearest else f"known are {listed or 'none'}"


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str, also: str = "", prefix: str = "") -> str:
    """Return the question whether the most similar word was meant, then `also`; `otherwise` if none is similar.

    A `prefix` that all words have is left out of the comparison, because it would make any two of them similar.
    """
    nearest = similar(word.removeprefix(prefix), (name.removeprefix(prefix) for name in known))[:1]
    return f"did you mean {prefix + nearest[0]!r}? {also}".rstrip() if nearest else otherwise
