"""Repetition: the characters of a text that do not repeat what stood before them."""

from __future__ import annotations

from typing import Final

_STRETCH: Final = 4
"""The shortest stretch whose return counts as repetition."""


def novel_characters(text: str) -> int:
    """Return the number of characters outside stretches that stood in the text before, be it one place earlier."""
    at = novel = 0
    while at < len(text):
        end = at + _STRETCH
        if end > len(text) or text[at:end] not in text[: end - 1]:
            novel, at = novel + 1, at + 1
            continue
        while end < len(text) and text[at : end + 1] in text[:end]:
            end += 1
        at = end
    return novel
