"""What a cached function returns: the type that its annotation names, whether a value was stored or just computed."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Signature, signature, unwrap
from types import SimpleNamespace
from typing import Annotated, Any, Final, Literal, Protocol, get_args, get_origin, get_type_hints

import msgspec

from tollhouse.caching.canonical import is_pydantic_model
from tollhouse.caching.serializers import Serializers
from tollhouse.errors import InvalidInput, LoadFailed
from tollhouse.logs import Log
from tollhouse.runtime.functions import place_of

_log = Log("tollhouse.cache")


class OtherType(Exception):
    """A stored value is not of the type that the function returns now."""


class Form(Protocol):
    """How the values of a function are stored."""

    @property
    def type(self) -> Any:
        """The type that the cache decodes."""
        ...

    def stored(self, value: Any) -> Any:
        """Return what is stored for a value; raise LoadFailed if it is not of the type of the function."""
        ...

    def returned(self, stored: Any) -> Any:
        """Return the value of what was stored; raise OtherType if it is not of the type of the function."""
        ...


class EncodedForm:
    """Values that msgspec encodes, and decodes as their type."""

    def __init__(self, type: Any) -> None:  # noqa: A002 - as in msgspec
        self.type = type

    def stored(self, value: Any) -> Any:
        """Return the value."""
        return value

    def returned(self, stored: Any) -> Any:
        """Return the value, which the cache has decoded as its type."""
        return stored


class PydanticForm:
    """Values with Pydantic models in them, such as `User` or `list[User] | None`: stored as plain values, by field."""

    type: Any = Any

    def __init__(self, type: Any) -> None:  # noqa: A002 - as in msgspec
        from pydantic import TypeAdapter

        self._adapter: TypeAdapter[Any] = TypeAdapter(type)

    def stored(self, value: Any) -> Any:
        """Return the plain values of a model, or of what has its fields; raise LoadFailed for others."""
        try:
            checked = self._adapter.validate_python(value, from_attributes=True, by_alias=True, by_name=True)
            return self._adapter.dump_python(checked, mode="json", by_alias=False, round_trip=True)
        except ValueError as error:
            raise LoadFailed(f"the returned {type(value).__name__} is not of the annotated type: {error}") from error

    def returned(self, stored: Any) -> Any:
        """Return the models; raise OtherType if the fields are those of another model."""
        try:
            return self._adapter.validate_json(msgspec.json.encode(stored), by_alias=False, by_name=True)
        except ValueError as error:
            raise OtherType from error


class PackedForm:
    """Values with objects that serializers are for, stored as plain values with the names of their classes."""

    type: Any = Any

    def __init__(self, form: Form, serializers: Serializers) -> None:
        self._form = form
        self._serializers = serializers

    def stored(self, value: Any) -> Any:
        """Return the plain values of a value; raise LoadFailed for one that is nested too deeply."""
        try:
            return self._serializers.pack(self._form.stored(value))
        except InvalidInput as error:
            raise LoadFailed(f"the returned value cannot be stored: {error}") from error

    def returned(self, stored: Any) -> Any:
        """Return the value with its objects; raise OtherType for one of another type, or with no serializer."""
        value = self._serializers.unpack(stored, _UNKNOWN)
        if value is _UNKNOWN:
            raise OtherType
        try:
            return self._form.returned(msgspec.convert(value, self._form.type, str_keys=True))
        except msgspec.ValidationError as error:
            raise OtherType from error


_UNKNOWN: Final = object()
_PLAIN: Final = EncodedForm(Any)


def form_of(function: Callable[..., Any]) -> Form:
    """Return the form of what a function returns; without an annotation that says it, values are of plain types."""
    hint = _return_hint(function)
    if hint in (Any, object):
        return _PLAIN
    leaves = list(_parts(hint))
    if any(map(is_pydantic_model, leaves)):
        return PydanticForm(hint)
    return EncodedForm(hint) if all(map(_is_decodable, leaves)) else _PLAIN


def _return_hint(function: Callable[..., Any]) -> Any:
    """Return the return annotation; Any if there is none, or if it names what is not defined when the program runs."""
    hint = signature(function).return_annotation
    if hint is Signature.empty:
        return Any
    names = getattr(unwrap(function), "__globals__", {})
    try:
        holder = SimpleNamespace(__annotations__={"return": hint})
        return get_type_hints(holder, globalns=names, include_extras=True)["return"]
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        _log.warning("return annotation not usable", extra={"function": place_of(function), "reason": str(error)})
        return Any


def _parts(hint: Any) -> list[Any]:
    """Return a type, and the types that it is made of."""
    inner = get_args(hint)
    if get_origin(hint) is Annotated:
        return _parts(inner[0])
    if get_origin(hint) is Literal or not inner:
        return [hint]
    return [hint, *(part for one in inner if not isinstance(one, list) for part in _parts(one))]


def _is_decodable(hint: Any) -> bool:
    """Return True if msgspec can decode the type, whatever its parts are."""
    if hint is ...:
        return True
    try:
        return not isinstance(msgspec.inspect.type_info(hint), msgspec.inspect.CustomType)
    except TypeError:
        return False
