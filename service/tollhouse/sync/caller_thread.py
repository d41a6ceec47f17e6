"""A thread that waits for a coroutine elsewhere, and does work for it meanwhile.

A function that is not async belongs into its caller's thread: a database connection or the locals of the thread are
there, and no pool of threads can run out while one such function calls another.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context, copy_context
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeVar, cast

from tollhouse.errors import ConfigurationError, LoadFailed
from tollhouse.runtime.home_loop import running_loop

T = TypeVar("T")
W = TypeVar("W")
_Order = tuple[Context, Future[W]]


def run_in_loop(loop: AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine in another thread's loop; block until it is done."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


def run_beside_loop(
    loop: AbstractEventLoop,
    make: Callable[[Callable[[], Awaitable[W]]], Coroutine[Any, Any, T]],
    work: Callable[[], W],
) -> T:
    """Return the result of the coroutine that `make` returns; when that awaits what it was given, do `work` here.

    `work` runs in the context of the task that awaits it.
    """
    orders: SimpleQueue[_Order[W] | None] = SimpleQueue()
    has_left = False  # read and written in the loop's thread alone

    async def ordered() -> W:
        if has_left:
            raise LoadFailed("the thread that would do the work waits no more")
        order: Future[W] = Future()
        orders.put((copy_context(), order))
        return await asyncio.wrap_future(order)

    async def served() -> T:
        nonlocal has_left
        try:
            return await make(ordered)
        finally:
            has_left = True
            orders.put(None)

    done = asyncio.run_coroutine_threadsafe(served(), loop)
    done.add_done_callback(lambda _: orders.put(None))  # also if the loop ended before the coroutine began
    try:
        while (order := orders.get()) is not None:
            _do(work, *order)
    except BaseException:
        done.cancel()
        _cancel(orders)
        raise
    return done.result()


def refuse_blocking(setting: str, place: str) -> None:
    """Raise ConfigurationError if an event loop runs in this thread: a function that is not async would block it."""
    if cast("AbstractEventLoop | None", running_loop()) is not None:
        raise ConfigurationError(setting, place, "it would block the event loop; make it async")


def _do(work: Callable[[], W], context: Context, order: Future[W]) -> None:
    """Do the work for an order that still has a taker."""
    if order.set_running_or_notify_cancel():
        with _Outcome(order):
            order.set_result(context.run(work))


class _Outcome:
    """Gives an error of the work to the task that ordered it; what ends this thread must not end the loop."""

    def __init__(self, order: Future[Any]) -> None:
        self._order = order

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if error is None:
            return False
        self._order.set_exception(_exception(error))
        return isinstance(error, Exception)


def _exception(error: BaseException) -> Exception:
    """Return what a task can raise for an error: no future holds StopIteration, and a loop ends with SystemExit."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    message = f"the function ended with {type(error).__name__}"
    other = RuntimeError(message) if isinstance(error, StopIteration) else LoadFailed(message)
    other.__cause__ = error
    return other


def _cancel(orders: SimpleQueue[_Order[Any] | None]) -> None:
    while not orders.empty():
        if (order := orders.get()) is not None:
            order[1].cancel()
