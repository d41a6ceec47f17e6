"""A monotonic clock that only tests move, and the sleep that goes with it."""

from __future__ import annotations

import asyncio


class Clock:
    """Sleepers wake when the test has moved the clock to their time."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []
        self._fell_asleep = asyncio.Event()

    def monotonic_ms(self) -> int:
        return self.now_ms

    async def sleep(self, seconds: float) -> None:
        done = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now_ms + round(seconds * 1000), done))
        self._fell_asleep.set()
        await done

    async def skip(self, seconds: float) -> None:
        """Sleep without a test that wakes the sleeper: the clock moves by itself."""
        self.now_ms += round(seconds * 1000)
        await asyncio.sleep(0)

    async def until_asleep(self) -> int:
        """Wait until a task sleeps, and return how long the first sleeper still will."""
        while not self._sleepers:
            self._fell_asleep.clear()
            await self._fell_asleep.wait()
        return min(until_ms for until_ms, _ in self._sleepers) - self.now_ms

    def advance(self, ms: int) -> None:
        self.now_ms += ms
        due = [done for until_ms, done in self._sleepers if until_ms <= self.now_ms]
        self._sleepers = [(until_ms, done) for until_ms, done in self._sleepers if until_ms > self.now_ms]
        for done in due:
            if not done.done():
                done.set_result(None)
