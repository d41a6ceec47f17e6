"""A receiver: gets the outcome of what was started for it, as a future does, at once and without the event loop.

A future tells its callbacks one turn of the event loop later, each by a handle and a context of its own. What only
writes the outcome to a socket needs neither.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol


class Receiver(Protocol):
    """Gets one outcome: a future, or what stands in its place.

    Its methods neither raise nor start anything like what it waits for: outcomes of others come after its own.
    """

    def done(self) -> bool:
        """Return True if it has its outcome, or wants none any more."""
        ...

    def set_result(self, result: Any, /) -> None:
        """Accept the outcome; not if it is done."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Accept an error in the place of an outcome; not if it is done."""
        ...


def resolve(receiver: Receiver, outcome: object) -> None:
    """Set the outcome of a receiver that still wants one."""
    if not receiver.done():
        receiver.set_result(outcome)


def fail(receiver: Receiver, error: BaseException) -> None:
    """Set the error of a receiver that still wants an outcome."""
    if not receiver.done():
        receiver.set_exception(error)


def hand_over(future: asyncio.Future[Any], receiver: Receiver) -> None:
    """Pass the outcome of a future on to the receiver when it is done, a cancellation as an error."""

    def on_done(_: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is None:
            resolve(receiver, future.result())
        else:
            fail(receiver, error)

    future.add_done_callback(on_done)
