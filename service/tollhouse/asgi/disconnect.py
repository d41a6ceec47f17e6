"""Work for a client that may go away before it has the answer, and responses that end only with the server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from tollhouse.asgi.response import HttpResponse
from tollhouse.asgi.types import Receive, Scope
from tollhouse.errors import StoreError

T = TypeVar("T")

GONE: Final = HttpResponse(status=499, body=b"")
"""What a server logs of a request whose client did not wait; no client reads it."""
_ON_STOP: Final = "tollhouse.on_stop"


async def while_connected(
    receive: Receive, work: Coroutine[Any, Any, T], give_back: Callable[[T], Awaitable[object]] | None = None
) -> T | None:
    """Return the result of the work, or None if the client disconnects before: then the work is cancelled.

    A result that no client receives, also because the caller is cancelled, is given back if it can be. `receive` must
    have returned the whole body before.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_disconnect(receive))
    is_received = False
    try:
        if await _is_done_first(working, leaving):
            is_received = True
            return working.result()
        return leaving.result()
    finally:
        if give_back is not None and not is_received and _has_result(working):
            with suppress(StoreError):
                await give_back(working.result())


def on_stop(scope: Scope, action: Callable[[], object]) -> None:
    """Make the server call `action` if it stops while it serves this request, which would not end by itself."""
    scope[_ON_STOP] = action


def stop(scope: Scope) -> None:
    """Call what `on_stop` was given for this request, if anything was; the server waits for its response then."""
    if (action := scope.get(_ON_STOP)) is not None:
        action()


async def _is_done_first(task: asyncio.Task[Any], other: asyncio.Task[Any]) -> bool:
    """Wait until one of two tasks is done, and end both; return True if the other one was not done then."""
    try:
        await asyncio.wait((task, other), return_when=asyncio.FIRST_COMPLETED)
        return not other.done()
    finally:
        task.cancel()
        other.cancel()
        await asyncio.wait((task, other))


def _has_result(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
