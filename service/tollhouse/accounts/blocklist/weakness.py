"""Weaknesses of a new password: the rules that it breaks, in words that an application can show in its own language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final, Protocol

from tollhouse.accounts.blocklist.filter_file import PasswordFilter
from tollhouse.accounts.blocklist.folding import plain, whole_forms
from tollhouse.accounts.blocklist.pieces import guessable_pieces
from tollhouse.accounts.blocklist.repetition import novel_characters
from tollhouse.accounts.blocklist.words import DATA, WordsByStart, by_start

RULES: Final[Mapping[str, str]] = {
    "short": "it is too short",
    "breached": "it is in the operator's list of leaked passwords",
    "common": "it is a well-known password, or made of well-known words",
    "repeated": "it repeats itself",
    "sequence": "it is made of neighbouring keys, or of characters in order",
    "date": "it is made of dates or years",
    "name": "it is made of the user's name",
    "service": "it is made of the name of the service",
}
"""The rules for a new password, and what each says of one that breaks it."""


_WORD_CHARACTERS_MIN: Final = 3
_NO_WORD: Final = re.compile(r"[\W_]+")


class PasswordList(Protocol):
    """A list of passwords that can say whether it has one."""

    def has(self, password: str) -> bool:
        """Return True if the password is in the list."""
        ...


def weaknesses(
    password: str,
    *,
    name: WordsByStart,
    service: WordsByStart,
    characters_min: int,
    leaked: PasswordList | None = None,
) -> tuple[str, ...]:
    """Return the names of the rules, of RULES, that a password breaks, that which tells most about it first.

    Characters that repeat earlier ones count little: two thirds of the required length have to be others.
    """
    text = plain(password)
    novel = novel_characters(text)
    forms = whole_forms(password)
    found = (
        *_if("short", len(password) < characters_min),
        *_if("breached", leaked is not None and any(map(leaked.has, forms))),
        *guessable_pieces(text, {"name": name, "service": service}),
        *_if("common", any(map(long_passwords().has, forms))),
        *_if("repeated", novel < len(text) and novel * 3 < characters_min * 2),
    )
    return tuple(dict.fromkeys(found))


def words_of_name(name: str) -> WordsByStart:
    """Return the words of an account's name, and of that before the @."""
    return words_of((name, name.partition("@")[0]))


def words_of(texts: Iterable[str]) -> WordsByStart:
    """Return texts, and their words, as `weaknesses` takes them, without those of less than three characters."""
    words = (word for text in texts for word in (text, *_NO_WORD.split(text)))
    return by_start(word for word in words if len(word) >= _WORD_CHARACTERS_MIN)


@cache
def long_passwords() -> PasswordFilter:
    """Return the filter of long common passwords that the package brings."""
    return PasswordFilter(DATA / "long.filter", "the package's list of passwords")


def _if(rule: str, broken: bool) -> tuple[str, ...]:  # noqa: FBT001 - reads as the condition that it is
    return (rule,) if broken else ()
