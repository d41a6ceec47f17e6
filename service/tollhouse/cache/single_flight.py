"""Work that several callers of one process wait for, done once.

A flight may be joined while it is open, that is until it asks the store the question whose answer all of
its passengers get: then everyone who shares the answer came before the question, and an answer that was
true when the store gave it is true for each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Flight(Generic[T]):
    """One piece of work under way; begun by `Flights.start`."""

    def __init__(self, work: Callable[[Flight[T]], Coroutine[Any, Any, T]]) -> None:
        self._waiting = 0
        self._open = True
        self.task = asyncio.create_task(work(self))

    @property
    def joinable(self) -> bool:
        """Tell whether the answer to come is good for someone who comes now."""
        return self._open and not self.task.done()

    def shut(self) -> None:
        """Let nobody join from here on."""
        self._open = False

    def reopen(self) -> None:
        """Let others join again: the answer that came settled nothing."""
        self._open = True

    async def wait(self) -> T:
        """Give what the work gives, or raise what it raises.

        A caller that is cancelled leaves the others their work; the last one to leave ends it.
        """
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self._waiting -= 1
            if self._waiting == 0 and not self.task.done():
                self.shut()
                self.task.cancel()


class Flights(Generic[T]):
    """The flights of one process, at most one of a name to be joined; each ends by itself or with `aclose`."""

    def __init__(self) -> None:
        self._latest: dict[str, Flight[T]] = {}
        self._tasks: set[asyncio.Task[T]] = set()

    def find(self, name: str) -> Flight[T] | None:
        """Give the flight that may be joined now, if there is one."""
        flight = self._latest.get(name)
        return flight if flight is not None and flight.joinable else None

    def start(self, name: str, work: Callable[[Flight[T]], Coroutine[Any, Any, T]]) -> Flight[T]:
        """Begin work that others can join under `name`, in place of an earlier flight."""
        flight = self._latest[name] = Flight(work)
        self._tasks.add(flight.task)
        flight.task.add_done_callback(lambda task: self._landed(name, flight, task))
        return flight

    async def aclose(self) -> None:
        """End what is under way, and wait until it has ended."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _landed(self, name: str, flight: Flight[T], task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if self._latest.get(name) is flight:
            del self._latest[name]
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may have, and that is no news for the log
