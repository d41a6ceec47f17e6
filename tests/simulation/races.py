"""Random races: readers and a writer of one key, in several processes, over a server to which everything happens.

The cache is the real one, and so are its scripts; the server is the keyspace of the simulation, and time is virtual. So
a race of minutes takes a millisecond, and a seed repeats its history. What happens to the server: it restarts from an
old snapshot, is flushed, loses its clock, is full for a while, or is replaced by a replica that lags; its time steps;
calls and replies are late or lost, and calls and copies of calls arrive when their caller is gone. Some reads ask for a
fresh value, some writes go through the cache. Each race ends with a read after all is quiet.

A read is stale if it returns less than the version whose invalidation was acknowledged before the read began. Reads
that the store did not answer are counted apart: while it is down, a process loads once for all its callers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

from msgspec.structs import replace

from tests.simulation.loop import VirtualLoop, run
from tests.simulation.race_server import KEYRING, TEXTS, Link, Server, Tally, delay_s
from tollhouse.cache.cache import Cache
from tollhouse.cache.reading.loader import Bounds
from tollhouse.errors import StoreUnavailable
from tollhouse.metrics import Metrics

RACES_PER_HISTORY: Final = 50
_METRICS: Final = Metrics()
_BOUNDS: Final = Bounds(lease_ms=20_000, wait_ms=5_000)
"""Fewer renewals and polls than by default: each is an event, and decides nothing new."""
_PROCESSES: Final = 3
_KEYS: Final = ("a", "b", "c")
_ATTEMPTS_MAX: Final = 50


class RacingCache(Protocol):
    """A cache in one process."""

    async def read(self, key: str, load: Callable[[], Awaitable[int]], ttl_s: int) -> tuple[int, str]:
        """Return a value and its source: HIT, BYPASS, or another word."""
        ...

    async def write(self, key: str, write: Callable[[], Awaitable[int]], rng: random.Random) -> tuple[int, bool]:
        """Write the source; return the version, and whether it is certain that later reads give it or a newer one."""
        ...

    async def invalidate(self, key: str, version: int | None, rng: random.Random) -> None:
        """Make later reads return the version, or load it; raise StoreUnavailable if that is not certain.

        The version is None if others write too: then what is given may be older than theirs.
        """
        ...

    async def aclose(self) -> None:
        """End what is in progress."""
        ...


class OwnCache:
    """Tollhouse's cache; a key has a tag of its own, and invalidations take every form that there is."""

    def __init__(self, link: Link, loop: VirtualLoop, rng: random.Random, bounds: Bounds = _BOUNDS) -> None:
        clock = {"monotonic": lambda: int(loop.time() * 1000), "sleep": asyncio.sleep}
        self._cache = Cache(link, KEYRING, _METRICS, bounds=bounds, uniform=rng.random, **clock)
        self._rng = rng

    async def read(self, key: str, load: Callable[[], Awaitable[int]], ttl_s: int) -> tuple[int, str]:
        tags, fresh = [f"tag:{key}", "all of them"], self._rng.random() < 0.1
        if self._rng.random() < 0.2:
            return await self._get_and_set(f"race:{key}", load, ttl_s, tags)
        found = await self._cache.fetch(f"race:{key}", load, ttl_s=ttl_s, tags=tags, fresh=fresh)
        return found.value, found.status

    async def _get_and_set(
        self, key: str, load: Callable[[], Awaitable[int]], ttl_s: int, tags: list[str]
    ) -> tuple[int, str]:
        """Read as callers do that load for themselves, store included."""
        status = "MISS"
        try:
            if (found := await self._cache.get(key)) is not None:
                return found, "HIT"
        except StoreUnavailable:
            status = "BYPASS"
        value = await load()
        with suppress(StoreUnavailable):
            await self._cache.set(key, value, ttl_s=ttl_s, tags=tags)
        return value, status

    async def write(self, key: str, write: Callable[[], Awaitable[int]], rng: random.Random) -> tuple[int, bool]:
        """Write through the cache, or the source alone."""
        if rng.random() < 0.8:
            return await write(), False
        tags, ttl_s = [f"tag:{key}", "all of them"], rng.choice((1, 30, 600))
        version = await self._cache.write_through(f"race:{key}", write, ttl_s=ttl_s, tags=tags)
        return version, not self._cache.is_distrusted

    async def invalidate(self, key: str, version: int | None, rng: random.Random) -> None:
        if version is not None and rng.random() < 0.1:
            await self._replace(key, version, rng.choice((1, 30, 600)))
            return
        others = [f"other:{rng.randrange(9)}" for _ in range(rng.randrange(3))]
        match rng.choice(("key", "key", "tag", "tag", "tag", "shared tag", "hold", "clear", "pattern")):
            case "key":
                await self._cache.invalidate(f"race:{key}")
            case "tag":
                await self._cache.invalidate_tags(*others, f"tag:{key}")
            case "shared tag":
                await self._cache.invalidate_tags("all of them")
            case "hold":
                await self._cache.invalidate(f"race:{key}", hold_ms=rng.choice((1, 2_000)))
            case "clear":
                await (self._cache.clear_all() if rng.random() < 0.5 else self._cache.clear())
            case _:
                await self._cache.delete_pattern("race:*")

    async def _replace(self, key: str, version: int, ttl_s: int) -> None:
        """Store what was written, without a miss before it."""
        if not await self._cache.set(f"race:{key}", version, ttl_s=ttl_s, tags=[f"tag:{key}", "all of them"]):
            await self._cache.invalidate(f"race:{key}")

    async def look_up(self, key: str) -> None:
        """Look what is stored, and load nothing."""
        await self._cache.look_up(f"race:{key}")

    async def aclose(self) -> None:
        await self._cache.aclose()


class CrowdedCache:
    """Tollhouse's cache, of which every reader looks at all keys at once, so that its looks go out as one call."""

    def __init__(self, link: Link, loop: VirtualLoop, rng: random.Random) -> None:
        self._own = OwnCache(link, loop, rng, replace(_BOUNDS, alone_max=0))
        self.write, self.invalidate, self.aclose = self._own.write, self._own.invalidate, self._own.aclose

    async def read(self, key: str, load: Callable[[], Awaitable[int]], ttl_s: int) -> tuple[int, str]:
        others = (self._own.look_up(other) for other in _KEYS if other != key)
        found, *_ = await asyncio.gather(self._own.read(key, load, ttl_s), *others)
        return found


class CacheAside:
    """What is written by hand everywhere: look, else load and store; delete after a write."""

    def __init__(self, link: Link, server: Server) -> None:
        self._link = link
        self._server = server

    async def read(self, key: str, load: Callable[[], Awaitable[int]], ttl_s: int) -> tuple[int, str]:
        name = key.encode()
        try:
            found = await self._link.travel(lambda: self._server.command(b"GET", name))
            if found is not None:
                return int(found), "HIT"
            value = await load()
            words = name, b"%d" % value, b"PX", b"%d" % (ttl_s * 1000)
            await self._link.travel(lambda: self._server.command(b"SET", *words))
        except StoreUnavailable:
            return await load(), "BYPASS"
        return value, "MISS"

    async def write(self, key: str, write: Callable[[], Awaitable[int]], rng: random.Random) -> tuple[int, bool]:
        """Write the source alone."""
        del key, rng
        return await write(), False

    async def invalidate(self, key: str, version: int | None, rng: random.Random) -> None:
        del version, rng
        await self._link.travel(lambda: self._server.command(b"DEL", key.encode()))

    async def aclose(self) -> None:
        pass


OpenCache = Callable[[Link, Server, VirtualLoop, random.Random], RacingCache]


def own_cache(link: Link, server: Server, loop: VirtualLoop, rng: random.Random) -> RacingCache:
    """Open Tollhouse's cache."""
    del server
    return OwnCache(link, loop, rng)


def crowded_cache(link: Link, server: Server, loop: VirtualLoop, rng: random.Random) -> RacingCache:
    """Open Tollhouse's cache for readers that look at all keys at once."""
    del server
    return CrowdedCache(link, loop, rng)


def cache_aside(link: Link, server: Server, loop: VirtualLoop, rng: random.Random) -> RacingCache:
    """Open the cache that is written by hand."""
    del loop, rng
    return CacheAside(link, server)


class History:
    """Races in a row over one server, of which each may find what earlier ones left."""

    def __init__(
        self, seed: int, open_cache: OpenCache, texts: Mapping[str, str], tally: Tally, loop: VirtualLoop
    ) -> None:
        self._seed = seed
        self._rng = random.Random(seed)
        self._tally = tally
        self._server = Server(loop, self._rng, tally, texts)
        links = [Link(self._server, loop, self._rng) for _ in range(_PROCESSES)]
        self._caches = [open_cache(link, self._server, loop, self._rng) for link in links]
        self._source = dict.fromkeys(_KEYS, 0)
        self._acknowledged = dict.fromkeys(_KEYS, 0)

    async def run(self) -> None:
        """Run the races, each after a pause in which entries expire and marks become old."""
        for _ in range(RACES_PER_HISTORY):
            await self._race(self._rng.choice(_KEYS))
            await asyncio.sleep(self._rng.choice((0, 0, 0.5, 5, 30, 70, 700)))
        for cache in self._caches:
            await cache.aclose()

    async def _race(self, key: str) -> None:
        rng = self._rng
        span_s = rng.choice((0.01, 0.01, 0.1, 0.1, 1, 100))
        readers = [self._read(key, rng.random() * span_s) for _ in range(rng.randint(2, 5))]
        count = rng.choice((1, 1, 1, 2))
        writers = [self._write(key, rng.random() * span_s, is_alone=count == 1) for _ in range(count)]
        if span_s > 60:
            readers += [self._read(rng.choice(_KEYS), rng.random() * 2 * span_s) for _ in range(6)]
        faults = [self._happens(rng.random() * span_s) for _ in range(rng.choice((0, 0, 1, 1, 3)))]
        await asyncio.gather(*readers, *writers, *faults)
        await self._read(key, 0)
        self._tally.races += 1

    async def _read(self, key: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        least, rng = self._acknowledged[key], self._rng

        async def load() -> int:
            await asyncio.sleep(delay_s(rng))
            value = self._source[key]
            await asyncio.sleep(rng.choice((0, 0.002, 0.02, 0.3, 7, 200, 200) if rng.random() < 0.4 else (0.002,)))
            return value

        value, status = await rng.choice(self._caches).read(key, load, rng.choice((1, 30, 60, 600)))
        self._tally.reads += 1
        self._tally.hits += status == "HIT"
        self._tally.bypassed += status == "BYPASS"
        self._tally.stale_while_down += value < least and status == "BYPASS"
        if value < least and status != "BYPASS":
            self._tally.stale += 1
            self._tally.traces.append(f"seed {self._seed}: {key!r} gave {value} ({status}), {least} was acknowledged")

    async def _write(self, key: str, after_s: float, *, is_alone: bool) -> None:
        await asyncio.sleep(after_s)
        rng = self._rng

        async def write() -> int:
            await asyncio.sleep(rng.choice((0, 0, delay_s(rng))))
            self._source[key] = version = self._source[key] + 1
            await asyncio.sleep(rng.choice((0, 0, 0, delay_s(rng), 7, 30)))
            return version

        version, is_certain = await rng.choice(self._caches).write(key, write, rng)
        for _ in range(_ATTEMPTS_MAX):
            try:
                if not is_certain:
                    await rng.choice(self._caches).invalidate(key, version if is_alone else None, rng)
            except StoreUnavailable:
                continue
            self._acknowledged[key] = max(self._acknowledged[key], version)
            return
        raise AssertionError(f"seed {self._seed}: an invalidation found no server {_ATTEMPTS_MAX} times")

    async def _happens(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._server.happens()
        self._tally.faults += 1


def race(seeds: Sequence[int], open_cache: OpenCache, texts: Mapping[str, str] = TEXTS) -> Tally:
    """Run one history for each seed; return what was counted."""
    tally = Tally()
    for seed in seeds:

        async def main(loop: VirtualLoop, seed: int = seed) -> None:
            await History(seed, open_cache, texts, tally, loop).run()

        run(main)
    return tally
