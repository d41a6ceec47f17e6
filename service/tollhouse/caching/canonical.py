"""The canonical form of a value: bytes that two values share if they are of one type and cannot be told apart.

Every value begins with the tag of its type and is delimited by a length or a count, so no two values have one form:
1, True, "1" and 1.0 differ, and so do ("a", "b") and ("ab",). Sets and dicts have one in whatever order they were made.
The class is part of the form of an enumeration, a dataclass, a Struct, a Pydantic model, and of an object with a
`__cache_key__()` method, which returns a value that stands for the object.

What has no such form is refused: the text of an object often holds its address, or hides what tells it from others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, Final, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Struct

DEPTH_MAX: Final = 32
VALUES_MAX: Final = 10_000
BYTES_MAX: Final = 1024 * 1024

_LOCAL: Final = "<locals>"
_KEY_METHOD: Final = "__cache_key__"


class NoCanonicalForm(Exception):
    """A value that has no canonical form; says what it is, and the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}: {remedy}")


class TooLarge(NoCanonicalForm):
    """A value beyond the bounds; another one of its types would have a form."""


def canonical(value: object) -> bytes:
    """Return the canonical form of a value; raise NoCanonicalForm if it has none, or is beyond the bounds."""
    return _Form().of(value, 0)


class _Form:
    """One form in the making, with what is left of its bounds."""

    def __init__(self) -> None:
        self._values = VALUES_MAX
        self._bytes = BYTES_MAX

    def of(self, value: Any, depth: int) -> bytes:
        kind: Any = cast("Any", type(value))
        self._values -= 1
        if depth > DEPTH_MAX or self._values < 0:
            limits = f"give at most {VALUES_MAX} values, nested up to {DEPTH_MAX} deep"
            raise TooLarge("too many values" if depth <= DEPTH_MAX else "nested too deep", limits)
        if (scalar := _SCALARS.get(kind)) is not None:
            return self._leaf(scalar[0], scalar[1](value))
        if (tag := _SEQUENCES.get(kind)) is not None:
            return self._all(tag, [self.of(item, depth + 1) for item in value])
        if (tag := _SETS.get(kind)) is not None:
            return self._all(tag, sorted(self.of(item, depth + 1) for item in value))
        if kind is dict:
            return self._all(b"m", sorted(self._pair(key, item, depth) for key, item in value.items()))
        return self._of_class(value, kind, depth)

    def _pair(self, key: object, item: object, depth: int) -> bytes:
        return self.of(key, depth + 1) + self.of(item, depth + 1)

    def _of_class(self, value: Any, kind: Any, depth: int) -> bytes:
        """Return the form of an object whose class is a part of it."""
        if isinstance(value, type):
            return self._leaf(b"C", _place(value).encode())
        tag, parts = _parts(value, kind)
        name = self._leaf(b"C", _place(kind, is_part=True).encode())
        return self._all(tag, [name, *(self.of(part, depth + 1) for part in parts)])

    def _leaf(self, tag: bytes, content: bytes) -> bytes:
        self._bytes -= len(content)
        if self._bytes < 0:
            raise TooLarge("too large", f"give at most {BYTES_MAX} bytes")
        return b"%b%d:%b" % (tag, len(content), content)

    @staticmethod
    def _all(tag: bytes, items: list[bytes]) -> bytes:
        return b"%b%d:%b" % (tag, len(items), b"".join(items))


def _parts(value: Any, kind: Any) -> tuple[bytes, Iterable[object]]:
    """Return the tag of an object, and the values that it consists of beside its class."""
    if callable(method := getattr(kind, _KEY_METHOD, None)):
        return b"k", (method(value),)
    if isinstance(value, Enum):
        name = cast("str | None", value._name_)  # a flag of no member has none
        return b"e", (value.value if name is None else name,)
    if tuple in kind.__mro__ and hasattr(kind, "_fields"):
        return b"n", tuple(value)
    if is_dataclass(value):
        return b"d", [part for one in fields(value) if one.compare for part in (one.name, getattr(value, one.name))]
    if isinstance(value, Struct):
        return b"r", [part for name in value.__struct_fields__ for part in (name, getattr(value, name))]
    if is_pydantic_model(kind):
        named = [part for name in kind.model_fields for part in (name, getattr(value, name))]
        return b"p", [*named, value.model_extra]
    raise NoCanonicalForm(f"a {_name(kind)}", f"give its class a {_KEY_METHOD}() method")


def is_pydantic_model(kind: object) -> bool:
    """Return True for a class of Pydantic models; without importing Pydantic, which made the class if it is one."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def _place(kind: Any, *, is_part: bool = False) -> str:
    """Return the module and the qualified name of a class, which tell it from others.

    Two local classes may have one name, so a local class alone is refused. With the values of an object it is enough.
    """
    if not is_part and _LOCAL in kind.__qualname__:
        raise NoCanonicalForm(f"the local class {kind.__name__}", "define the class in its module")
    return _name(kind)


def _name(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _moment(value: datetime | time) -> bytes:
    """Return what a clock on the wall says, which of two equal hours it is, and the rule of its zone."""
    return f"{value.replace(tzinfo=None).isoformat()} {value.fold} {_zone(value.tzinfo)}".encode()


def _zone(zone: tzinfo | None) -> str:
    """Return the name of a zone, or its offset if that never changes."""
    if zone is None:
        return "-"
    if type(zone) is ZoneInfo and cast("str | None", zone.key) is not None:
        return zone.key
    offset = zone.utcoffset(None)
    if offset is None:
        raise NoCanonicalForm(f"a time zone of {_name(type(zone))}", "give one of zoneinfo, or a fixed offset")
    return str(offset / timedelta(microseconds=1))


def _text(convert: Callable[[Any], str] = str) -> Callable[[Any], bytes]:
    return lambda value: convert(value).encode()


_NAMED_TEXTS: Final = (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    PosixPath,
    PurePosixPath,
    PureWindowsPath,
    WindowsPath,
)
_SCALARS: Final[dict[type, tuple[bytes, Callable[[Any], bytes]]]] = {
    type(None): (b"0", lambda _: b""),
    type(...): (b".", lambda _: b""),
    bool: (b"b", lambda value: b"1" if value else b"0"),
    int: (b"i", _text(lambda value: f"{value:x}")),
    float: (b"f", _text(float.hex)),
    complex: (b"c", _text(lambda value: f"{value.real.hex()} {value.imag.hex()}")),
    str: (b"s", lambda value: value.encode("utf-8", "surrogatepass")),
    bytes: (b"y", bytes),
    bytearray: (b"a", bytes),
    UUID: (b"u", lambda value: value.bytes),
    Decimal: (b"D", _text()),
    datetime: (b"T", _moment),
    time: (b"t", _moment),
    date: (b"A", _text(date.isoformat)),
    timedelta: (b"I", _text(lambda value: f"{value.days} {value.seconds} {value.microseconds}")),
    **{kind: (b"o", _text(lambda value: f"{type(value).__name__} {value}")) for kind in _NAMED_TEXTS},
}
"""The types whose values are written at once: their tag, and the content."""
_SEQUENCES: Final[dict[type, bytes]] = {tuple: b"(", list: b"["}
_SETS: Final[dict[type, bytes]] = {set: b"{", frozenset: b"<"}
