"""Inspection: what is stored under a key, and whether a read would return it; nothing is changed or counted."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tollhouse.cache.codec import decode_body, unpacked_bytes
from tollhouse.cache.commands import CacheStore
from tollhouse.cache.envelope import HEADER_BYTES_MAX, decode
from tollhouse.cache.key_names import EntryKeys, KeyNames, Names
from tollhouse.cache.management.calls import EntrySnapshot, ManagementCalls
from tollhouse.cache.management.walks import walk

VALUE_CHARACTERS_MAX: Final = 10_000
"""How much of a value is shown."""
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

    def __init__(self, calls: ManagementCalls, store: CacheStore, key_names: KeyNames, *, entry_bytes_max: int) -> None:
        self._calls = calls
        self._store = store
        self._key_names = key_names
        self._entry_bytes_max = entry_bytes_max

    async def key(self, key: str) -> EntryReport:
        """Return what a read of the key would find now."""
        entry = self._key_names.entries(key)[0]
        return _report(entry, await self._calls.inspect(entry, HEADER_BYTES_MAX))

    async def key_and_value(self, key: str) -> tuple[EntryReport, str | None]:
        """Return what a read of the key would find now, and the beginning of the stored value as text.

        It is JSON, up to `VALUE_CHARACTERS_MAX` of it, whether or not a read would return the value; None without one.
        """
        entry = self._key_names.entries(key)[0]
        found = await self._calls.inspect(entry, self._entry_bytes_max)
        report = _report(entry, found)
        text = None if report.age_ms is None else await asyncio.to_thread(_text, found.envelope, entry.digest)
        return report, text

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


def _report(entry: EntryKeys, found: EntrySnapshot) -> EntryReport:
    report = EntryReport(
        name=entry.entry,
        result=found.result,
        size_bytes=found.size_bytes,
        lease_left_ms=found.lease_left_ms if found.lease else None,
        is_held=found.lease.startswith(b"H"),
    )
    if report.result == "unusable" or not found.envelope:
        return report
    header, body = decode(found.envelope)
    after = [bool(mark) and int(mark[:12]) > header.sequence for mark in found.marks]
    return replace(
        report,
        unpacked_bytes=unpacked_bytes(body),
        age_ms=max(found.now_ms - header.stored_ms, 0),
        ttl_ms=header.fresh_until_ms - found.now_ms,
        load_ms=header.load_ms,
        tags=tuple(TagState(digest=tag, is_invalidated=late) for tag, late in zip(header.tags, after[1:], strict=True)),
        cleared=after[0],
    )


def _text(envelope: bytes, digest: str) -> str | None:
    """Return the beginning of a value as text; None if it is damaged, or longer than what was read."""
    decoded = decode_body(decode(envelope)[1], bytes.fromhex(digest))
    if decoded is None:
        return None
    return msgspec.json.encode(decoded.value, enc_hook=repr).decode()[:VALUE_CHARACTERS_MAX]
