"""Single flight: concurrent callers of one process share one piece of work per key.

A flight can be joined while it is open, which is until it sends the store the call whose reply all callers get. So
every caller that shares the reply came before that call, and a reply that is valid when the store sends it is valid
for each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from tollhouse.runtime.home_loop import HomeLoop, running_loop

T = TypeVar("T")


class Flight(Generic[T]):
    """One piece of work in progress; started by `SingleFlight.start`."""

    def __init__(self, work: Callable[[Flight[T]], Coroutine[Any, Any, T]]) -> None:
        self._waiting = 0
        self._open = True
        self.task = asyncio.create_task(work(self))

    @property
    def is_open(self) -> bool:
        """Whether a caller may still join."""
        return self._open and not self.task.done()

    def close(self) -> None:
        """Refuse further callers."""
        self._open = False

    def reopen(self) -> None:
        """Accept callers again, after a reply that decided nothing."""
        self._open = True

    async def wait(self) -> T:
        """Return the result of the work, or raise its error.

        A cancelled caller leaves the work to the others; the last one to leave cancels it.
        """
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self._waiting -= 1
            if self._waiting == 0 and not self.task.done():
                self.close()
                self.task.cancel()


class SingleFlight(Generic[T]):
    """De-duplicates concurrent work by name; each flight ends by itself or with `aclose`."""

    def __init__(self) -> None:
        self._latest: dict[str, Flight[T]] = {}
        self._tasks: set[asyncio.Task[T]] = set()
        self._home = HomeLoop("cache")

    def find(self, name: str) -> Flight[T] | None:
        """Return the flight of a name that can be joined now, or None."""
        if running_loop() is not self._home.loop:
            self._home.enter()
        flight = self._latest.get(name)
        return flight if flight is not None and flight.is_open else None

    def start(self, name: str, work: Callable[[Flight[T]], Coroutine[Any, Any, T]]) -> Flight[T]:
        """Start work that other callers can join under `name`, in place of an earlier flight."""
        flight = self._latest[name] = Flight(work)
        self._tasks.add(flight.task)
        flight.task.add_done_callback(lambda task: self._on_done(name, flight, task))
        return flight

    async def aclose(self) -> None:
        """Cancel the flights in progress, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _on_done(self, name: str, flight: Flight[T], task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if self._latest.get(name) is flight:
            del self._latest[name]
        if not task.cancelled():
            task.exception()  # callers that waited have it; without any, the log needs no warning about it
