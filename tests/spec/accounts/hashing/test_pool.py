"""Hashes in threads: bounded queues with a deadline, and permits that belong to the hash."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests.spec.test_worker_pool import PATIENCE_S, Gate
from tollhouse.accounts.hashing.lanes import Turn
from tollhouse.accounts.hashing.pool import WAIT_MS, HashPool
from tollhouse.errors import ConfigurationError, Overloaded
from tollhouse.metrics import Metrics

LARGE = 1_000_000


@pytest.fixture
def gate():
    """Work that reports its start and waits for the gate, which is open at the end of every test."""
    gate = Gate()
    yield gate
    gate.opened.set()


def started(pool, function, *, trusted=False, memory_kib=1):
    return asyncio.create_task(pool.run(function, trusted=trusted, memory_kib=memory_kib))


def sample(metrics, name, **labels):
    return metrics.registry.get_sample_value(f"tollhouse_password_hash_{name}", labels) or 0


async def test_a_flood_leaves_the_trusted_lane_its_permits(gate):
    """With two permits a flood of untrusted hashes runs one at a time, and a trusted one begins at once."""
    metrics = Metrics()
    pool = HashPool(2, LARGE, metrics)
    flood = [started(pool, gate.work) for _ in range(9)]
    await gate.wait_for(1)

    with pytest.raises(Overloaded):
        await pool.run(gate.work, trusted=False, memory_kib=1)
    with pytest.raises(Overloaded):
        pool.require_place(trusted=False)
    pool.require_place(trusted=True)
    assert await pool.run(lambda: "the owner", trusted=True, memory_kib=1) == "the owner"

    assert gate.running == 1
    assert sample(metrics, "queue", lane="untrusted") == 8
    assert sample(metrics, "refused_total", lane="untrusted", reason="full") == 2
    assert sample(metrics, "refused_total", lane="trusted", reason="full") == 0
    gate.opened.set()
    assert await asyncio.gather(*flood) == ["done"] * 9
    assert sample(metrics, "queue", lane="untrusted") == 0
    pool.close()


async def test_those_who_are_refused_come_back_at_different_times(gate):
    """Overloaded names a time between two and four seconds, at random."""
    chances = iter([0.0, 0.5, 1.0])
    pool = HashPool(1, LARGE, Metrics(), jitter=lambda: next(chances))
    flood = [started(pool, gate.work) for _ in range(9)]
    await gate.wait_for(1)

    refused = [await asyncio.gather(started(pool, int), return_exceptions=True) for _ in range(3)]

    assert [error.retry_after_ms for (error,) in refused] == [WAIT_MS, 3 * WAIT_MS // 2, 2 * WAIT_MS]
    gate.opened.set()
    await asyncio.gather(*flood)
    pool.close()


async def test_a_hash_that_waits_too_long_is_refused_and_never_begins(gate, monkeypatch):
    """After two seconds in the queue a caller is Overloaded; what has begun is waited for."""
    metrics = Metrics()
    pool = HashPool(1, LARGE, metrics)
    running = started(pool, gate.work)
    await gate.wait_for(1)
    waiting = started(pool, gate.work)
    await asyncio.sleep(0)

    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda _: time.monotonic() + WAIT_MS / 1000)
    with pytest.raises(Overloaded):
        await waiting

    assert sample(metrics, "refused_total", lane="untrusted", reason="late") == 1
    assert sample(metrics, "queue", lane="untrusted") == 0
    gate.opened.set()
    assert await running == "done"
    assert gate.running == 1
    pool.close()


async def test_a_client_that_leaves_frees_no_permit(gate):
    """The permit is the hash's: a cancelled caller waits for it, and the next hash begins when it has ended."""
    pool = HashPool(1, LARGE, Metrics())
    running = started(pool, gate.work)
    await gate.wait_for(1)
    following = started(pool, gate.work)

    running.cancel()
    for _ in range(20):
        await asyncio.sleep(0)

    assert gate.running == 1
    assert not running.done()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await following == "done"
    pool.close()


async def test_not_even_an_impatient_client_frees_a_permit(gate):
    """A caller that is cancelled twice leaves at once, and its hash keeps the permit until it ends."""
    pool = HashPool(1, LARGE, Metrics())
    running = started(pool, gate.work)
    await gate.wait_for(1)
    following = started(pool, gate.work)

    for _ in range(2):
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    for _ in range(20):
        await asyncio.sleep(0)

    assert gate.running == 1
    gate.opened.set()
    assert await following == "done"
    pool.close()


async def test_a_client_that_leaves_the_queue_takes_its_hash_along(gate):
    """A cancelled caller whose hash has not begun frees its place in the queue, and nothing is computed for it."""
    pool = HashPool(1, LARGE, Metrics())
    running = started(pool, gate.work)
    await gate.wait_for(1)
    waiting = [started(pool, gate.work) for _ in range(8)]
    await asyncio.sleep(0)

    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]

    pool.require_place(trusted=False)
    gate.opened.set()
    await asyncio.gather(running, *waiting[1:])
    assert gate.running == 8
    pool.close()


async def test_a_hash_whose_caller_left_before_its_thread_began_is_not_computed():
    """A caller that leaves between the permit and the thread takes its hash along, and the permit is free again."""
    pool, begun, turn = HashPool(1, LARGE, Metrics()), [], Turn("untrusted", 1)
    call = started(pool, lambda: begun.append(1))
    await asyncio.sleep(0)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    turn.state = "over"
    with pytest.raises(Overloaded):
        pool._hash(turn, lambda: begun.append(2))

    assert begun == []
    assert await pool.run(lambda: "next", trusted=False, memory_kib=1) == "next"
    pool.close()


async def test_an_error_gives_the_permit_back():
    """A hash that fails, for want of memory say, tells its caller and leaves nothing held."""
    pool = HashPool(1, 1, Metrics())

    def fail():
        raise MemoryError

    for _ in range(3):
        with pytest.raises(MemoryError):
            await pool.run(fail, trusted=False, memory_kib=1)
    pool.close()


async def test_many_hashes_at_once_stay_within_the_budget():
    """Of 200 hashes at once, of any callers and sizes, those that run never hold more than the budget together."""
    pool, lock, held, most = HashPool(8, 100, Metrics()), threading.Lock(), [0], [0]

    def work(kib):
        with lock:
            held[0] += kib
            most[0] = max(most[0], held[0])
        time.sleep(0)
        with lock:
            held[0] -= kib

    calls = [
        pool.run(work, kib, trusted=number % 3 == 0, memory_kib=kib)
        for number, kib in enumerate([10, 60, 25, 100, 33] * 40)
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert 0 < most[0] <= 100
    assert {type(result) for result in results} == {type(None), Overloaded}
    assert held == [0]
    pool.close()


async def test_a_pool_serves_callers_on_several_loops(gate):
    """A permit that is given back on one loop goes to a caller that waits on another."""
    pool, waits = HashPool(1, LARGE, Metrics()), threading.Event()
    running = started(pool, gate.work)
    await gate.wait_for(1)

    async def call():
        asyncio.get_running_loop().call_later(0, waits.set)
        return await pool.run(lambda: "elsewhere", trusted=True, memory_kib=1)

    def other_loop():
        return asyncio.run(call())

    elsewhere = asyncio.create_task(asyncio.to_thread(other_loop))
    await asyncio.to_thread(waits.wait, PATIENCE_S)
    gate.opened.set()

    async with asyncio.timeout(PATIENCE_S):
        assert (await running, await elsewhere) == ("done", "elsewhere")
    pool.close()


async def test_closing_refuses_the_hashes_that_wait_and_lets_running_ones_end(gate):
    """After `close` a hash that waits is Overloaded, and none begins any more; one that runs returns its result."""
    metrics = Metrics()
    pool = HashPool(1, LARGE, metrics)
    running = started(pool, gate.work)
    await gate.wait_for(1)
    waiting = started(pool, gate.work)
    await asyncio.sleep(0)

    pool.close()

    with pytest.raises(Overloaded):
        await waiting
    with pytest.raises(ConfigurationError, match="open another one"):
        await started(pool, gate.work)
    assert sample(metrics, "queue", lane="untrusted") == 0
    gate.opened.set()
    assert await running == "done"
