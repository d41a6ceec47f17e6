"""A bounded pool of threads with a bounded queue, for calls that would block the event loop.

A place in the pool belongs to a call until the call has really ended. A caller that gives up takes its call out of
the queue; a thread that has begun cannot be stopped and keeps its place, so the bound holds for real work. Threads are
daemons: a call that never ends does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar, TypeVarTuple, cast

from tollhouse.errors import Overloaded

_RETRY_AFTER_MS: Final = 1_000
"""When to come back to a full queue in which calls may wait without a limit."""

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


class WorkerPool:
    """Runs at most `threads` calls at once and queues at most `queued` more.

    `work` names the calls in errors. A call waits for a thread for at most `wait_ms`; without a limit if it is None.
    With `finish`, a caller that is cancelled waits until its call has ended, if a thread has begun it.
    """

    def __init__(
        self, work: str, threads: int, *, queued: int, wait_ms: int | None = None, finish: bool = False
    ) -> None:
        self._work = work
        self._wait_s = None if wait_ms is None else wait_ms / 1000
        self._retry_after_ms = _RETRY_AFTER_MS if wait_ms is None else wait_ms
        self._finish = finish
        self._places = threading.BoundedSemaphore(threads + queued)
        self._threads = _Threads(threads)
        weakref.finalize(self, self._threads.close)

    async def run(
        self,
        function: Callable[[*_Arguments], _Result] | Callable[[*_Arguments], Awaitable[_Result]],
        *arguments: *_Arguments,
    ) -> _Result:
        """Run a function in a thread and return its result; an awaitable that it returns is awaited on the loop.

        Raises Overloaded at once when every place is taken, and when no thread was free in time; then nothing ran.
        """
        self._occupy()
        job: Future[_Outcome] = Future()
        try:
            value = (await self._outcome(job, partial(function, *arguments))).result()
            return cast("_Result", await value if inspect.isawaitable(value) else value)
        finally:
            job.add_done_callback(self._end)

    async def run_on_loop(
        self, function: Callable[[*_Arguments], Awaitable[_Result]], *arguments: *_Arguments
    ) -> _Result:
        """Run an async function, which needs a place but no thread, and return its result."""
        self._occupy()
        try:
            return await function(*arguments)
        except SystemExit as error:
            raise _as_failure(error) from error
        finally:
            self._places.release()

    def require_place(self) -> None:
        """Raise Overloaded if every place is taken, as `run` would now."""
        self._occupy()
        self._places.release()

    def overloaded(self) -> Overloaded:
        """Return the error of a call that found no place, or no thread in time."""
        return Overloaded(self._work, self._retry_after_ms)

    def close(self) -> None:
        """Refuse the calls that are queued; those that run end by themselves."""
        self._threads.close()

    async def _outcome(self, job: Future[_Outcome], call: Callable[[], Any]) -> _Outcome:
        done = asyncio.wrap_future(job)
        try:
            self._threads.add(job, call)
            await asyncio.wait((done,), timeout=self._wait_s)
            if self._threads.remove(job) or job.cancelled():
                raise self.overloaded()
            await asyncio.wait((done,))
            return done.result()
        except asyncio.CancelledError:
            if self._finish and not self._threads.remove(job):
                await asyncio.wait((done,))
            raise
        finally:
            self._threads.remove(job)  # before it is cancelled, so that a thread takes no job that is
            done.cancel()

    def _end(self, job: Future[_Outcome]) -> None:
        """Release the place, and close a coroutine that nothing awaited, because its caller had left."""
        self._places.release()
        if not job.cancelled() and inspect.iscoroutine(coroutine := job.result().value):
            coroutine.close()

    def _occupy(self) -> None:
        if not self._places.acquire(blocking=False):
            raise self.overloaded()


class _Outcome:
    """What a call returned or raised: a value, because futures change the meaning of some exceptions.

    As a context it ends what is raised inside: it is an error of the call's caller, and no end of the thread.
    """

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        self.error = error
        return True

    def result(self) -> Any:
        if self.error is None:
            return self.value
        if isinstance(self.error, Exception):
            raise self.error
        raise _as_failure(self.error) from self.error


class _Threads:
    """Runs jobs in at most `threads` threads; one more is started when no other is idle."""

    def __init__(self, threads: int) -> None:
        self._startable = threads
        self._idle = 0
        self._closed = False
        self._queue: OrderedDict[Future[_Outcome], Callable[[], Any]] = OrderedDict()
        self._changed = threading.Condition()

    def add(self, job: Future[_Outcome], call: Callable[[], Any]) -> None:
        """Queue a job; it is cancelled if the pool is closed."""
        with self._changed:
            if self._closed:
                job.cancel()
                return
            if self._idle <= len(self._queue) and self._startable:
                threading.Thread(target=self._work, name="tollhouse-worker", daemon=True).start()
                self._startable -= 1
                self._idle += 1
            self._queue[job] = call
            self._changed.notify()

    def remove(self, job: Future[_Outcome]) -> bool:
        """Cancel a job that is queued; return False if it is not, because a thread has taken it or it was cancelled."""
        with self._changed:
            is_queued = self._queue.pop(job, None) is not None
        if is_queued:
            job.cancel()
        return is_queued

    def close(self) -> None:
        """Cancel the jobs that have not begun, and end each thread when its job has ended."""
        with self._changed:
            self._closed = True
            queued = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for job in queued:
            job.cancel()

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            job, outcome = taken[0], _outcome_of(taken[1])
            del taken
            with self._changed:
                self._idle += 1  # before the caller learns it, who may call again at once
            job.set_result(outcome)
            del job, outcome

    def _take(self) -> tuple[Future[_Outcome], Callable[[], Any]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            self._idle -= 1
            if not self._queue:
                return None
            job, call = self._queue.popitem(last=False)
            job.set_running_or_notify_cancel()
            return job, call


def _outcome_of(call: Callable[[], Any]) -> _Outcome:
    with _Outcome() as outcome:
        outcome.value = call()
    return outcome


def _as_failure(error: BaseException) -> RuntimeError:
    """Return an error that ends one call, for one that would end a task, the loop or the process."""
    return RuntimeError(f"the call raised {type(error).__name__}")
