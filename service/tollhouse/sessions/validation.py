"""Validation of user ids and device labels: bounded text in NFC, without control characters."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from tollhouse.errors import InvalidInput

USER_CHARACTERS_MAX: Final = 256
DEVICE_CHARACTERS_MAX: Final = 120

_FORBIDDEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, lone surrogates, and the separators of lines and paragraphs."""


_ANONYMOUS: Final = re.compile(r"anonymous:[a-z2-7]{26}")


def is_anonymous(user: str) -> bool:
    """Return True for the name of a visitor without an account, which `create_anonymous` alone gives."""
    return _ANONYMOUS.fullmatch(user) is not None


def named_user(text: str) -> str:
    """Return a user's id as `valid_user` does; raises InvalidInput for the name of a visitor."""
    user = valid_user(text)
    if is_anonymous(user):
        raise InvalidInput("user", user, "name it otherwise: visitors without an account have such names")
    return user


def valid_user(text: str) -> str:
    """Return a user's id as it is stored and compared: 1 to 256 characters, NFC."""
    return valid_text("user", text, shortest=1, longest=USER_CHARACTERS_MAX)


def valid_device(text: str) -> str:
    """Return a device's label as it is stored: at most 120 characters, NFC."""
    return valid_text("device", text, shortest=0, longest=DEVICE_CHARACTERS_MAX)


def valid_text(field: str, text: object, *, shortest: int, longest: int) -> str:
    """Return the text in NFC; raises InvalidInput if it is no text, too short, too long or not plain."""
    if not isinstance(text, str):
        raise InvalidInput(field, type(text).__name__, f"give text, such as str({field})")
    # NFC makes a text at most four times shorter, so one that is far too long is refused before it is composed.
    composed = unicodedata.normalize("NFC", text) if len(text) <= 4 * longest else text
    if not shortest <= len(composed) <= longest:
        raise InvalidInput(field, text, f"use {shortest} to {longest} characters")
    if any(unicodedata.category(character) in _FORBIDDEN for character in composed):
        raise InvalidInput(field, text, "leave out control characters and line breaks")
    return composed
