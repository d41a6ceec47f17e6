"""Pieces of a password: the cheapest way to put it together from what an attacker tries first.

A well-known word, a name, a run and a date cost nothing, in any number. A password of the long list and a stray
character cost as much as each other, a stray symbol half of that, and a word that stood before nothing. So a password
is guessable at a cost of two words, or of two characters, and one symbol; and four words chosen at random are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, Literal

from msgspec import Struct

from tollhouse.accounts.blocklist.folding import with_letters
from tollhouse.accounts.blocklist.patterns import RUN_CHARACTERS, date_ends, run_ends
from tollhouse.accounts.blocklist.words import (
    ENTRY_CHARACTERS_MAX,
    ENTRY_CHARACTERS_MIN,
    WELL_KNOWN,
    WordsByStart,
    common_passwords,
)

PieceKind = Literal["common", "repeated", "sequence", "date", "name", "service"]

OwnWords = Mapping[Literal["name", "service"], WordsByStart]
"""The words of the account's name, and those of the service."""

_ENTRY_COST: Final = 2
_CHARACTER_COST: Final = 2
_SYMBOL_COST: Final = 1
_COST_MAX: Final = 5
_RUN_ENDS: Final = 3
_WELL_KNOWN: Final[tuple[tuple[PieceKind, WordsByStart], ...]] = (("common", WELL_KNOWN),)


class _Text(Struct, frozen=True, kw_only=True):
    """A folded password: its spellings with digits and with letters, its runs, and the words of its owner."""

    spellings: tuple[str, ...]
    runs: Sequence[int]
    own: OwnWords


_Piece = tuple[int, int, PieceKind]
"""The end of a piece, its cost and its kind."""


def guessable_pieces(text: str, own: OwnWords) -> tuple[PieceKind, ...]:
    """Return the kinds of pieces that make up a folded password, the largest part first; none if it is not guessable.

    The work grows with the length of the text alone: a position has a bounded number of pieces, and one that costs too
    much already is a dead end.
    """
    whole = _Text(spellings=(text, *with_letters(text)), runs=run_ends(text), own=own)
    costs = [0, *[_COST_MAX + 1] * len(text)]
    came: list[tuple[int, PieceKind | None]] = [(0, None)] * (len(text) + 1)
    for start, character in enumerate(text):
        if costs[start] > _COST_MAX:
            continue
        stray = _SYMBOL_COST if character.isascii() and not character.isalnum() else _CHARACTER_COST
        pieces = chain(_own_words(whole, start), _patterns(whole, start), _entries(whole, start))
        for end, cost, kind in (*pieces, (start + 1, stray, None)):
            if costs[start] + cost < costs[end]:
                costs[end], came[end] = costs[start] + cost, (start, kind)
    return _kinds_of(came) if costs[-1] <= _COST_MAX else ()


def _own_words(text: _Text, start: int) -> Iterator[_Piece]:
    """Yield the names and well-known words that start at a position."""
    for kind, known in (*text.own.items(), *_WELL_KNOWN):
        for spelling in text.spellings:
            for word in known.get(spelling[start], ()):
                if spelling.startswith(word, start):
                    yield start + len(word), 0, kind


def _patterns(text: _Text, start: int) -> Iterator[_Piece]:
    """Yield the dates that start at a position, the run, and an end of the text that stood in it before.

    A run comes also without its last characters, which may begin a word.
    """
    for end in date_ends(text.spellings[0], start):
        yield end, 0, "date"
    last = text.runs[start]
    for end in range(last, max(start + RUN_CHARACTERS, last - _RUN_ENDS) - 1, -1):
        yield end, 0, "sequence"
    whole = text.spellings[0]
    if whole[start:] in whole[:start]:
        yield len(whole), 0, "repeated"


def _entries(text: _Text, start: int) -> Iterator[_Piece]:
    """Yield the passwords of the long list, forwards and backwards, that start at a position."""
    words, last = common_passwords(), min(start + ENTRY_CHARACTERS_MAX, len(text.runs))
    for end in range(start + ENTRY_CHARACTERS_MIN, last + 1):
        for spelling in text.spellings:
            word = spelling[start:end]
            back = word[::-1]
            if word in words or back in words:
                before = spelling[:start]
                is_old = word in before or back in before
                yield (end, 0, "repeated") if is_old else (end, _ENTRY_COST, "common")


def _kinds_of(came: Sequence[tuple[int, PieceKind | None]]) -> tuple[PieceKind, ...]:
    """Return the kinds of pieces on the way to the end, by the number of characters that they cover."""
    covered: dict[PieceKind, int] = {}
    end = len(came) - 1
    while end:
        start, kind = came[end]
        if kind is not None:
            covered[kind] = covered.get(kind, 0) + end - start
        end = start
    return tuple(sorted(covered, key=lambda kind: -covered[kind]))
