"""`function.warm`: the results of a list of calls are there before they are asked for (S2-30, S4-62)."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.caches import PATIENCE_S, Seam, open_cache
from tests.worlds import World
from tollhouse.caching.decorators import rcached
from tollhouse.errors import InvalidInput, StoreUnavailable


async def test_the_results_of_a_list_of_calls_are_computed_unless_they_are_cached(world: World):
    """S4-62: a call is a tuple or list of arguments, a mapping of them, or the only one; errors are of their call."""
    calls: list[tuple[int, int]] = []

    @rcached(ttl=60, cache=open_cache(world))
    async def divided(number: int, by: int = 1) -> float:
        calls.append((number, by))
        return number / by

    await divided(1)
    report = await divided.warm([1, (2,), [3, 1], {"number": 4, "by": 2}, (5, 0), {"other": 1}])

    assert (report.present, report.loaded, report.failed) == (1, 3, 2)
    assert [(failure.position, type(failure.error)) for failure in report.failures] == [
        (4, ZeroDivisionError),
        (5, TypeError),
    ]
    assert sorted(calls) == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 0)]
    assert await divided(4, by=2) == 2.0
    assert len(calls) == 5


async def test_calls_of_a_function_that_is_not_async_run_in_threads(world: World):
    """An application that starts can await the warming of any cached function."""
    threads: set[int] = set()

    @rcached(ttl=60, cache=open_cache(world))
    def squared(number: int) -> int:
        threads.add(threading.get_ident())
        return number * number

    assert (await squared.warm(range(10), at_once=2)).loaded == 10
    assert (await squared.warm(range(11))).present == 10
    assert threading.get_ident() not in threads


async def test_at_most_so_many_calls_run_at_once(world: World):
    """`at_once` bounds the calls in progress."""
    running = most = 0
    met = asyncio.Event()

    @rcached(ttl=60, cache=open_cache(world))
    async def slow(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            met.set()
        await met.wait()
        running -= 1
        return number

    async with asyncio.timeout(PATIENCE_S):
        await slow.warm(range(20), at_once=3)

    assert most == 3


async def test_no_call_is_made_while_its_result_cannot_be_stored(world: World):
    """While the store is down every call fails before it is made."""
    seam = Seam(world.stores.cache)
    seam.failing.add("everything")

    @rcached(ttl=60, cache=open_cache(world, seam))
    async def never(number: int) -> int:
        raise AssertionError(number)

    report = await never.warm([1, 2])

    assert [type(failure.error) for failure in report.failures] == [StoreUnavailable, StoreUnavailable]


@pytest.mark.parametrize("calls", ["abc", b"abc", {"number": 1}])
async def test_one_call_is_not_taken_for_a_list(world: World, calls: Any):
    """A text or a mapping in place of the list would be taken apart."""

    @rcached(ttl=60, cache=open_cache(world))
    async def found(number: int) -> int:
        return number

    with pytest.raises(InvalidInput):
        await found.warm(calls)
