"""Canonical JSON: one text for each JSON value, so that equal inputs have one cache key and different ones never do.

These make no difference: the order of members, the notation of a number (1 and 1.0, 100 and 1e2), the escapes of a
character. Everything else does: order in arrays, `true` and 1, absent and null, a composed and a decomposed é.
Integers of any size are exact. Ambiguous input is refused: an object that names a member twice, NaN, infinities.

No Python code runs for each value, but for each number with a fraction or an exponent. Each step that holds the
interpreter is over in some hundredths of a second for a MiB, so that other threads run in between.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any, Final, ParamSpec, TypeVar, cast

import msgspec
from msgspec import Struct

from tollhouse.errors import InvalidInput
from tollhouse.runtime.garbage import LARGE_BYTES, decode_undisturbed

P = ParamSpec("P")
T = TypeVar("T")

DEPTH_MAX: Final = 64
"""The most levels of nested arrays and objects."""

_WINDOW_BYTES: Final = 64 * 1024
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_OTHER_THAN_BRACKETS: Final = bytes(set(range(256)) - set(b"[{]}"))
_PLAIN: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class CanonicalJson(Struct, frozen=True, kw_only=True):
    """A JSON value and its canonical text; models get `value`, so they see exactly what is hashed."""

    value: Any
    text: bytes

    def only_member(self, name: str) -> CanonicalJson:
        """Return the value of the one member of this object, which has no other members."""
        return CanonicalJson(value=self.value[name], text=self.text[len(_ENCODER.encode(name)) + 2 : -1])


def beginning(text: bytes) -> str:
    """Return the first 80 bytes of a text for an error, in which bytes that are not UTF-8 are escaped."""
    return text[:80].decode("utf-8", "backslashreplace")


def parse(raw: bytes | msgspec.Raw) -> CanonicalJson:
    """Return the canonical form of a client's JSON text; raises InvalidInput if it is invalid or ambiguous."""
    text = bytes(raw)
    members, depth = _shape(text)
    if depth > DEPTH_MAX:
        raise InvalidInput("input", "...", f"nest at most {DEPTH_MAX} levels")
    try:
        value = decode_undisturbed(_DECODER.decode, text)
        canonical = CanonicalJson(value=value, text=_ENCODER.encode(value))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidInput("input", beginning(text), f"send one JSON value: {error}") from error
    if members != _shape(canonical.text)[0]:
        raise InvalidInput("input", beginning(text), "name each member of an object once")
    return canonical


def json_text(value: Any) -> bytes:
    """Return a Python value as JSON text; raises InvalidInput if it is no JSON value."""
    try:
        return _PLAIN.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        remedy = f"use null, booleans, finite numbers, text, arrays and objects: {error}"
        raise InvalidInput("input", type(value).__name__, remedy) from error


def canonicalize(value: Any, text: bytes | None = None) -> CanonicalJson:
    """Return the canonical form of a Python value; raises InvalidInput if it is no JSON value.

    `text` is that of `json_text`, if the caller has it.
    """
    canonical = parse(json_text(value) if text is None else text)
    if canonical.value != value:  # because of a tuple, or of a name that is no text
        _require_text_names(value)
    return canonical


async def off_loop(text: bytes, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run work on a text at once if it is short, else in a thread."""
    if len(text) > LARGE_BYTES:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)


def _shape(text: bytes) -> tuple[int, int]:
    """Return the number of members of all objects in valid JSON, and the most levels of nesting.

    Outside strings each colon belongs to a member. Parsers keep one of two members with the same name, so a text with
    more members than its value named one twice.
    """
    members = level = depth = inside = 0
    text = text.replace(b"\\\\", b"").replace(b'\\"', b"")  # what is left of quotes begins and ends strings
    for start in range(0, len(text), _WINDOW_BYTES):
        pieces = text[start : start + _WINDOW_BYTES].split(b'"')
        outside = b"".join(pieces[inside::2])
        inside = (inside + len(pieces) - 1) % 2
        members += outside.count(b":")
        steps = memoryview(outside.translate(_STEPS, _OTHER_THAN_BRACKETS)).cast("b")
        levels = tuple(accumulate(steps, initial=level))
        depth, level = max(depth, *levels), levels[-1]
    return members, depth


def _number(text: str) -> int | float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidInput("input", text[:80], "use finite numbers")
    return int(value) if value.is_integer() else value


def _require_text_names(value: Any) -> None:
    if isinstance(value, dict):
        members = cast("dict[Any, Any]", value)
        for name in members:
            if not isinstance(name, str):
                raise InvalidInput("input", name, "name members of objects with text")
        _require_text_names(list(members.values()))
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            _require_text_names(item)


_DECODER: Final = msgspec.json.Decoder(float_hook=_number)
