"""Functions of the application in every form: plain, async, partials, methods and callable objects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, isroutine
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

from tollhouse.errors import ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")
OfArguments = (
    Callable[Concatenate[Any, Any, Any, Any, ...], T | Awaitable[T]]
    | Callable[Concatenate[Any, Any, Any, ...], T | Awaitable[T]]
    | Callable[Concatenate[Any, Any, ...], T | Awaitable[T]]
    | Callable[Concatenate[Any, ...], T | Awaitable[T]]
    | Callable[..., T | Awaitable[T]]
)
"""A function of any arguments, plain or async. The last line says it all; those before it tell type checkers that the
parameters of a lambda may be anything, which they would not infer otherwise."""

_GENERATOR: Final = "a generator runs nothing when it is called: give a function that returns a value"
_DESCRIPTOR: Final = "put it below @classmethod and @staticmethod, next to the function"


def place_of(function: Callable[..., Any]) -> str:
    """Return the module and the qualified name, the same in every process; an object has those of its class."""
    called = _unbound(function)
    named = called if hasattr(called, "__qualname__") else cast("Any", type(called))
    return f"{named.__module__}.{named.__qualname__}"


def is_async(function: Callable[..., Any]) -> bool:
    """Return True if a call returns a coroutine: by an async function, below partials, or an object's `__call__`."""
    return iscoroutinefunction(_code_of(function))


def checked_function(setting: str, function: F) -> F:
    """Return the function; raise ConfigurationError for a generator function, whose call would run nothing."""
    if isinstance(cast("Any", function), classmethod | staticmethod):
        raise ConfigurationError(setting, place_of(function), _DESCRIPTOR)
    code = _code_of(function)
    if isgeneratorfunction(code) or isasyncgenfunction(code):
        raise ConfigurationError(setting, place_of(function), _GENERATOR)
    return function


def named_only(example: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Raise ConfigurationError, with an example, if a decorator's options are not given by name, in parentheses."""

    def checked(maker: Callable[P, T]) -> Callable[P, T]:
        @wraps(maker)
        def made(*args: P.args, **kwargs: P.kwargs) -> T:
            if args:
                remedy = f"give its options by name, in parentheses: {example}"
                raise ConfigurationError(maker.__name__, args[0], remedy)
            return maker(*args, **kwargs)

        return made

    return checked


def _unbound(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


def _code_of(function: Any) -> Any:
    """Return what runs when the function is called: of an object, its `__call__`."""
    called = _unbound(function)
    return called if isroutine(called) or isinstance(called, type) else type(called).__call__
