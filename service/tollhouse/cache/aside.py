"""Cache-aside made safe: `get`, load, `set`, by callers that load values for themselves.

A value that was invalidated between the miss and the `set` is refused, as that of a load under a lease is. There is no
single flight: callers that miss together load together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tollhouse.cache.codec import UNSUPPORTED, CodecName, encode_body, encode_value
from tollhouse.cache.commands import Commands
from tollhouse.cache.envelope import HEAD_BYTES, encode_tail
from tollhouse.cache.key_names import EntryKeys
from tollhouse.cache.looks import Hit
from tollhouse.cache.management.families import FamilyCounters
from tollhouse.cache.permits import REFUSED, Misses
from tollhouse.cache.reading.loader import Bounds, run_off_loop_if_large
from tollhouse.cache.reading.reads import Without
from tollhouse.cache.reading.result import CacheResult, body_of, decode_result
from tollhouse.cache.ttl import JITTER_DEFAULT, spread
from tollhouse.clock import MonotonicClock
from tollhouse.errors import InvalidInput, StoreError, StoreRefused, brief
from tollhouse.metrics import Metrics


class CacheAside:
    """Reads and writes of single values; `get` and `set` raise StoreError as the store does."""

    def __init__(
        self,
        commands: Commands,
        counters: FamilyCounters,
        metrics: Metrics,
        bounds: Bounds,
        *,
        monotonic: MonotonicClock,
        uniform: Callable[[], float],
    ) -> None:
        self._commands = commands
        self._counters = counters
        self._metrics = metrics
        self._bounds = bounds
        self._uniform = uniform
        self._misses = Misses(bounds.load_ms, monotonic)

    def encode(self, value: Any, codec: CodecName) -> bytes:
        """Return a value as it is stored; raise InvalidInput if the codec cannot encode it."""
        try:
            return encode_value(value, codec)
        except UNSUPPORTED as error:
            kind = value.__class__.__name__
            remedy = f"give what msgspec can encode as {codec} ({brief(error)}), or CacheManager serializers for it"
            raise InvalidInput("value", kind, remedy) from error

    def refuse(self, entry: EntryKeys) -> None:
        """Refuse the `set` of this entry that follows in this context."""
        self._misses.note(entry.entry, REFUSED)

    async def get(self, entry: EntryKeys, family: str, type: Any) -> CacheResult[Any] | None:  # noqa: A002 - as in msgspec
        """Return a stored value; None for a miss, which is noted in the caller's context.

        A stored body that cannot be used is removed and counted.
        """
        # Until the store has answered nothing may be stored: a caller may take its own timeout for a miss.
        self.refuse(entry)
        reply = await self._commands.get(entry, self._bounds.load_ms)
        if isinstance(reply, Hit):
            found = await self._decode(entry, reply, family, type)
            if found is not None:
                self._misses.take(entry.entry)
                return found
            self._metrics.discarded_state("cache-entry")
            await self._commands.invalidate((entry.names,))
            reply = await self._commands.get(entry, self._bounds.load_ms)
        if not isinstance(reply, Hit):
            self._misses.note(entry.entry, reply)
            self._counters.missed(family, reply.cause)
        self._counters.read(family, entry.entry, "miss")
        return None

    async def set(
        self,
        entries: Sequence[EntryKeys],
        family: str,
        packed: bytes,
        codec: CodecName,
        tags: tuple[str, ...],
        ttl_ms: int,
    ) -> bool:
        """Store an encoded value under the first name; return False if it is refused or above the bound.

        If no miss was noted, it replaces what is stored under all names, those of other secrets too, in two steps: so
        one that arrives late is refused after an invalidation that came later. If it is refused, no name has a value.
        """
        entry, *others = entries
        permit = self._misses.take(entry.entry)
        if permit is not None and permit.token is None:
            self._counters.refused(family)
            return False
        digest = bytes.fromhex(entry.digest)
        body = await run_off_loop_if_large(len(packed), encode_body, packed, codec, digest)
        tail = encode_tail(tags, body)
        if permit is None:
            if others:
                await self._commands.invalidate([each.names for each in others])
            permit = await self._commands.take_permit(entry)
        if HEAD_BYTES + len(tail) > self._bounds.entry_bytes:
            return False
        keep_ms = spread(ttl_ms, JITTER_DEFAULT, self._uniform())
        if not await self._commands.set(entry, permit, tail, keep_ms):
            self._counters.refused(family)
            return False
        self._counters.stored(family, body)
        return True

    async def look_up(
        self,
        entry: EntryKeys,
        family: str,
        type: Any,  # noqa: A002 - as in msgspec
        without: Without | None,
    ) -> CacheResult[Any] | None:
        """Return a stored value with its age; None if there is none, if it cannot be read now, and `without` the store.

        The server keeps nothing for the caller, and a stored body that cannot be used is left to the next read.
        """
        hit = await self._hit(entry, family) if without is None else None
        found = None if hit is None else await self._decode(entry, hit, family, type)
        if found is None:
            self._counters.read(family, entry.entry, "disabled" if without == "DISABLED" else "miss")
        return found

    async def _hit(self, entry: EntryKeys, family: str) -> Hit | None:
        try:
            reply = await self._commands.get(entry, 0)
        except StoreRefused:
            raise
        except StoreError:
            return None
        if isinstance(reply, Hit):
            return reply
        self._counters.missed(family, reply.cause)
        return None

    async def _decode(self, entry: EntryKeys, hit: Hit, family: str, type: Any) -> CacheResult[Any] | None:  # noqa: A002 - as in msgspec
        loaded = body_of(hit, "HIT")
        found = await decode_result(entry, type, loaded, "HIT")
        if found is not None:
            self._counters.served(family, loaded.body)
            self._counters.read(family, entry.entry, "hit", found.load_ms)
        return found
