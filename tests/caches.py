"""Fixtures of the cache: caches over a world, loaders that wait, and a store with injected failures."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.commands import CacheStore
from tollhouse.errors import Outcome, StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.scripts import PRIMARY, Argument

GET_OR_LEASE = "cache/get_or_lease"
LOOK_UP = "cache/look_up"
FILL = "cache/fill"
RENEW = "cache/renew"
RELEASE = "cache/release"
CONFIRM = "cache/confirm"
TAKE_LEASE = "cache/take_lease"

_QUIET_TICKS = 20
"""In so many ticks of the event loop a caller that was answered has sent its next call."""

PATIENCE_S = 10
"""How long a specification waits for an event that must happen at once."""


def open_cache(world: World, store: CacheStore | None = None, **options: Any) -> Cache:
    """Open a cache on the world's clock, without jitter of lifetimes."""
    settings = {"monotonic": lambda: world.now_ms, "uniform": lambda: 0.0} | options
    return Cache(store or world.stores.cache, world.keyring, world.metrics, **settings)


def reads(metrics: Metrics, family: str, result: str) -> float:
    """Return how many reads of a family had this result."""
    return metrics.registry.get_sample_value("tollhouse_cache_requests_total", {"cache": family, "result": result}) or 0


class Loader:
    """Returns the values in turn, the last one for ever; counts its calls."""

    def __init__(self, *values: Any) -> None:
        self._values = values
        self.calls = 0

    async def __call__(self) -> Any:
        self.calls += 1
        return self._values[min(self.calls, len(self._values)) - 1]


class GatedLoader(Loader):
    """A loader that has read its value, and returns it when the gate is opened."""

    def __init__(self, *values: Any) -> None:
        super().__init__(*values)
        self.began = asyncio.Event()
        self.gate = asyncio.Event()
        self.cancelled = 0

    async def __call__(self) -> Any:
        value = await super().__call__()
        self.began.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return value


class Seam:
    """A store for the cache, with injected failures, another primary, or a step before or after a script."""

    def __init__(self, store: Any) -> None:
        self.failing: set[str] = set()
        self.outcome: Outcome = "not-sent"
        self.rejecting: set[str] = set()
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}
        self.after: dict[str, Callable[[], Awaitable[None]]] = {}
        self.primary: str | None = None
        self.given_up: list[tuple[str, Sequence[str], Sequence[Argument]]] = []
        self.calls: Counter[str] = Counter()
        self.under_way = 0
        self._store = store
        self._progress = asyncio.Event()

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        reply, _ = await self._run(script, keys, args, durably=False)
        return reply

    @property
    def is_available(self) -> bool:
        return "everything" not in self.failing

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[list[Any], bool]:
        return await self._run(script, keys, args, durably=True)

    async def _run(
        self, script: str, keys: Sequence[str], args: Sequence[Argument], *, durably: bool
    ) -> tuple[list[Any], bool]:
        await self._step(script)
        if script in self.before:
            try:
                await self.before.pop(script)()
            except StoreUnavailable:
                self.given_up.append((script, keys, args))
                raise
        given = [self.primary if arg is PRIMARY and self.primary is not None else arg for arg in args]
        self.under_way += 1
        try:
            reply = await (self._store.run_durably if durably else self._store.run)(script, keys, given)
        finally:
            self.under_way -= 1
        if script in self.after:
            await self.after.pop(script)()
        self.calls[script] += 1
        self._progress.set()
        return reply if durably else (reply, False)

    async def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[str]]:
        await self._step("scan")
        return await self._store.scan(cursor, match, count)

    async def info(self, section: str) -> dict[str, str]:
        await self._step("info")
        return await self._store.info(section)

    async def until(self, script: str, times: int) -> None:
        """Wait until a script has run so many times."""
        async with asyncio.timeout(PATIENCE_S):
            while self.calls[script] < times:
                self._progress.clear()
                await self._progress.wait()

    async def until_quiet(self) -> None:
        """Wait until no call is under way, and none follows from those that were answered."""
        async with asyncio.timeout(PATIENCE_S):
            quiet = 0
            while quiet < _QUIET_TICKS:
                await asyncio.sleep(0)
                quiet = 0 if self.under_way else quiet + 1

    async def _step(self, what: str) -> None:
        if what in self.failing or "everything" in self.failing:
            raise StoreUnavailable("cache", self.outcome, "told to fail")
        if what in self.rejecting:
            raise StoreUnavailable("cache", "rejected", "told to refuse")


class Timeline:
    """Sleep on the world's clock: a sleeper wakes when the clock is moved past its time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sleepers: dict[asyncio.Event, int] = {}
        self._fell_asleep = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        alarm = asyncio.Event()
        self._sleepers[alarm] = self._world.now_ms + round(seconds * 1000)
        self._fell_asleep.set()
        try:
            await alarm.wait()
        finally:
            self._sleepers.pop(alarm, None)

    @property
    def asleep(self) -> int:
        """The number of sleepers."""
        return len(self._sleepers)

    async def until_asleep(self, sleepers: int) -> None:
        """Wait until there are so many sleepers."""
        async with asyncio.timeout(PATIENCE_S):
            while self.asleep < sleepers:
                self._fell_asleep.clear()
                await self._fell_asleep.wait()

    async def advance(self, ms: int) -> None:
        """Move the clock, and wake the sleepers whose time has come."""
        await self._world.advance(ms)
        for alarm, due_ms in self._sleepers.items():
            if due_ms <= self._world.now_ms:
                alarm.set()

    async def drive(self, task: asyncio.Future[Any], step_ms: int = 25) -> Any:
        """Move the clock in steps until a task is done, and return its result."""
        async with asyncio.timeout(PATIENCE_S):
            while not task.done():
                await self.advance(step_ms)
                await asyncio.sleep(0)
        return task.result()
