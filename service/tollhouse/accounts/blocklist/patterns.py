"""Patterns in a folded password: runs of equal or neighbouring characters, and dates."""

from __future__ import annotations

import re
from typing import Final

RUN_CHARACTERS: Final = 3
"""The shortest run that counts as one: `abc`, `987`, `qwe`, `zzz`."""

_ROWS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertzuiop",
    "yxcvbnm",
    "azertyuiop",
    "qsdfghjklm",
    "wxcvbn",
    "1qaz",
    "2wsx",
    "3edc",
    "4rfv",
    "5tgb",
    "6yhn",
    "7ujm",
    "!@#$%^&*()",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
    "йцукенгшщзхъ",
    "фывапролджэ",
    "ячсмитьбю",
)
"""Neighbours on keyboards, and what is counted or spelled in order."""

_NEIGHBOURS: Final = frozenset(
    row[at : at + 2] for forward in _ROWS for row in (forward, forward[::-1]) for at in range(len(row) - 1)
)
_YEAR: Final = "(?:19[3-9][0-9]|20[0-4][0-9])"
_SHORT_YEAR: Final = "[0-9]{2}"
_MONTH: Final = "(?:0[1-9]|1[0-2])"
_DAY: Final = "(?:0[1-9]|[12][0-9]|3[01])"
_DATES: Final = tuple(
    re.compile(one)
    for one in (
        f"{_DAY}{_MONTH}{_YEAR}|{_MONTH}{_DAY}{_YEAR}|{_YEAR}{_MONTH}{_DAY}",
        f"{_DAY}{_MONTH}{_SHORT_YEAR}|{_MONTH}{_DAY}{_SHORT_YEAR}|{_SHORT_YEAR}{_MONTH}{_DAY}",
        _YEAR,
    )
)


def run_ends(text: str) -> list[int]:
    """Return the end of the run of equal or neighbouring characters that starts at each position."""
    ends = [len(text)] * len(text)
    for start in range(len(text) - 2, -1, -1):
        pair = text[start : start + 2]
        ends[start] = ends[start + 1] if pair[0] == pair[1] or pair in _NEIGHBOURS else start + 1
    return ends


def date_ends(text: str, start: int) -> tuple[int, ...]:
    """Return the ends of the dates that start at a position: with a year of four digits, of two, and a year alone."""
    if not "0" <= text[start] <= "9":
        return ()
    return tuple(found.end() for date in _DATES if (found := date.match(text, start)))
