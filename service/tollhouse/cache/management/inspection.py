"""Inspection: what is stored under a key, and whether a read would return it; nothing is changed or counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from tollhouse.cache.codec import unpacked_bytes
from tollhouse.cache.commands import CacheStore, Commands
from tollhouse.cache.envelope import decode
from tollhouse.cache.key_names import KeyNames, Names
from tollhouse.cache.management.walks import walk

_SAMPLE_MAX: Final = 20


class TagState(Struct, frozen=True, kw_only=True):
    """A tag of an entry, by its digest; `is_invalidated` if that happened after the entry began to be loaded."""

    digest: str
    is_invalidated: bool


class EntryReport(Struct, frozen=True, kw_only=True):
    """What a read of a key would find: `hit`, or why not: absent, invalidated, epoch or unusable.

    An entry that is stored in our format has the numbers and the tags; `size_bytes` is 0 if there is none. It is
    `cleared` if all entries were invalidated after it began to be loaded. `lease_left_ms` is null if no caller loads
    it; with `is_held`, an invalidation keeps loads out of the cache for so long.
    """

    name: str
    result: str
    size_bytes: int
    unpacked_bytes: int = 0
    age_ms: int | None = None
    ttl_ms: int | None = None
    load_ms: int | None = None
    tags: tuple[TagState, ...] = ()
    cleared: bool = False
    lease_left_ms: int | None = None
    is_held: bool = False


class PatternReport(Struct, frozen=True, kw_only=True):
    """How many entries match a pattern, and the names of some of them on the server."""

    entries: int
    sample: tuple[str, ...]


class Inspection:
    """Reports on entries of one cache, for administrators; raises StoreError as the store does."""

    def __init__(self, commands: Commands, store: CacheStore, key_names: KeyNames) -> None:
        self._commands = commands
        self._store = store
        self._key_names = key_names

    async def key(self, key: str) -> EntryReport:
        """Return what a read of the key would find now."""
        entry = self._key_names.entries(key)[0]
        result, now_ms, size_bytes, left_ms, header, lease, marks = await self._commands.inspect(entry)
        report = EntryReport(
            name=entry.entry,
            result=result,
            size_bytes=size_bytes,
            lease_left_ms=left_ms if lease else None,
            is_held=lease.startswith(b"H"),
        )
        return report if result == "unusable" or not header else _with_header(report, header, marks, now_ms)

    async def pattern(self, pattern: str) -> PatternReport:
        """Return how many entries match; it scans every key in small steps."""
        names: list[str] = []

        async def collect(found: list[Names]) -> int:
            names.extend(each[0] for each in found[: _SAMPLE_MAX - len(names)])
            return len(found)

        patterns = self._key_names.patterns(pattern)
        if not patterns:
            report = await self.key(pattern)
            return PatternReport(entries=int(report.size_bytes > 0), sample=(report.name,) if report.size_bytes else ())
        entries = sum([await walk(self._store, each, collect) for each in patterns])
        return PatternReport(entries=entries, sample=tuple(names))


def _with_header(report: EntryReport, envelope: bytes, marks: Sequence[bytes], now_ms: int) -> EntryReport:
    header, body = decode(envelope)
    after = [bool(mark) and int(mark[:12]) > header.sequence for mark in marks]
    return EntryReport(
        name=report.name,
        result=report.result,
        size_bytes=report.size_bytes,
        unpacked_bytes=unpacked_bytes(body),
        age_ms=max(now_ms - header.stored_ms, 0),
        ttl_ms=header.fresh_until_ms - now_ms,
        load_ms=header.load_ms,
        tags=tuple(TagState(digest=tag, is_invalidated=late) for tag, late in zip(header.tags, after[1:], strict=True)),
        cleared=after[0],
        lease_left_ms=report.lease_left_ms,
        is_held=report.is_held,
    )
