"""The script calls that administrators need, and the counts of processes: entries are read, and none is changed."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from tollhouse.cache.commands import CAUSES, CacheStore
from tollhouse.cache.envelope import HEADER_BYTES_MAX
from tollhouse.cache.key_names import EntryKeys
from tollhouse.scripts import PRIMARY


class Counts(Struct, frozen=True, kw_only=True):
    """The counts of all processes since the clock was created, keys of the database, and the sums of `families`."""

    keys: int = 0
    sequence: int = 0
    hits: int = 0
    absent: int = 0
    invalidated: int = 0
    epoch: int = 0
    unusable: int = 0
    families: dict[str, str] = {}


class EntrySnapshot(Struct, frozen=True, kw_only=True):
    """What is stored for an entry at the server's time `now_ms`, and what a read would find.

    `envelope` may be its beginning only. `lease` is empty if there is none; `marks` are that of everything, and those
    of its tags.
    """

    result: str
    now_ms: int
    size_bytes: int
    lease_left_ms: int
    envelope: bytes
    lease: bytes
    marks: tuple[bytes, ...]


class ManagementCalls:
    """The calls on entries that share one logical clock. Every method raises StoreError as the store does."""

    def __init__(self, store: CacheStore, clock: str) -> None:
        self._store = store
        self._clock = clock

    async def inspect(self, entry: EntryKeys, envelope_bytes: int) -> EntrySnapshot:
        """Return what is stored for an entry, of its envelope the header and up to so many bytes."""
        cause, now_ms, size_bytes, left_ms, envelope, lease, *marks = await self._store.run(
            "cache/inspect",
            (entry.entry, entry.lease, self._clock),
            (PRIMARY, max(envelope_bytes, HEADER_BYTES_MAX)),
        )
        return EntrySnapshot(
            result=CAUSES[cause] or "hit",
            now_ms=now_ms,
            size_bytes=size_bytes,
            lease_left_ms=left_ms,
            envelope=envelope,
            lease=lease,
            marks=tuple(marks),
        )

    async def add_counts(self, families: str, families_max: int, counted: Sequence[tuple[str, str]]) -> None:
        """Add the numbers of each family, in decimal digits, to its sums in the hash `families`."""
        args = families_max, *(text for each in counted for text in each)
        await self._store.run("cache/add_counts", (families,), args)

    async def counts(self, families: str) -> Counts:
        """Return the counts so far, with the sums of the hash `families`."""
        reply = await self._store.run("cache/stats", (self._clock, families), ())
        names = Counts.__struct_fields__[:-1]
        sums = [text.decode() for text in reply[len(names) :]]
        return Counts(**dict(zip(names, reply, strict=False)), families=dict(zip(sums[::2], sums[1::2], strict=True)))
