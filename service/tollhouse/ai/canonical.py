"""One text for each JSON value, so that equal inputs meet in the cache and different ones never do.

Equal are: members in any order, numbers of the same value (1 and 1.0, 100 and 1e2), the same characters
however they were escaped. Everything else tells inputs apart: order in arrays, `true` and 1, absent and
null, a composed and a decomposed é. Integers of any size are exact. What has no single meaning is refused:
an object that names a member twice, NaN, infinities.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from tollhouse.errors import InvalidInput

DEPTH_MAX: Final = 64
"""Arrays and objects inside each other."""

_DECODER: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


class Canonical(Struct, frozen=True, kw_only=True):
    """A JSON value in its one form; models are given `value`, so what is hashed is what they see."""

    value: Any
    text: bytes


def parse(raw: bytes | msgspec.Raw) -> Canonical:
    """Read JSON as a client sent it; raises InvalidInput for what is not, or has two meanings."""
    text = bytes(raw)
    try:
        value = _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("input", text[:80], f"send one JSON value: {error}") from error
    canonical = canonicalize(value)
    if _members(text) != _members(canonical.text):
        raise InvalidInput("input", text[:80], "name each member of an object once")
    return canonical


def canonicalize(value: Any) -> Canonical:
    """Give a Python value its one form; raises InvalidInput for what JSON cannot say."""
    normal = _normal(value, DEPTH_MAX)
    try:
        return Canonical(value=normal, text=_ENCODER.encode(normal))
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


def _members(text: bytes) -> int:
    """Count the members of all objects in valid JSON: outside strings, a colon is always a member's.

    Parsers keep one of two members with the same name, so a text with more members than its value
    named one twice.
    """
    return _STRINGS.sub(b"", text).count(b":")
