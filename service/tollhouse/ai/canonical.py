"""Canonical JSON: one text for each JSON value, so that equal inputs have one cache key and different ones never do.

These make no difference: the order of members, the notation of a number (1 and 1.0, 100 and 1e2), the escapes of a
character. Everything else does: order in arrays, `true` and 1, absent and null, a composed and a decomposed é.
Integers of any size are exact. Ambiguous input is refused: an object that names a member twice, NaN, infinities.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from tollhouse.errors import InvalidInput

DEPTH_MAX: Final = 64
"""The most levels of nested arrays and objects."""

_DECODER: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


class CanonicalJson(Struct, frozen=True, kw_only=True):
    """A JSON value and its canonical text; models get `value`, so they see exactly what is hashed."""

    value: Any
    text: bytes

    def only_member(self, name: str) -> CanonicalJson:
        """Return the value of the one member of this object, which has no other members."""
        return CanonicalJson(value=self.value[name], text=self.text[len(_ENCODER.encode(name)) + 2 : -1])


def parse(raw: bytes | msgspec.Raw) -> CanonicalJson:
    """Return the canonical form of a client's JSON text; raises InvalidInput if it is invalid or ambiguous."""
    text = bytes(raw)
    try:
        value = _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("input", text[:80], f"send one JSON value: {error}") from error
    canonical = canonicalize(value)
    if _count_members(text) != _count_members(canonical.text):
        raise InvalidInput("input", text[:80], "name each member of an object once")
    return canonical


def canonicalize(value: Any) -> CanonicalJson:
    """Return the canonical form of a Python value; raises InvalidInput if it is no JSON value."""
    normal = _normal(value, DEPTH_MAX)
    try:
        return CanonicalJson(value=normal, text=_ENCODER.encode(normal))
    except ValueError as error:
        raise InvalidInput(
            "input", "...", f"use shorter integers, and text without lone surrogates: {error}"
        ) from error


def _normal(value: Any, levels: int) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return _number(value)
        case list() | tuple() | dict() if levels == 0:
            raise InvalidInput("input", "...", f"nest at most {DEPTH_MAX} levels")
        case list() | tuple():
            return [_normal(item, levels - 1) for item in cast("list[Any]", value)]
        case dict():
            members = cast("dict[Any, Any]", value).items()
            return {_name(name): _normal(item, levels - 1) for name, item in members}
        case _:
            kind = type(value).__name__
            raise InvalidInput("input", kind, "use null, booleans, numbers, text, arrays and objects")


def _number(value: float) -> int | float:
    if not math.isfinite(value):
        raise InvalidInput("input", value, "use finite numbers")
    return int(value) if value.is_integer() else value


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidInput("input", name, "name members of objects with text")
    return name


def _count_members(text: bytes) -> int:
    """Return the number of members of all objects in valid JSON: outside strings, each colon belongs to a member.

    Parsers keep one of two members with the same name, so a text with more members than its value named one twice.
    """
    return _STRINGS.sub(b"", text).count(b":")
