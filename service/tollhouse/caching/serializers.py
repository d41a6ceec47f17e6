"""Serializers of a manager: classes that msgspec does not know, stored as plain values with the name of their class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from msgspec import Struct

from tollhouse.cache.codec import CodecName
from tollhouse.errors import InvalidInput

_NAME: Final = "$type"
_VALUE: Final = "value"
_DICT: Final = "dict"
"""The name under which a dict is stored that could be mistaken for an object."""


class Serializer(Struct, frozen=True, kw_only=True):
    """How the objects of one class become plain values, and are made of them again."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class Serializers:
    """The serializers by class: of an object's own class, not of those that it inherits from."""

    def __init__(self, by_class: Mapping[type, Serializer]) -> None:
        self._by_class = by_class
        self._by_name = {_name(kind): serializer for kind, serializer in by_class.items()}

    def __bool__(self) -> bool:
        return bool(self._by_class)

    def pack(self, value: Any) -> Any:
        """Return a value with plain values in place of the objects in it, in lists, tuples and dicts too.

        Raise InvalidInput for one that is nested too deeply.
        """
        if not self._by_class:
            return value
        try:
            return self._pack(value)
        except RecursionError as error:
            raise InvalidInput("value", value.__class__.__name__, "it is nested too deeply") from error

    def _pack(self, value: Any) -> Any:
        kind: Any = cast("Any", type(value))
        if kind in self._by_class:
            return {_NAME: _name(kind), _VALUE: self._pack(self._by_class[kind].encode(value))}
        if kind is dict:
            packed = {key: self._pack(item) for key, item in value.items()}
            return {_NAME: _DICT, _VALUE: packed} if _NAME in packed else packed
        return [self._pack(item) for item in value] if kind in (list, tuple) else value

    def unpack(self, value: Any, default: Any) -> Any:
        """Return a stored value with its objects; `default` if one has no serializer, or is nested too deeply."""
        if not self._by_class:
            return value
        try:
            return self._unpack(value)
        except (KeyError, RecursionError):
            return default

    def _unpack(self, value: Any) -> Any:
        if type(value) is list:
            return [self._unpack(item) for item in cast("list[Any]", value)]
        if type(value) is not dict:
            return value
        packed = cast("dict[Any, Any]", value)
        if _NAME not in packed:
            return {key: self._unpack(item) for key, item in packed.items()}
        if packed[_NAME] == _DICT:
            return {key: self._unpack(item) for key, item in packed[_VALUE].items()}
        return self._by_name[packed[_NAME]].decode(self._unpack(packed[_VALUE]))


class StoredAs(Struct, frozen=True, kw_only=True):
    """How a manager stores values; None is what its cache has."""

    ttl_s: int | None = None
    codec: CodecName | None = None
    serializers: Serializers = Serializers({})


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
