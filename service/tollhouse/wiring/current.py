"""The request that the running task serves: what our middleware and plugin set, for the decorators below them."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Protocol

from tollhouse.errors import InvalidInput, OutOfBounds
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

    def answer_input(self, error: InvalidInput) -> None:
        """Answer with 422 if the application does not answer by itself; the request is charged as any other."""
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


class _AnsweredInput:
    """Answers the request with what its body raises about a value that a client may have sent, and lets it pass on.

    An error about the type of a value passes on alone: only the application can be at fault.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, OutOfBounds) and (request := served_request()) is not None:
            request.answer_input(error)


ANSWERED_INPUT: Final = _AnsweredInput()
"""Goes around code that names results by the arguments of a call."""
