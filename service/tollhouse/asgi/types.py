"""The types of ASGI, and values that may depend on the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from inspect import isawaitable
from typing import Any, TypeVar, cast

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]
"""Any ASGI application: each framework has types of its own for scope and messages."""
Headers = list[tuple[bytes, bytes]]

T = TypeVar("T")
PerRequest = T | Callable[[Scope], T | Awaitable[T]]
"""A value, or a function of the ASGI scope that returns it, plain or async."""


async def resolve(given: T | Callable[..., T | Awaitable[T]], *args: Any, **kwargs: Any) -> T:
    """Return the value; if it is a function, plain or async, call it with the arguments."""
    value = given(*args, **kwargs) if callable(given) else given
    return await cast("Awaitable[T]", value) if isawaitable(value) else cast("T", value)


def header_of(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a request header, by its name in lower case; None if it was not sent."""
    for given, value in scope.get("headers", ()):
        if given.lower() == name:
            return value.strip(b" \t").decode("latin-1")
    return None
