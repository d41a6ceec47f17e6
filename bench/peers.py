"""The Python peers, each set up as its documentation advises, with one connection for every concurrent take.

- `limits` with each of its three asyncio clients. valkey-py is not the one that its documentation begins with, but the
  fastest; it gets libvalkey, as redis-py gets hiredis.
- `throttled-py` on its own `RedisStore`.
- `PyrateLimiter` with a bucket for each subject and by `try_acquire`: `try_acquire_async` holds one lock for all
  subjects. Its log is never leaked, which spares it a command for each subject every ten seconds.
"""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pyrate_limiter as pyrate
import redis.asyncio as redis
from limits import RateLimitItemPerHour
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from throttled.asyncio import RateLimiterType, RedisStore, Throttled, rate_limiter

from bench.contender import LIMIT, STRICT, SUBJECTS, Contender

_STRATEGIES = {
    "fixed-window": FixedWindowRateLimiter,
    "moving-window": MovingWindowRateLimiter,
    "sliding-window-counter": SlidingWindowCounterRateLimiter,
}
_COUNTED = ("incrby", "expire")
"""The commands of a take that is no script."""
_CLIENTS = {"redis-py": "redispy", "valkey-py": "valkey", "coredis": "coredis"}


@asynccontextmanager
async def peers(path: Path, concurrency: int) -> AsyncIterator[list[Contender]]:
    """Return all of them, connected to the server behind this socket, with a connection for each concurrent take."""
    async with AsyncExitStack() as stack:
        found: list[Contender] = []
        for client in _CLIENTS:
            found += await stack.enter_async_context(_limits(path, concurrency, client))
        found += await stack.enter_async_context(_throttled(path, concurrency))
        found += await stack.enter_async_context(_pyrate(path, concurrency))
        yield found


@asynccontextmanager
async def _limits(path: Path, concurrency: int, client: str) -> AsyncIterator[list[Contender]]:
    storage = RedisStorage(
        f"async+redis+unix://{path}?db=0", implementation=_CLIENTS[client], max_connections=concurrency
    )

    def contender(algorithm: str) -> Contender:
        limiter = _STRATEGIES[algorithm](storage)
        # The namespace keeps the algorithms' keys apart.
        loose, strict = (RateLimitItemPerHour(units, namespace=f"{client}-{algorithm}") for units in (LIMIT, STRICT))
        scripted = client != "coredis" or algorithm != "fixed-window"
        return Contender(
            library=f"limits ({client})",
            algorithm=algorithm,
            ask=lambda key: limiter.hit(loose, key),
            strict=lambda key: limiter.hit(strict, key),
            admitted=bool,
            commands=("evalsha",) if scripted else _COUNTED,
        )

    try:
        yield [contender(algorithm) for algorithm in _STRATEGIES]
    finally:
        connected = storage.bridge.storage
        if client == "coredis":
            connected.connection_pool.disconnect()
        else:
            await connected.aclose()


@asynccontextmanager
async def _throttled(path: Path, concurrency: int) -> AsyncIterator[list[Contender]]:
    store = RedisStore(f"unix://{path}?db=0", {"CONNECTION_POOL_KWARGS": {"max_connections": concurrency}})

    def contender(algorithm: RateLimiterType) -> Contender:
        loose, strict = (
            Throttled(using=algorithm.value, quota=rate_limiter.per_hour(units), store=store)
            for units in (LIMIT, STRICT)
        )
        return Contender(
            library="throttled-py",
            algorithm=algorithm.value.replace("_", "-"),
            ask=loose.limit,
            strict=lambda key: strict.limit(f"strict-{key}"),
            admitted=lambda result: not result.limited,
            commands=_COUNTED if algorithm is RateLimiterType.FIXED_WINDOW else ("evalsha",),
        )

    try:
        yield [
            contender(algorithm)
            for algorithm in (RateLimiterType.FIXED_WINDOW, RateLimiterType.SLIDING_WINDOW, RateLimiterType.GCRA)
        ]
    finally:
        await store._backend.get_client().connection_pool.disconnect()


class _Buckets(pyrate.BucketFactory):
    """A bucket for each subject, made at its first take."""

    def __init__(self, create: Callable[[str], pyrate.AbstractBucket]) -> None:
        self._create = create
        self._clock = pyrate.WallClock()
        self._buckets = {subject: create(subject) for subject in SUBJECTS}

    def wrap_item(self, name: str, weight: int = 1) -> pyrate.RateItem:
        return pyrate.RateItem(name, self._clock.now(), weight=weight)

    def get(self, item: pyrate.RateItem) -> pyrate.AbstractBucket:
        bucket = self._buckets.get(item.name)
        if bucket is None:
            bucket = self._buckets[item.name] = self._create(item.name)
        return bucket


@asynccontextmanager
async def _pyrate(path: Path, concurrency: int) -> AsyncIterator[list[Contender]]:
    client = redis.Redis.from_url(f"unix://{path}?db=0", max_connections=concurrency)
    sha = await client.script_load(pyrate.buckets.redis_bucket.LuaScript.PUT_ITEM)

    def log(units: int, subject: str) -> Any:
        return pyrate.RedisBucket(_hourly(units), client, f"pyrate-log:{units}:{subject}", sha)

    def gcra(units: int, subject: str) -> Any:
        return pyrate.StateBucket(
            _hourly(units), store=pyrate.RedisStateStore(client, f"pyrate-gcra:{units}:{subject}")
        )

    def contender(algorithm: str, create: Callable[[int, str], Any]) -> Contender:
        loose, strict = (
            pyrate.Limiter(_Buckets(lambda subject, units=units: create(units, subject))) for units in (LIMIT, STRICT)
        )
        return Contender(
            library="PyrateLimiter",
            algorithm=algorithm,
            ask=lambda key: loose.try_acquire(key, blocking=False),
            strict=lambda key: strict.try_acquire(key, blocking=False),
            admitted=operator.truth,
        )

    try:
        yield [contender("sliding-log", log), contender("gcra", gcra)]
    finally:
        await client.aclose()


def _hourly(units: int) -> list[pyrate.Rate]:
    return [pyrate.Rate(units, pyrate.Duration.HOUR)]
