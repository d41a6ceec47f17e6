"""Running loaders: under the lease of their entry, which is kept alive meanwhile, or past the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Literal, ParamSpec, TypeVar

from msgspec import Struct

from tollhouse.cache import codec
from tollhouse.cache.codec import CodecName
from tollhouse.cache.commands import Leased, Shard
from tollhouse.cache.envelope import Frame, encode
from tollhouse.cache.key_names import Entry
from tollhouse.cache.single_flight import Flight
from tollhouse.cache.ttl import spread
from tollhouse.clock import MonotonicClock
from tollhouse.errors import LoadFailed, StoreError

P = ParamSpec("P")
T = TypeVar("T")

Load = Callable[[], Awaitable[Any]]
"""Gives the value of a key, slowly; called when no stored value serves."""

Sleep = Callable[[float], Awaitable[None]]
"""Waits for some seconds."""

Result = Literal["HIT", "MISS", "COALESCED", "BYPASS", "DISABLED", "STALE"]
"""Stored before · loaded now · loaded by someone else meanwhile · loaded past the store · the cache is off ·
stored before, and past its lifetime: a word that readers must know, and that only windows of grace give."""

OFF_LOOP_BYTES: Final = 256 * 1024
"""Larger bodies are packed and unpacked in a thread, so that nobody else waits for them."""


class Bounds(Struct, frozen=True, kw_only=True):
    """How large entries may be, and how long things may take.

    A holder that died costs its waiters `lease_ms`. A load longer than `load_ms` loses its lease, and
    whoever waited longer than `wait_ms` for another process loads for itself.
    """

    entry_bytes: int = 1024 * 1024
    lease_ms: int = 5_000
    load_ms: int = 600_000
    wait_ms: int = 60_000


DEFAULT_BOUNDS: Final = Bounds()


class Query(Struct, frozen=True, kw_only=True):
    """What one caller wants to know, and how to find it out."""

    entry: Entry
    tags: tuple[str, ...]
    ttl_ms: int
    load: Load

    @property
    def digest(self) -> bytes:
        """The 16 bytes that bind a body to its key."""
        return bytes.fromhex(self.entry.digest)


class Landed(Struct, frozen=True, kw_only=True):
    """An answer as bytes, of which every caller decodes a copy of their own.

    `shared` says that it may be given to those who joined while it was under way: nothing that it
    depends on was invalidated before the store confirmed it.
    """

    body: bytes
    result: Result
    shared: bool
    age_ms: int = 0
    ttl_ms: int = 0
    load_ms: int = 0


class Loads:
    """Runs loaders, and stores what they give where that is still right."""

    def __init__(
        self,
        shard: Shard,
        codec_name: CodecName,
        bounds: Bounds,
        *,
        monotonic: MonotonicClock,
        uniform: Callable[[], float],
        sleep: Sleep,
    ) -> None:
        self._shard = shard
        self._codec: CodecName = codec_name
        self._bounds = bounds
        self._monotonic = monotonic
        self._uniform = uniform
        self._sleep = sleep

    async def alone(self, query: Query) -> Landed:
        """Load without a lease, and store nothing."""
        began_ms = self._monotonic()
        body = await self._body(query)
        return Landed(body=body, result="BYPASS", shared=True, load_ms=self._monotonic() - began_ms)

    async def under(self, lease: Leased, query: Query, flight: Flight[Any]) -> Landed:
        """Load under a lease and store the result; the lease ends either way.

        What the loader raises passes through. The flight is shut before the store is asked to accept
        the result, so that all who share it came before.
        """
        began_ms = self._monotonic()
        accepted = False
        renewing = asyncio.create_task(self._renew(query.entry, lease.token))
        try:
            body = await self._body(query)
            load_ms = self._monotonic() - began_ms
            flight.shut()
            accepted, ttl_ms = await self._fill(lease, query, body, load_ms)
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
            if not accepted:
                with suppress(StoreError):
                    await self._shard.release(query.entry, lease.token)
        return Landed(body=body, result="MISS", shared=accepted, ttl_ms=ttl_ms, load_ms=load_ms)

    async def _body(self, query: Query) -> bytes:
        value = await query.load()
        try:
            packed = codec.pack(value, self._codec)
        except codec.UNSUPPORTED as error:
            raise LoadFailed(f"the loaded {type(value).__name__} has no form in {self._codec}: {error}") from error
        return await aside(len(packed), codec.seal, packed, self._codec, query.digest)

    async def _fill(self, lease: Leased, query: Query, body: bytes, load_ms: int) -> tuple[bool, int]:
        """Offer a body to the store; tell whether it is confirmed, and how long it will be kept."""
        stored_ms = lease.now_ms + load_ms
        keep_ms = spread(query.ttl_ms, self._uniform())
        header = Frame(
            stored_ms=stored_ms,
            fresh_until_ms=stored_ms + keep_ms,
            load_ms=load_ms,
            epoch=lease.epoch,
            sequence=lease.sequence,
            tags=query.tags,
        )
        frame = encode(header, body)
        if len(frame) > self._bounds.entry_bytes:
            frame, keep_ms = encode(header, b""), 0
        try:
            accepted = await self._shard.fill(query.entry, lease, frame, keep_ms)
        except StoreError:
            return False, 0
        return accepted, keep_ms if accepted else 0

    async def _renew(self, entry: Entry, token: str) -> None:
        """Keep a lease alive, three times as often as needed, until it is lost or the load has taken too long."""
        for _ in range(3 * self._bounds.load_ms // self._bounds.lease_ms):
            await self._sleep(self._bounds.lease_ms / 3000)
            with suppress(StoreError):
                if not await self._shard.renew(entry, token):
                    return


async def aside(weight_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do work on bytes: at once if they are few, else in a thread."""
    if weight_bytes > OFF_LOOP_BYTES:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)
