"""The consumer of a queue of writes: it applies them in their order, one after the other, at least once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from tollhouse.cache.key_names import KeyNames
from tollhouse.cache.writing.queue import TakenWrite, WriteQueue
from tollhouse.clock import Sleep
from tollhouse.errors import StoreError
from tollhouse.logs import Log

T = TypeVar("T")

LEASE_MS: Final = 10_000
"""After how long another consumer takes over from one that died."""
IDLE_MS: Final = 500
"""How long a consumer waits before it looks again into an empty queue, unless this process puts something in it."""
OUTAGE_MS: Final = 2_000
"""How long it waits if the store is down."""
LOOKS_PER_LEASE: Final = 5
"""How often it looks, while another consumer has the queue, within the time after which that may be taken over."""
RETRY_MS: Final = 100
RETRY_MS_MAX: Final = 60_000
"""The wait before the second attempt doubles with each further one, up to this bound."""

_KEY: Final = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])

_log: Final = Log("tollhouse.cache")


class QueuedWrite(Struct, Generic[T], frozen=True, kw_only=True):
    """A write to apply to the source.

    `id` is the same in each attempt of a write, and `version` grows with each write of the queue: a source that keeps
    it can refuse a write that comes late. It fits in 64 bits.
    """

    id: str
    key: str
    value: T
    version: int
    attempt: int


class ConsumerBounds(Struct, frozen=True, kw_only=True):
    """How often and how long a write is tried, and after how long another consumer takes over from one that died."""

    attempts_max: int
    apply_s: float
    lease_ms: int


class Consumer:
    """Applies writes from `run` until `end`, whenever no other process does."""

    def __init__(
        self,
        queue: WriteQueue,
        key_names: KeyNames,
        apply: Callable[[QueuedWrite[Any]], Awaitable[object]],
        type: Any,  # noqa: A002 - as in msgspec
        bounds: ConsumerBounds,
        sleep: Sleep,
    ) -> None:
        self._queue = queue
        self._key_names = key_names
        self._apply = apply
        self._decoder = msgspec.msgpack.Decoder(tuple[str, type])
        self._bounds = bounds
        self._sleep = sleep
        self._name = secrets.token_hex(8)
        self._has_queue = False
        self._applied = ""
        self._is_idle = False
        self._woken = asyncio.Event()
        self._ending = asyncio.Event()

    def wake(self) -> None:
        """Look into the queue now, if it was empty."""
        self._woken.set()

    def end(self) -> None:
        """Begin no further write."""
        self._ending.set()

    async def run(self) -> None:
        """Apply writes until the end, and let another consumer have the queue then."""
        keeping = asyncio.create_task(self._keep_queue())
        try:
            await self._warn_of_eviction()
            while not self._ending.is_set():
                self._woken.clear()
                await self._pause(await self._step())
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})
            if self._has_queue:
                with suppress(StoreError):
                    await self._queue.release(self._name)

    async def _step(self) -> int:
        """Apply the eldest write; return how many milliseconds to wait then."""
        self._is_idle = False
        try:
            taken = await self._queue.take(self._name, self._bounds.lease_ms)
            self._has_queue = taken is not True
            if taken is True:
                return self._bounds.lease_ms // LOOKS_PER_LEASE
            if taken is False:
                self._is_idle = True
                return IDLE_MS
            return await self._work_on(taken)
        except StoreError:
            return OUTAGE_MS

    async def _work_on(self, taken: TakenWrite) -> int:
        error = None
        if taken.attempt > self._bounds.attempts_max:
            error = "Attempts"  # the consumers before died of it
        elif taken.stream_id != self._applied:  # else it was applied, and the store did not answer when it was told
            error = await self._error_of(taken)
            if error is None:
                self._applied = taken.stream_id
            elif taken.attempt < self._bounds.attempts_max:
                _log.warning("write not applied, and tried again", extra=self._fields(taken, error))
                return min(RETRY_MS << (taken.attempt - 1), RETRY_MS_MAX)
        key, _ = _KEY.decode(taken.write)
        await self._queue.end(self._key_names.entries(key)[0], taken, error)
        if error is not None:
            _log.warning("write not applied, and given up", extra=self._fields(taken, error))
        return 0

    async def _error_of(self, taken: TakenWrite) -> str | None:
        """Apply a write; return the kind of its error, None if there was none."""
        (outcome,) = await asyncio.gather(self._call(taken), return_exceptions=True)
        return type(outcome).__name__ if isinstance(outcome, BaseException) else None

    async def _call(self, taken: TakenWrite) -> None:
        key, value = self._decoder.decode(taken.write)
        write = QueuedWrite(id=taken.id, key=key, value=value, version=taken.version, attempt=taken.attempt)
        async with asyncio.timeout(self._bounds.apply_s):
            await self._apply(write)

    async def _keep_queue(self) -> None:
        while True:
            await self._sleep(self._bounds.lease_ms / 3_000)
            if self._has_queue:
                with suppress(StoreError):
                    await self._queue.renew(self._name, self._bounds.lease_ms)

    async def _pause(self, ms: int) -> None:
        """Wait until the end of the consumer at most, and if the queue was empty until something is put in it."""
        if not ms:
            return
        events = (self._ending, self._woken) if self._is_idle else (self._ending,)
        waits = [asyncio.ensure_future(self._sleep(ms / 1000)), *(asyncio.create_task(one.wait()) for one in events)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            await asyncio.wait(waits)

    async def _warn_of_eviction(self) -> None:
        with suppress(StoreError):
            policy = await self._queue.eviction_policy()
            if policy.startswith("allkeys"):
                remedy = "set maxmemory-policy to volatile-lru: entries have an expiry, and a queue has none"
                fields = {"queue": self._queue.name, "policy": policy, "remedy": remedy}
                _log.warning("the server may evict queued writes", extra=fields)

    def _fields(self, taken: TakenWrite, error: str) -> dict[str, object]:
        return {"queue": self._queue.name, "id": taken.id, "attempt": taken.attempt, "reason": error}
