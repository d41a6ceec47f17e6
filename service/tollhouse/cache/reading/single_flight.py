"""Single flight: concurrent callers of one process share one piece of work per key.

A flight can be joined while it is open, which is until it sends the store the call whose reply all callers get. So
every caller that shares the reply came before that call, and a reply that is valid when the store sends it is valid
for each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, TypeVar

from tollhouse.cache.reading.error_copies import copy_of
from tollhouse.cache.reading.wait_graph import RunningLoad
from tollhouse.runtime.home_loop import HomeLoop, running_loop

T = TypeVar("T")


class NoValue(Exception):
    """What work raises that found no value for its starter; callers that joined have work of their own."""


class Flight(Generic[T]):
    """One piece of work in progress; started by `SingleFlight.start`. `number` counts the flights before it."""

    def __init__(self, work: Callable[[Flight[T]], Coroutine[Any, Any, T]], load: RunningLoad, number: int) -> None:
        self.number = number
        self._load = load
        self._waiting = 0
        self._open = True
        self._starter_left = False
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self.task = asyncio.get_running_loop().create_task(work(self), context=load.context())

    @property
    def is_open(self) -> bool:
        """Whether a caller may still join."""
        return self._open and not self.task.done()

    @property
    def concerns_starter_alone(self) -> bool:
        """Whether the outcome means nothing to callers that joined: NoValue, or a failure after the starter left."""
        if not self.task.done() or self.task.cancelled():
            return False
        error = self.task.exception()
        return isinstance(error, NoValue) or (error is not None and self._starter_left)

    def close(self) -> None:
        """Refuse further callers."""
        self._open = False

    def reopen(self) -> None:
        """Accept callers again, after a reply that decided nothing."""
        self._open = True

    async def lead(self) -> T:
        """Return the result of the work, or raise its error; for the caller that started it."""
        try:
            await self.ended()
        finally:
            self._starter_left = not self.task.done()
        return self.result()

    async def ended(self, wait_s: float | None = None) -> bool:
        """Wait until the work has ended; return False if it has not within `wait_s`.

        A caller that leaves leaves the work to the others; the last one to leave cancels it. Raises LoadFailed if the
        work waits for the caller.
        """
        with self._load.awaited():
            self._waiting += 1
            try:
                await asyncio.wait((self.task,), timeout=wait_s)
                return self.task.done()
            finally:
                self._waiting -= 1
                if self._waiting == 0 and not self.task.done():
                    self.close()
                    self.task.cancel()

    def result(self) -> T:
        """Return the result of work that has ended, or raise its error, of which each caller gets its own copy."""
        error = self.task.exception()
        if error is None:
            return self.task.result()
        if self._error is None:
            self._error, self._traceback = error, error.__traceback__
            raise error
        raise copy_of(error, self._traceback)


class SingleFlight(Generic[T]):
    """De-duplicates concurrent work by name; each flight ends by itself or with `aclose`."""

    def __init__(self) -> None:
        self.started = 0
        self._latest: dict[str, Flight[T]] = {}
        self._tasks: set[asyncio.Task[T]] = set()
        self._home = HomeLoop("cache")

    def find(self, name: str, since: int = 0) -> Flight[T] | None:
        """Return the flight of a name that can be joined now, or None.

        `since` leaves out flights that began before `started` had this value.
        """
        if running_loop() is not self._home.loop:
            self._home.enter()
        flight = self._latest.get(name)
        return flight if flight is not None and flight.is_open and flight.number >= since else None

    def start(self, name: str, work: Callable[[Flight[T]], Coroutine[Any, Any, T]], load: RunningLoad) -> Flight[T]:
        """Start work that other callers can join under `name`, in place of an earlier flight."""
        flight = self._latest[name] = Flight(work, load, self.started)
        self.started += 1
        self._tasks.add(flight.task)
        flight.task.add_done_callback(lambda task: self._on_done(name, flight, load, task))
        return flight

    async def aclose(self) -> None:
        """Cancel the flights in progress, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _on_done(self, name: str, flight: Flight[T], load: RunningLoad, task: asyncio.Task[T]) -> None:
        load.end()
        self._tasks.discard(task)
        if self._latest.get(name) is flight:
            del self._latest[name]
        if not task.cancelled():
            task.exception()  # callers that waited have it; without any, the log needs no warning about it
