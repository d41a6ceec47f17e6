"""Write-behind: readers have a value at once, and its source is written later, in order, at least once.

A write is queued in the same step that stores its value. One consumer at a time applies the writes, the eldest first;
any process may be that, and takes over what another left when it died. Until a write is applied, a hold keeps what the
source says out of the cache. A write whose application fails is tried again, with a growing wait, and in the end goes
to the dead letters, whose number is bounded: then its value is removed, because the source does not have it.
"""

from __future__ import annotations

import asyncio
import builtins
import secrets
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from msgspec import Struct

from tollhouse.cache.codec import UNSUPPORTED, encode_body, encode_value
from tollhouse.cache.commands import CacheStore, Commands
from tollhouse.cache.key_names import KeyNames
from tollhouse.cache.reading.reads import decodable
from tollhouse.cache.ttl import lifetime_ms
from tollhouse.cache.writing.consumer import LEASE_MS, Consumer, ConsumerBounds, QueuedWrite
from tollhouse.cache.writing.queue import NewWrite, WriteQueue
from tollhouse.clock import Sleep
from tollhouse.errors import ConfigurationError, InvalidInput, Overloaded, require_type
from tollhouse.runtime.background import BackgroundTasks

T = TypeVar("T")

LENGTH_MAX: Final = 10_000
"""How many writes wait in a queue, unless another bound is given."""
ATTEMPTS_MAX: Final = 16
"""How often a write is tried, unless another bound is given: for about eight minutes."""
_COUNT_MAX: Final = 1_000_000
_WRITE_BYTES_MAX: Final = 1024 * 1024
_ID_CHARACTERS_MAX: Final = 128
_ID_BYTES: Final = 16


class WriteReceipt(Struct, frozen=True, kw_only=True):
    """A write that was queued; `durable` if that was asked for, and the write survives a failover."""

    id: str
    durable: bool


class WriteBehinds:
    """Opens queues of writes, and ends those that are still open."""

    def __init__(self, store: CacheStore, key_names: KeyNames, commands: Commands, ttl_ms: int, sleep: Sleep) -> None:
        self.store = store
        self.key_names = key_names
        self.commands = commands
        self.ttl_ms = ttl_ms
        self.sleep = sleep
        self.opened: set[WriteBehind[Any]] = set()

    def open(
        self,
        name: str,
        apply: Callable[[QueuedWrite[T]], Awaitable[object]] | None = None,
        *,
        type: type[T] | None = None,  # noqa: A002 - as in msgspec
        length_max: int = LENGTH_MAX,
        attempts_max: int = ATTEMPTS_MAX,
        apply_s: float = 30,
        lease_ms: int = LEASE_MS,
    ) -> WriteBehind[T]:
        """Return the queue of a name, for `async with`; in the block `apply` gets the writes of all processes.

        Writes are applied one after the other, in their order, by one process at a time, and at least once: `apply` may
        get a write again that it has applied, with the same `id`. If a process dies, another takes over after
        `lease_ms`. Each attempt takes at most `apply_s`; after `attempts_max` a write goes to the dead letters. Without
        `apply` this process only puts. Values are decoded as `type`. Of `length_max` writes that wait no further one is
        accepted.
        """
        if apply is not None:
            require_type("apply", apply, Callable, "give an async function that writes to the source")
        bounds = {"length_max": (length_max, 1), "attempts_max": (attempts_max, 1), "lease_ms": (lease_ms, 100)}
        for field, (given, least) in bounds.items():
            if builtins.type(given) is not int or not least <= given <= _COUNT_MAX:
                raise InvalidInput(field, given, f"give a number from {least} to {_COUNT_MAX}")
        queue = WriteQueue(self.store, self.key_names, name)
        consumer = None
        if apply is not None:
            limits = ConsumerBounds(attempts_max=attempts_max, apply_s=apply_s, lease_ms=lease_ms)
            consumer = Consumer(queue, self.key_names, apply, decodable(type), limits, self.sleep)
        return WriteBehind(self, queue, consumer, length_max)

    async def aclose(self) -> None:
        """End the queues that are open."""
        for writes in tuple(self.opened):
            await writes.aclose()


class WriteBehind(Generic[T]):
    """A queue of writes to a source, whose values readers have at once."""

    def __init__(self, owner: WriteBehinds, queue: WriteQueue, consumer: Consumer | None, length_max: int) -> None:
        self._owner = owner
        self._queue = queue
        self._consumer = consumer
        self._length_max = length_max
        self._task: asyncio.Task[None] | None = None
        self._tasks = BackgroundTasks()

    async def put(
        self,
        key: str,
        value: T,
        *,
        ttl_s: int | None = None,
        tags: Iterable[str] = (),
        id: str | None = None,  # noqa: A002 - the word of the field
        durable: bool = False,
    ) -> WriteReceipt:
        """Queue a write and store its value for readers, in one step.

        `id` names the write, so that `apply` can tell one that comes again; by default it is random. With `durable` the
        call waits until the write survives a failover, and says whether it does. Raises Overloaded if the queue is
        full, and StoreUnavailable if the store did not answer: then put it again, with the same `id`.
        """
        names, owner = self._owner.key_names, self._owner
        entry, *others = names.entries(key)
        digests = names.entry_tags(tags)
        keep_ms = owner.ttl_ms if ttl_s is None else lifetime_ms(ttl_s)
        packed = _packed((key, value))
        if len(packed) > _WRITE_BYTES_MAX:
            raise InvalidInput("value", f"{len(packed)} bytes", f"give at most {_WRITE_BYTES_MAX} with its key")
        write = NewWrite(
            id=secrets.token_hex(_ID_BYTES) if id is None else _checked_id(id),
            write=packed,
            entry=entry,
            tags=digests,
            body=encode_body(_packed(value), "msgpack", bytes.fromhex(entry.digest)),
            keep_ms=keep_ms,
        )
        queued, survives = await self._queue.add(write, length_max=self._length_max, durable=durable)
        if not queued:
            raise Overloaded(f"the queue of writes {self._queue.name!r}, with {self._length_max} of them,", 1_000)
        if others:
            await owner.commands.invalidate([other.names for other in others])
        if self._consumer is not None:
            self._consumer.wake()
        return WriteReceipt(id=write.id, durable=survives)

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise ConfigurationError("write_behind", "entered twice", "call write_behind again for another block")
        if self._consumer is not None:
            self._owner.opened.add(self)
            self._task = self._tasks.start(self._consumer.run(), "tollhouse-cache-writes")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the consumer when the write that it applies has ended; other writes stay in the queue."""
        self._owner.opened.discard(self)
        if self._task is None or self._consumer is None:
            return
        self._consumer.end()
        try:
            await asyncio.wait({self._task})
        except asyncio.CancelledError:
            self._task.cancel()
            await self._tasks.aclose()
            raise


def _checked_id(given: str) -> str:
    require_type("id", given, str, "give text")
    if not 1 <= len(given) <= _ID_CHARACTERS_MAX:
        raise InvalidInput("id", given, f"give 1 to {_ID_CHARACTERS_MAX} characters")
    return given


def _packed(value: object) -> bytes:
    try:
        return encode_value(value, "msgpack")
    except UNSUPPORTED as error:
        raise InvalidInput("value", type(value).__name__, f"give what msgspec can encode ({error})") from error
