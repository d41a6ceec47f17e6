"""The queue of writes that are to be applied to a source: a stream, its consumer group, and the script calls on it."""

from __future__ import annotations

import re
import secrets
from typing import Final

from msgspec import Struct

from tollhouse.cache.commands import CacheStore
from tollhouse.cache.envelope import encode_tail
from tollhouse.cache.key_names import EntryKeys, KeyNames
from tollhouse.cache.ttl import HOLD_MS_MAX
from tollhouse.errors import ConfigurationError
from tollhouse.scripts import PRIMARY

GROUP: Final = "tollhouse"
"""The consumer group of every queue."""
DEAD_MAX: Final = 1_000
"""How many writes that failed are kept."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_TOKEN_BYTES: Final = 12
_MS_BITS: Final = 20


class NewWrite(Struct, frozen=True, kw_only=True):
    """A write to queue: what the consumer gets, and the value as it is stored for readers."""

    id: str
    write: bytes
    entry: EntryKeys
    tags: tuple[str, ...]
    body: bytes
    keep_ms: int


class TakenWrite(Struct, frozen=True, kw_only=True):
    """A write that this consumer has to apply; `stream_id` is its place in the queue."""

    stream_id: str
    id: str
    attempt: int
    hold: str
    until_ms: int
    write: bytes

    @property
    def version(self) -> int:
        """A number that grows with each write of the queue, and fits in 64 bits."""
        ms, _, number = self.stream_id.partition("-")
        return (int(ms) << _MS_BITS) + min(int(number), (1 << _MS_BITS) - 1)


class WriteQueue:
    """One queue. Every method raises StoreError as the store does."""

    def __init__(self, store: CacheStore, key_names: KeyNames, name: str) -> None:
        if _NAME.fullmatch(name) is None:
            raise ConfigurationError("write_behind", name, "name the queue with 1 to 32 of a-z, 0-9, '_' and '-'")
        self.name = name
        self._store = store
        self._clock = key_names.clock
        self._queue, self._owner, self._dead = key_names.queue(name)

    async def add(self, write: NewWrite, *, length_max: int, durable: bool) -> tuple[bool, bool]:
        """Queue a write and store its value for readers; return whether there was room for it, and if it is durable."""
        keys = (*write.entry.names, self._clock, self._queue)
        token, tail = secrets.token_hex(_TOKEN_BYTES), encode_tail(write.tags, write.body)
        args = (PRIMARY, token, write.id, length_max, HOLD_MS_MAX, write.keep_ms, tail, write.write)
        if durable:
            (queued, _), survives = await self._store.run_durably("cache/queue_write", keys, args)
        else:
            (queued, _), survives = await self._store.run("cache/queue_write", keys, args), False
        return queued == 1, survives

    async def take(self, consumer: str, lease_ms: int) -> TakenWrite | bool:
        """Return the eldest write; False if there is none, True if another consumer has the queue."""
        state, _, *found = await self._store.run(
            "cache/next_write", (self._queue, self._owner), (GROUP, consumer, lease_ms)
        )
        if state != 1:
            return state == 3
        attempt, stream_id, name, hold, until_ms, write = found
        return TakenWrite(
            stream_id=stream_id.decode(),
            id=name.decode(),
            attempt=attempt,
            hold=hold.decode(),
            until_ms=int(until_ms),
            write=write,
        )

    async def end(self, entry: EntryKeys, taken: TakenWrite, error: str | None) -> None:
        """Take a write out of the queue: it was applied, or it failed for good with an error of this kind."""
        keys = (self._queue, self._dead, *entry.names, self._clock)
        failed = (0, "", b"") if error is None else (DEAD_MAX, error, taken.write)
        args = (GROUP, taken.stream_id, taken.hold, taken.until_ms, taken.id, *failed)
        await self._store.run("cache/end_write", keys, args)

    async def renew(self, consumer: str, lease_ms: int) -> None:
        """Keep the queue for this consumer."""
        await self._store.run("cache/renew", (self._owner,), (consumer, lease_ms))

    async def release(self, consumer: str) -> None:
        """Free the queue for another consumer."""
        await self._store.run("cache/release", (self._owner,), (consumer,))

    async def eviction_policy(self) -> str:
        """Return the server's policy of eviction; empty if it does not say."""
        return (await self._store.info("memory")).get("maxmemory_policy", "")
