"""Keeping the costliest keys of a family warm: they are loaded again before they end, and after an invalidation.

Each process watches its own reads, and asks once a second for its costliest keys whether a load is due. The load runs
under the lease of the entry, so that one process loads for all. A value that was not read since it was stored is left
to end: a key that has no readers any more is loaded once too often, and then forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Final, Self

from tollhouse.cache.commands import CacheStore
from tollhouse.cache.reading.query import Query
from tollhouse.cache.reading.read_through import Reader
from tollhouse.cache.reading.reads import Reads, Without
from tollhouse.cache.reading.result import CacheResult
from tollhouse.cache.warming.bounded import require_at_once
from tollhouse.cache.warming.costs import CostlyKey, CostlyKeys
from tollhouse.clock import MonotonicClock, Sleep
from tollhouse.errors import ConfigurationError, InvalidInput, StoreError
from tollhouse.logs import Log
from tollhouse.runtime.background import BackgroundTasks

EVERY_MS: Final = 1_000
"""How often a process asks whether loads are due."""
FADE_MS: Final = 600_000
"""How often the counters of keys are halved."""
LOAD_MS_MAX: Final = 60_000
"""How long a load may take that keeps a key warm."""
TOP_MAX: Final = 1_000
"""The most keys of a family that are kept warm."""

_log: Final = Log("tollhouse.cache")


class WarmKeeper:
    """Keeps the costliest keys of families warm, while blocks of `keep` run."""

    def __init__(
        self,
        reads: Reads,
        reader: Reader,
        store: CacheStore,
        without: Callable[[], Awaitable[Without | None]],
        *,
        monotonic: MonotonicClock,
        sleep: Sleep,
    ) -> None:
        self.reads = reads
        self.reader = reader
        self.monotonic = monotonic
        self.sleep = sleep
        self._store = store
        self._without = without
        self._open: set[KeptWarm] = set()

    def keep(self, *families: str, top: int = 20, at_once: int = 2, share: float = 0.25) -> KeptWarm:
        """Return a block, for `async with`, during which the costliest keys of these families are kept warm.

        A family is the first word of keys, such as the name of a cached function, or `ai:` and the name of a model. Of
        each, the `top` keys are loaded again before they end, or after an invalidation, whose misses took this process
        most time to load. At most `at_once` loads run at the same time, and they take at most this `share` of the time.
        A key that has not been read since it was loaded last is left to end. Loads run outside of any request, with the
        loader of the latest read: one that needs the session of a request fails, and its key is forgotten.
        """
        if type(top) is not int or not 1 <= top <= TOP_MAX:
            raise InvalidInput("top", top, f"give a number from 1 to {TOP_MAX}")
        if not families or not all(families):
            raise InvalidInput("families", families, "name at least one, such as the first word of the keys")
        if type(share) not in (float, int) or not 0 < share <= 1:
            raise InvalidInput("share", share, "give the share of the time for loads, above 0 and up to 1")
        return KeptWarm(self, families, top=top, at_once=require_at_once(at_once), share=share)

    async def is_ready(self) -> bool:
        """Return whether values can be stored now."""
        return self._store.is_available and await self._without() is None

    def add(self, kept: KeptWarm) -> None:
        """Own a block that has begun."""
        self._open.add(kept)

    def discard(self, kept: KeptWarm) -> None:
        """Forget a block that has ended."""
        self._open.discard(kept)

    async def aclose(self) -> None:
        """End the blocks that still run."""
        for kept in tuple(self._open):
            await kept.aclose()


class KeptWarm:
    """A block during which the costliest keys of families are kept warm; its task ends with it."""

    def __init__(self, keeper: WarmKeeper, families: Iterable[str], *, top: int, at_once: int, share: float) -> None:
        self.refreshed = 0
        """How many values this process has loaded again."""
        self._keeper = keeper
        self._families = {family: CostlyKeys(top) for family in families}
        self._top = top
        self._at_once = at_once
        self._pause_per_load = 1 / share - 1
        self._tasks = BackgroundTasks()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        watched = self._keeper.reads.watched
        if self._task is not None:
            raise ConfigurationError("keep_warm", "entered twice", "call keep_warm again for another block")
        for family in self._families:
            if family in watched:
                raise ConfigurationError("keep_warm", family, "another block keeps this family warm already")
        watched.update(dict.fromkeys(self._families, self._on_read))
        self._keeper.add(self)
        self._task = self._tasks.start(self._run(), "tollhouse-cache-warm")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the block: cancel its loads, unless callers wait for them, and forget its keys."""
        if self._task is None or self._task.done():
            return
        for family in self._families:
            del self._keeper.reads.watched[family]
        self._keeper.discard(self)
        self._task.cancel()
        await self._tasks.aclose()

    def _on_read(self, query: Query, result: CacheResult[object]) -> None:
        keys, now_ms = self._families[query.family], self._keeper.monotonic()
        if result.status == "MISS":
            keys.loaded(query, result.load_ms, now_ms)
        else:
            keys.read(query, now_ms)

    async def _run(self) -> None:
        """Load what is due, round after round, with pauses that keep the share of the time."""
        monotonic = self._keeper.monotonic
        fade_at_ms = monotonic() + FADE_MS
        while True:
            began_ms = monotonic()
            if began_ms >= fade_at_ms:
                fade_at_ms = began_ms + FADE_MS
                for keys in self._families.values():
                    keys.fade()
            if await self._keeper.is_ready():
                await self._round()
            pause_ms = (monotonic() - began_ms) * self._pause_per_load
            await self._keeper.sleep(max(pause_ms, EVERY_MS) / 1000)

    async def _round(self) -> None:
        places = asyncio.Semaphore(self._at_once)
        due = [(keys, key) for keys in self._families.values() for key in keys.top(self._top)]
        await asyncio.gather(*(self._keep(keys, key, places) for keys, key in due))

    async def _keep(self, keys: CostlyKeys, key: CostlyKey, places: asyncio.Semaphore) -> None:
        async with places:
            unread_ms = self._keeper.monotonic() - key.read_ms
            if unread_ms > key.query.longest_ms:
                keys.forget(key)
                return
            keeping = self._keeper.reader.keep(key.query, _early_ms(key), unread_ms)
            (outcome,) = await asyncio.gather(asyncio.wait_for(keeping, LOAD_MS_MAX / 1000), return_exceptions=True)
        match outcome:
            case None | StoreError():
                pass
            case BaseException():
                keys.forget(key)
                fields = {"family": key.query.family, "reason": type(outcome).__name__}
                _log.warning("cached value not kept warm", extra=fields)
            case load_ms:
                self.refreshed += 1
                keys.add(key, load_ms)


def _early_ms(key: CostlyKey) -> int:
    """Return how long before its end a value is loaded anew: a tenth of its lifetime, or enough for its load."""
    ttl_ms = key.query.ttl_ms
    return min(max(ttl_ms // 10, 4 * key.load_ms + 2 * EVERY_MS), ttl_ms // 2)
