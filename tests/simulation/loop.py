"""An event loop on virtual time: instead of waiting, it moves its clock.

Nothing here depends on the machine: there are no sockets, no threads and no real time, callbacks run in the order in
which they were scheduled, and tasks have hashes of their own making, so that sets of tasks, which asyncio itself keeps
too, have the same order in every process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final

SPINS_MAX: Final = 20_000
"""Rounds of the loop without any time passing, after which a program counts as spinning."""


class Stuck(Exception):
    """The program cannot go on: nothing is scheduled, or it runs and no time passes."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose clock starts at 0; `lost` has what no caller received: exceptions of tasks and callbacks.

    Timers of the same time run in the order in which they were made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[str] = []
        self._now_s = 0.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._made = count()
        self._spins = 0
        numbers = count(1)

        def make_task(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> NumberedTask:
            return NumberedTask(work, next(numbers), loop=loop, **options)

        self.set_task_factory(make_task)  # type: ignore[arg-type] - its type has no options
        self.set_exception_handler(self._keep_lost)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now_s

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call at a virtual time, or at once when it has passed."""
        timer = _Timer(when, callback, args, context)
        heappush(self._timers, (when, next(self._made), timer))
        return timer  # type: ignore[return-value] - it is one by its methods

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call after a virtual time."""
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        """Call in the next round."""
        handle = _Handle(callback, args, context)
        self._ready.append(handle)
        return handle  # type: ignore[return-value] - it is one by its methods

    def run_in_executor(self, *_: Any) -> Any:
        """Raise: the order of threads is not ours."""
        raise AssertionError("a simulation has no threads")

    def unschedule(self) -> None:
        """Drop all callbacks and timers: tasks can still be cancelled."""
        self._ready.clear()
        self._timers.clear()
        self._spins = 0

    def _run_once(self) -> None:
        """Run what is ready; when nothing is, move the clock to the next timer first."""
        timers = self._timers
        while timers and timers[0][2].ended:
            heappop(timers)
        if not self._ready and not self._stopping:
            self._leap()
        while timers and timers[0][0] <= self._now_s:
            self._ready.append(heappop(timers)[2])
        self._spins += 1
        if self._spins > SPINS_MAX:
            raise Stuck(f"the loop turned {SPINS_MAX} times at {self._now_s:.3f} s")
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.ended:
                self._call(handle)

    def _call(self, handle: _Handle) -> None:
        try:
            handle.context.run(handle.callback, *handle.args)
        except Exception as error:  # noqa: BLE001 - the exception handler keeps it
            self.call_exception_handler({"message": f"Exception in callback {handle.callback!r}", "exception": error})

    def _leap(self) -> None:
        """Move the clock to the next timer."""
        if not self._timers:
            raise Stuck("every task waits, and nothing is scheduled that could wake one")
        if self._timers[0][0] > self._now_s:
            self._now_s, self._spins = self._timers[0][0], 0

    def _keep_lost(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.lost.append(f"{context['message']}: {context.get('exception')!r}")

    def _write_to_self(self) -> None:
        """Do nothing: no other thread has to wake the loop."""


class _Handle:
    """What asyncio's own handle does, without what it keeps for debugging, which cost a tenth of every run."""

    __slots__ = ("args", "callback", "context", "ended")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self.callback = callback
        self.args = args
        self.context = copy_context() if context is None else context
        self.ended = False

    def cancel(self) -> None:
        self.ended = True
        self.args = ()

    def cancelled(self) -> bool:
        return self.ended


class _Timer(_Handle):
    """A handle with a time."""

    __slots__ = ("at_s",)

    def __init__(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        super().__init__(callback, args, context)
        self.at_s = when

    def when(self) -> float:
        return self.at_s


class NumberedTask(asyncio.Task[Any]):
    """A task that is hashed by its number in the order of creation; asyncio's own hash is an address in memory."""

    def __init__(self, work: Coroutine[Any, Any, Any], number: int, **options: Any) -> None:
        self._number = number
        super().__init__(work, **options)

    def __hash__(self) -> int:
        return self._number


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, Any]]) -> tuple[Any, VirtualLoop]:
    """Run a program on a new loop until it ends; return what it returned, and the loop, which is closed."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop)), loop
    except Stuck:
        loop.unschedule()
        raise
    finally:
        with contextlib.suppress(Stuck):
            loop.run_until_complete(_end_tasks())
        loop.close()


def unfinished(loop: asyncio.AbstractEventLoop, *, but: asyncio.Task[Any] | None = None) -> list[str]:
    """Return the names of the tasks of the loop that have not ended."""
    tasks = [task for task in asyncio.all_tasks(loop) if task is not but]
    return sorted(getattr(task.get_coro(), "__qualname__", "a task") for task in tasks)


async def _end_tasks() -> None:
    """Cancel every task but this one, and wait for their ends."""
    tasks = sorted(asyncio.all_tasks() - {asyncio.current_task()}, key=hash)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
