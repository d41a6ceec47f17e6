"""Arguments: what a call gives a function, bound to its signature, and the digest that tells its result from others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import Parameter, Signature, ismethod, isroutine, signature
from typing import Any, Final, cast

from tollhouse.caching.canonical import NoCanonicalForm, TooLarge, canonical
from tollhouse.errors import ConfigurationError, InvalidInput, OutOfBounds
from tollhouse.runtime.functions import place_of
from tollhouse.suggest import one_of

USE_CACHE: Final = "use_cache"
"""The parameter that bypasses the cache if it is false; it is not part of keys."""

_DIGEST_BYTES: Final = 20
_INSTANCES: Final = frozenset({"self", "cls"})
_KEY_METHOD: Final = "__cache_key__"


class Arguments:
    """The parameters of a function, and what its calls give them.

    A partial, a bound method and a callable object are taken apart: what they hold is an argument like any other.
    """

    def __init__(self, function: Callable[..., Any], ignore: Iterable[str] = ()) -> None:
        self.place = place_of(function)
        self.code, self._first, self._keywords = _taken_apart(function)
        self._signature = _signature_of(self.code, self.place)
        self._ignored = self._checked(ignore)
        self._names = {name: canonical(name) for name in self._signature.parameters}
        self._first_name = next(iter(self._signature.parameters), "")

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by name, with defaults; raise TypeError as the call would."""
        bound = self._signature.bind(*self._first, *args, **{**self._keywords, **kwargs})
        bound.apply_defaults()
        return bound.arguments

    def digest(self, bound: Mapping[str, Any], context: bytes) -> str:
        """Return the digest of bound arguments behind the canonical form of a context; ignored ones have no part in it.

        Two calls share it if every argument is of the same type and value in both, however it was passed. Raises
        InvalidInput for an argument that has no canonical form.
        """
        digest = hashlib.blake2b(context, digest_size=_DIGEST_BYTES)
        for name, value in bound.items():
            if name not in self._ignored:
                digest.update(self._names[name])
                digest.update(self._canonical(name, self._unignored(name, value)))
        return digest.hexdigest()

    def check_instance(self, bound: Mapping[str, Any]) -> None:
        """Raise InvalidInput if the first argument of a method is none of its instances.

        `instance.method.key(...)` cannot be bound to the instance, and would take the first argument for it.
        """
        name = self._first_name
        if name in _INSTANCES and not hasattr(bound[name], self.code.__name__):
            remedy = f"call it on the class: Class.{self.code.__name__}.key({name}, ...)"
            raise InvalidInput(name, f"a {type(bound[name]).__name__}", remedy)

    def is_bypassed(self, bound: Mapping[str, Any]) -> bool:
        """Return True if the call says `use_cache=False`."""
        return self._has_use_cache and bound[USE_CACHE] is False

    def of_result(self, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the keywords of a call without `use_cache`, which says nothing about its result."""
        if not self._has_use_cache or USE_CACHE not in kwargs:
            return kwargs
        return {name: value for name, value in kwargs.items() if name != USE_CACHE}

    def check_names(self, setting: str, names: Iterable[str]) -> None:
        """Raise ConfigurationError for a name that no parameter of the function has."""
        known = self._signature.parameters
        for name in names:
            if name not in known and not self._takes_any_name:
                raise ConfigurationError(setting, name, one_of(name, known))

    def _checked(self, ignore: Iterable[str]) -> frozenset[str]:
        if isinstance(ignore, str):
            raise ConfigurationError("ignore", ignore, f"give a tuple of names: ({ignore!r},)")
        ignored = frozenset(ignore)
        self.check_names("ignore", ignored)
        return ignored | {USE_CACHE} if self._has_use_cache else ignored

    @property
    def _has_use_cache(self) -> bool:
        found = self._signature.parameters.get(USE_CACHE)
        return found is not None and found.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)

    @property
    def _takes_any_name(self) -> bool:
        return any(one.kind is Parameter.VAR_KEYWORD for one in self._signature.parameters.values())

    def _unignored(self, name: str, value: Any) -> Any:
        """Return the value of a parameter, without the ignored names if it holds all further keywords."""
        if self._signature.parameters[name].kind is not Parameter.VAR_KEYWORD:
            return value
        return {given: item for given, item in value.items() if given not in self._ignored}

    def _canonical(self, name: str, value: Any) -> bytes:
        kind: Any = cast("Any", type(value))
        if name == self._first_name == "self" and not callable(getattr(kind, _KEY_METHOD, None)):
            raise self._refusal(name, f"a {kind.__name__}", f"give its class a {_KEY_METHOD}() method")
        try:
            return canonical(value)
        except TooLarge as error:
            raise OutOfBounds(name, error.what, error.remedy) from error
        except NoCanonicalForm as error:
            raise self._refusal(name, error.what, error.remedy) from error

    def _refusal(self, name: str, what: str, remedy: str) -> InvalidInput:
        others = f"or say ignore=({name!r},) if the result does not depend on it, or give a function as key"
        return InvalidInput(name, what, f"it tells no results of {self.place} apart; {remedy}, {others}")


def _taken_apart(function: Callable[..., Any]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return the function that runs, and the arguments that partials, methods and objects give it."""
    called: Any = function
    first: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    while True:
        if isinstance(called, partial):
            first, keywords = (*called.args, *first), {**called.keywords, **keywords}
            called = called.func
        elif ismethod(called):
            called, first = called.__func__, (called.__self__, *first)
        elif not isroutine(called):
            called, first = type(called).__call__, (called, *first)
        else:
            return called, first, keywords


def _signature_of(code: Any, place: str) -> Signature:
    try:
        return signature(code)
    except ValueError as error:
        remedy = "it has no signature; call it in a function that has one"
        raise ConfigurationError("function", place, remedy) from error
