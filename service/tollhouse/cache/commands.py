"""The cache's scripts as functions: each encodes its arguments and names what the reply says, no more."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from msgspec import Struct

from tollhouse.cache.key_names import Entry
from tollhouse.errors import StoreError
from tollhouse.scripts import PRIMARY, Argument


class Store(Protocol):
    """What the cache needs of the store that it lives in."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script and give its reply; raises StoreError."""
        ...

    async def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[str]]:
        """Take one step over the names that match; done when the cursor is 0 again."""
        ...

    async def info(self, section: str) -> dict[str, str]:
        """Read a section of the server's INFO; empty where there is none."""
        ...


class Hit(Struct, frozen=True, kw_only=True):
    """There is a frame that serves, at the server's time `now_ms`."""

    frame: bytes
    now_ms: int


class Leased(Struct, frozen=True, kw_only=True):
    """There is none, and the asker alone may load it; the clock stood at `epoch` and `sequence`."""

    token: str
    epoch: str
    sequence: int
    now_ms: int


class Busy(Struct, frozen=True, kw_only=True):
    """There is none, and someone else is loading it."""

    lease_left_ms: int


class Counts(Struct, frozen=True, kw_only=True):
    """What all processes together counted since the clock began, and how many keys the database holds."""

    keys: int
    sequence: int
    hits: int
    absent: int
    invalidated: int
    epoch: int
    unusable: int


class Shard:
    """Entries that share one clock. Every method raises StoreError as the store does."""

    def __init__(self, store: Store, clock: str, *, lease_ms: int, marks_ms: int) -> None:
        self._store = store
        self._clock = clock
        self._lease_ms = lease_ms
        self._marks_ms = marks_ms

    async def look(self, entry: Entry) -> Hit | Leased | Busy:
        """Read an entry, or get the lease to load it; a caller that is cancelled leaves no lease behind."""
        token = secrets.token_hex(12)
        try:
            state, now_ms, sequence, left_ms, epoch, frame = await self._store.run(
                "cache/get_or_lease", (entry.name, entry.lease, self._clock), (PRIMARY, token, self._lease_ms)
            )
        except asyncio.CancelledError:
            with suppress(StoreError):
                await self.release(entry, token)
            raise
        match state:
            case 1:
                return Hit(frame=frame, now_ms=now_ms)
            case 2:
                return Leased(token=token, epoch=epoch.decode(), sequence=sequence, now_ms=now_ms)
            case _:
                return Busy(lease_left_ms=left_ms)

    async def fill(self, entry: Entry, lease: Leased, frame: bytes, keep_ms: int) -> bool:
        """Store a frame and end its lease; False if by now a read would refuse it. Without `keep_ms` only ask."""
        (accepted,) = await self._store.run(
            "cache/fill", (entry.name, entry.lease, self._clock), (PRIMARY, lease.token, keep_ms, frame)
        )
        return accepted == 1

    async def renew(self, entry: Entry, token: str) -> bool:
        """Lengthen a lease; False if it is lost."""
        (renewed,) = await self._store.run("cache/renew", (entry.lease,), (token, self._lease_ms))
        return renewed == 1

    async def release(self, entry: Entry, token: str) -> None:
        """End a lease without a result."""
        await self._store.run("cache/release", (entry.lease,), (token,))

    async def invalidate(self, entries: Iterable[Entry]) -> int:
        """Remove entries and the leases of their loads; give how many entries there were."""
        names = [name for entry in entries for name in (entry.name, entry.lease)]
        _, removed = await self._store.run("cache/invalidate", (self._clock, *names), ())
        return removed

    async def mark(self, marks: Iterable[str]) -> None:
        """Make whatever carries one of the marks invisible, if its load began before now."""
        await self._store.run("cache/invalidate_tags", (self._clock,), (self._marks_ms, *marks))

    async def counts(self) -> Counts:
        """Give what was counted so far."""
        reply = await self._store.run("cache/stats", (self._clock,), ())
        return Counts(**dict(zip(Counts.__struct_fields__, reply, strict=True)))
