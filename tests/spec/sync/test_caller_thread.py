"""Work that a thread does itself while it waits for a coroutine in another thread's loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from tollhouse.errors import ConfigurationError, LoadFailed
from tollhouse.sync.caller_thread import refuse_blocking, run_beside_loop, run_in_loop
from tollhouse.sync.loop_thread import LoopThread

LOCALS = threading.local()
STEP: ContextVar[str] = ContextVar("step", default="outside")
PATIENCE_S = 10


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The loop of another thread."""
    thread = LoopThread()
    yield thread.loop
    thread.close()


async def doubled(load: Callable[[], Awaitable[int]]) -> int:
    return 2 * await load()


async def untouched(_: Callable[[], Awaitable[int]]) -> int:
    return 7


def test_work_is_done_in_the_thread_that_waits(loop: asyncio.AbstractEventLoop) -> None:
    """It has the locals of its caller's thread, is done as often as it is awaited, and not at all if it is not."""
    LOCALS.number = 21

    assert run_beside_loop(loop, doubled, lambda: LOCALS.number) == 42
    assert run_beside_loop(loop, untouched, lambda: LOCALS.number) == 7


def test_work_has_the_context_of_the_task_that_awaits_it(loop: asyncio.AbstractEventLoop) -> None:
    """A variable of the context that the task has set is there, and one of the caller's thread is its own again."""

    async def make(load: Callable[[], Awaitable[str]]) -> str:
        STEP.set("inside")
        return await load()

    assert run_beside_loop(loop, make, STEP.get) == "inside"
    assert STEP.get() == "outside"


def test_calls_in_each_other_need_no_pool_of_threads(loop: asyncio.AbstractEventLoop) -> None:
    """A hundred levels deep the same thread does all the work."""

    def level(depth: int) -> int:
        return 1 if depth == 0 else run_beside_loop(loop, doubled, lambda: level(depth - 1)) // 2 + 1

    assert level(100) == 101


@pytest.mark.parametrize(
    ("raised", "expected"), [(KeyError("a"), KeyError), (StopIteration(), RuntimeError), (LoadFailed("a"), LoadFailed)]
)
def test_an_error_of_the_work_is_that_of_the_call(
    loop: asyncio.AbstractEventLoop, raised: Exception, expected: type[Exception]
) -> None:
    """It passes through the task; StopIteration becomes RuntimeError, as in a coroutine."""

    def work() -> int:
        raise raised

    with pytest.raises(expected):
        run_beside_loop(loop, doubled, work)


def test_the_end_of_a_thread_does_not_end_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    """SystemExit ends the caller's thread; the task has LoadFailed, and the loop goes on."""
    seen: list[BaseException] = []

    async def make(load: Callable[[], Awaitable[int]]) -> int:
        try:
            return await load()
        except LoadFailed as error:
            seen.append(error)
            raise

    def work() -> int:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run_beside_loop(loop, make, work)

    assert run_beside_loop(loop, doubled, lambda: 1) == 2
    assert [type(error) for error in seen] in ([LoadFailed], [])  # the task may be cancelled before it wakes


def test_orders_of_a_thread_that_ends_are_cancelled(loop: asyncio.AbstractEventLoop) -> None:
    """A task that waits behind the work that ended the thread does not wait for ever."""
    ends: list[str] = []
    seen = threading.Event()

    async def order(load: Callable[[], Awaitable[int]], *, is_last: bool) -> None:
        try:
            await load()
        except (LoadFailed, asyncio.CancelledError) as error:
            ends.append(type(error).__name__)
            if is_last:
                seen.set()

    async def make(load: Callable[[], Awaitable[int]]) -> int:
        tasks.extend(asyncio.create_task(order(load, is_last=last)) for last in (False, True))
        await asyncio.sleep(0)
        waiting.set()
        await asyncio.wait(tasks)
        return 1

    def work() -> int:
        assert waiting.wait(PATIENCE_S)
        raise KeyboardInterrupt

    tasks: list[asyncio.Task[None]] = []
    waiting = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        run_beside_loop(loop, make, work)

    assert seen.wait(PATIENCE_S)
    assert sorted(ends) == ["CancelledError", "LoadFailed"]


def test_nothing_waits_for_a_thread_that_has_left(loop: asyncio.AbstractEventLoop) -> None:
    """What was given to the coroutine raises LoadFailed when the call is over."""
    kept: list[Callable[[], Awaitable[int]]] = []

    async def keep(load: Callable[[], Awaitable[int]]) -> int:
        kept.append(load)
        return 1

    async def use_late() -> int:
        return await kept[0]()

    run_beside_loop(loop, keep, lambda: 1)

    with pytest.raises(LoadFailed):
        run_in_loop(loop, use_late())


def test_a_task_that_is_cancelled_before_the_work_asks_for_none(loop: asyncio.AbstractEventLoop) -> None:
    """Work whose taker has left meanwhile is not begun."""
    done: list[str] = []
    release = threading.Event()

    async def make(load: Callable[[], Awaitable[Any]]) -> int:
        first, second = (asyncio.create_task(load()) for _ in range(2))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])
        release.set()
        await first
        return len(done)

    def work() -> None:
        done.append("work")
        assert release.wait(PATIENCE_S)

    assert run_beside_loop(loop, make, work) == 1


def test_a_loop_that_ends_lets_the_thread_go() -> None:
    """A call that a loop cancels at its end raises in the thread, which does not wait for ever."""
    thread = LoopThread()
    began = threading.Event()
    outcomes: list[type[BaseException]] = []

    async def endless(_: Callable[[], Awaitable[int]]) -> int:
        began.set()
        await asyncio.Event().wait()
        return 1

    def call() -> None:
        try:
            run_beside_loop(thread.loop, endless, lambda: 1)
        except BaseException as error:  # noqa: BLE001 - whatever it is
            outcomes.append(type(error))

    caller = threading.Thread(target=call)
    caller.start()
    assert began.wait(PATIENCE_S)
    thread.close()
    caller.join(PATIENCE_S)

    assert [kind.__name__ for kind in outcomes] == ["CancelledError"]


async def test_a_thread_with_a_loop_must_not_wait() -> None:
    """A function that is not async is refused if an event loop runs in its thread."""
    with pytest.raises(ConfigurationError) as refused:
        refuse_blocking("cache", "place")

    assert refused.value.setting == "cache"
    await asyncio.to_thread(refuse_blocking, "cache", "place")
