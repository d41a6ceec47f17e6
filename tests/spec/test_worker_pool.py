"""The bounded thread pool."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import time
import weakref

import pytest

from tollhouse.errors import Overloaded
from tollhouse.worker_pool import WorkerPool

PATIENCE_S = 10


@pytest.fixture
def gate():
    """Work that reports its start and then waits for the gate to open; the gate is open at the end of every test."""
    gate = Gate()
    yield gate
    gate.opened.set()


class Gate:
    def __init__(self):
        self.opened = threading.Event()
        self.begun = threading.Semaphore(0)
        self.running = 0

    def work(self):
        self.running += 1
        self.begun.release()
        assert self.opened.wait(PATIENCE_S)
        return "done"

    async def wait_for(self, pieces):
        for _ in range(pieces):
            assert await asyncio.to_thread(self.begun.acquire, timeout=PATIENCE_S)


async def test_no_more_calls_run_than_there_are_threads_and_none_waits_beyond_the_queue(gate):
    """P10: with two threads and a queue of three a sixth call is refused at once, and the five are served."""
    pool = WorkerPool("hashing", 2, queued=3)
    calls = [asyncio.create_task(pool.run(gate.work)) for _ in range(5)]
    await gate.wait_for(2)

    with pytest.raises(Overloaded) as refused:
        await pool.run(gate.work)

    assert gate.running == 2
    assert (refused.value.what, refused.value.retry_after_ms) == ("hashing", 1_000)
    gate.opened.set()
    assert await asyncio.gather(*calls) == ["done"] * 5
    assert await pool.run(lambda: "again") == "again"
    pool.close()


async def test_a_call_that_waits_too_long_is_refused_and_never_begins(gate, monkeypatch):
    """A call that no thread took within `wait_ms` leaves the queue; one that has begun is waited for."""
    wait_s = 60
    pool = WorkerPool("hashing", 1, queued=8, wait_ms=wait_s * 1000)
    running = asyncio.create_task(pool.run(gate.work))
    await gate.wait_for(1)
    waiting = asyncio.create_task(pool.run(gate.work))
    await asyncio.sleep(0)

    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda _: time.monotonic() + wait_s)
    with pytest.raises(Overloaded) as refused:
        await waiting

    assert refused.value.retry_after_ms == wait_s * 1000
    gate.opened.set()
    assert await running == "done"
    assert gate.running == 1
    pool.close()


async def test_a_caller_that_leaves_frees_no_thread_early(gate):
    """A cancelled call leaves the queue if it has not begun; one that runs keeps its place until it ends."""
    pool = WorkerPool("hashing", 1, queued=1)
    running = asyncio.create_task(pool.run(gate.work))
    await gate.wait_for(1)
    waiting = asyncio.create_task(pool.run(gate.work))
    await asyncio.sleep(0)

    for call in (running, waiting):
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    next_in_line = asyncio.create_task(pool.run(gate.work))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await pool.run(gate.work)

    assert gate.running == 1
    gate.opened.set()
    assert await next_in_line == "done"
    assert gate.running == 2
    pool.close()


async def test_a_caller_that_leaves_waits_for_a_call_that_has_begun_if_calls_finish(gate):
    """With `finish` a cancelled caller returns when its call has ended; one whose call never began returns at once."""
    pool = WorkerPool("hashing", 1, queued=1, finish=True)
    running = asyncio.create_task(pool.run(gate.work))
    await gate.wait_for(1)
    waiting = asyncio.create_task(pool.run(gate.work))
    await asyncio.sleep(0)

    waiting.cancel()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for _ in range(20):
        await asyncio.sleep(0)
    assert not running.done()
    gate.opened.set()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert gate.running == 1
    pool.close()


async def test_an_error_of_a_call_whose_caller_left_disturbs_no_one_else(gate):
    """With `finish` the error of a call whose caller was cancelled ends with it."""
    pool = WorkerPool("hashing", 1, queued=0, finish=True)

    def fail():
        gate.work()
        raise ZeroDivisionError

    running = asyncio.create_task(pool.run(fail))
    await gate.wait_for(1)
    running.cancel()
    await asyncio.sleep(0)
    gate.opened.set()

    with pytest.raises(asyncio.CancelledError):
        await running
    pool.close()


async def test_a_full_pool_says_so_before_it_is_called(gate):
    """`require_place` raises exactly if `run` would now, and takes no place itself."""
    pool = WorkerPool("hashing", 1, queued=0)
    for _ in range(3):
        pool.require_place()

    running = asyncio.create_task(pool.run(gate.work))
    await gate.wait_for(1)
    with pytest.raises(Overloaded):
        pool.require_place()

    gate.opened.set()
    await running
    pool.require_place()
    pool.close()


async def test_a_coroutine_function_runs_on_the_loop_and_needs_a_place_but_no_thread(gate):
    """A coroutine function starts although the only thread is busy; it counts against the bound until it ends."""
    pool, release = WorkerPool("models", 1, queued=1), asyncio.Event()
    running = asyncio.create_task(pool.run(gate.work))
    await gate.wait_for(1)

    async def call(value):
        await release.wait()
        assert threading.current_thread() is threading.main_thread()
        return value

    on_loop = asyncio.create_task(pool.run_on_loop(call, 7))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await pool.run_on_loop(call, 8)
    release.set()

    assert await on_loop == 7
    assert await pool.run_on_loop(call, 9) == 9
    gate.opened.set()
    await running
    pool.close()


async def test_an_error_in_a_call_reaches_its_caller():
    """The caller gets what the function raises, in a thread or on the loop, and the place is free again."""
    pool = WorkerPool("hashing", 1, queued=0)

    async def fail():
        raise ZeroDivisionError

    for _ in range(3):
        for run, function in ((pool.run_on_loop, fail), (pool.run, fail), (pool.run, lambda: 1 // 0)):
            with pytest.raises(ZeroDivisionError):
                await run(function)

    pool.close()


#   what a call raises, what its caller gets
ENDS = [
    (StopIteration, RuntimeError),
    (SystemExit, RuntimeError),
    (KeyboardInterrupt, RuntimeError),
    (asyncio.CancelledError, RuntimeError),
    (GeneratorExit, RuntimeError),
    (concurrent.futures.CancelledError, concurrent.futures.CancelledError),
    (TimeoutError, TimeoutError),
]


@pytest.mark.parametrize(("raised", "caught"), ENDS, ids=[raised.__name__ for raised, _ in ENDS])
async def test_what_would_end_more_than_the_call_ends_the_call(raised, caught):
    """An exception that means something to futures, tasks, loops or the process is an error of one call."""
    pool = WorkerPool("hashing", 1, queued=0)

    def fail():
        raise raised

    async with asyncio.timeout(PATIENCE_S):
        for _ in range(2):
            with pytest.raises(caught) as error:
                await pool.run(fail)

    assert raised in (type(error.value), type(error.value.__cause__))
    assert await pool.run(lambda: "alive") == "alive"
    pool.close()


async def test_an_async_call_cannot_end_the_loop():
    """SystemExit out of an async function is an error of its call."""
    pool = WorkerPool("models", 1, queued=0)

    async def leave():
        raise SystemExit(3)

    for _ in range(3):
        with pytest.raises(RuntimeError) as error:
            await pool.run_on_loop(leave)
        assert isinstance(error.value.__cause__, SystemExit)
    pool.close()


async def test_what_a_function_returns_is_awaited():
    """An awaitable that a plain function returns is awaited on the loop, and its place is taken until it ends."""
    pool, release, returned = WorkerPool("models", 1, queued=0), asyncio.Event(), threading.Semaphore(0)

    async def wait(value):
        await release.wait()
        return value, threading.current_thread() is threading.main_thread()

    def later(value):
        returned.release()
        return wait(value)

    waiting = asyncio.create_task(pool.run(later, 7))
    assert await asyncio.to_thread(returned.acquire, timeout=PATIENCE_S)
    with pytest.raises(Overloaded):
        pool.require_place()
    release.set()

    assert await waiting == (7, True)
    assert await pool.run(lambda: "next") == "next"
    pool.close()


async def test_a_coroutine_whose_caller_left_is_closed(gate):
    """What a function returns to a caller that has left is not awaited, and its place is free again."""
    pool, begun = WorkerPool("models", 1, queued=1), []

    async def never():
        begun.append(1)

    def slow():
        gate.work()
        return never()

    call = asyncio.create_task(pool.run(slow))
    await gate.wait_for(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.opened.set()

    assert await pool.run(lambda: "next") == "next"
    assert begun == []
    pool.close()


async def test_a_call_that_left_the_queue_is_forgotten(gate):
    """A caller that leaves takes its arguments along, also while every thread is busy."""
    pool = WorkerPool("hashing", 1, queued=1)
    running = asyncio.create_task(pool.run(gate.work))
    await gate.wait_for(1)
    argument = Argument()
    alive = weakref.ref(argument)

    waiting = asyncio.create_task(pool.run(print, argument))
    await asyncio.sleep(0)
    del argument
    waiting.cancel()
    await asyncio.wait([waiting])
    del waiting
    gc.collect()

    assert alive() is None
    gate.opened.set()
    await running
    pool.close()


async def test_a_closed_pool_refuses_calls():
    """After `close` a call is Overloaded, and takes no place."""
    pool = WorkerPool("hashing", 1, queued=1)
    assert await pool.run(lambda: 1) == 1

    pool.close()

    for _ in range(3):
        with pytest.raises(Overloaded):
            await pool.run(lambda: 1)


async def test_a_thread_waits_for_the_next_call():
    """Calls one after the other run in one thread, so that what a thread has loaded is there for the next."""
    pool = WorkerPool("models", 4, queued=4)

    threads = {await pool.run(threading.get_ident) for _ in range(20)}

    assert len(threads) == 1
    pool.close()


async def test_a_pool_that_is_dropped_ends_its_threads():
    """A pool that its owner forgot to close leaves no thread behind."""
    pool = WorkerPool("models", 1, queued=0)
    thread = await pool.run(threading.current_thread)

    del pool
    gc.collect()
    await asyncio.to_thread(thread.join, PATIENCE_S)

    assert not thread.is_alive()


class Argument:
    pass


async def test_closing_refuses_queued_calls_and_lets_running_ones_end(gate):
    """After `close` a queued call is Overloaded, and a running one returns its result."""
    pool = WorkerPool("hashing", 1, queued=1)
    running = asyncio.create_task(pool.run(gate.work))
    await gate.wait_for(1)
    waiting = asyncio.create_task(pool.run(gate.work))
    await asyncio.sleep(0)

    pool.close()

    with pytest.raises(Overloaded):
        await waiting
    gate.opened.set()
    assert await running == "done"
    assert gate.running == 1
