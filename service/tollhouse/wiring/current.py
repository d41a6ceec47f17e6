"""The request that the running task serves: what our middleware and plugin set, for the decorators below them."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from contextvars import ContextVar
from typing import Any, Final, Protocol

from tollhouse.wiring.tollhouse import Tollhouse


class ServedSource(Protocol):
    """What serves a request."""

    async def tollhouse(self) -> Tollhouse | None:
        """Return the Tollhouse of the running event loop; None if the request has only a limiter."""
        ...


class ServedRequest(Protocol):
    """A request, in the event loop that serves it."""

    @property
    def source(self) -> ServedSource:
        """What serves it."""
        ...

    @property
    def loop(self) -> AbstractEventLoop:
        """The event loop that serves it, which its threads may use."""
        ...


CURRENT: Final[ContextVar[Any]] = ContextVar("tollhouse_request", default=None)
"""The request of the running task, which `asgi` sets; read it with `served_request`."""


def served_request() -> ServedRequest | None:
    """Return the request that the running task serves, or has outlived; None if it never served one."""
    return CURRENT.get()
