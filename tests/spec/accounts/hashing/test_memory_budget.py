"""Hashes that run at the same time stay within one budget of memory."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tollhouse.accounts.hashing.memory_budget import MemoryBudget


class Holder:
    """A thread that holds a share until it is told to leave."""

    def __init__(self, budget: MemoryBudget, kib: int) -> None:
        self.holds = threading.Event()
        self.leave = threading.Event()
        self.task = asyncio.create_task(asyncio.to_thread(self._hold, budget, kib))

    async def until_it_holds(self) -> None:
        assert await asyncio.to_thread(self.holds.wait, 10)

    async def end(self) -> None:
        self.leave.set()
        await self.task

    def _hold(self, budget: MemoryBudget, kib: int) -> None:
        with budget.hold(kib):
            self.holds.set()
            assert self.leave.wait(10)


#    total, first, second, may they run together
SHARES = [
    (100, 60, 40, True),
    (100, 60, 41, False),
    (100, 10, 500, False),  # more than there is: it runs alone
    (100, 500, 500, False),
]


@pytest.mark.parametrize(("total_kib", "first_kib", "second_kib", "together"), SHARES)
async def test_a_share_waits_until_it_fits(total_kib: int, first_kib: int, second_kib: int, *, together: bool) -> None:
    """Shares that fit are held at once; another waits for one that ends, and then runs."""
    budget = MemoryBudget(total_kib)
    first = Holder(budget, first_kib)
    await first.until_it_holds()

    second = Holder(budget, second_kib)
    if together:
        await second.until_it_holds()
    assert second.holds.is_set() is together
    await first.end()

    await second.until_it_holds()
    await second.end()


async def test_an_error_returns_the_share() -> None:
    """A hash that fails, for want of memory say, leaves nothing held."""
    budget = MemoryBudget(1)
    for _ in range(3):
        with pytest.raises(MemoryError), budget.hold(1):
            raise MemoryError
