"""Results of reads: bodies, and what callers get of them."""

from __future__ import annotations

import asyncio
from typing import Any, Generic, TypeVar

from msgspec import Struct

from tollhouse.cache.codec import decode_body, decoding_bytes
from tollhouse.cache.envelope import decode_times
from tollhouse.cache.key_names import EntryKeys
from tollhouse.cache.looks import Hit
from tollhouse.cache.reading.loader import OFF_LOOP_BYTES, CacheStatus, LoadedBody

T = TypeVar("T")


class CacheResult(Struct, Generic[T], frozen=True, kw_only=True):
    """A value and its source.

    It was stored `age_ms` ago, is valid for another `ttl_ms` (0 if it was not stored), and took `load_ms` to load.
    """

    value: T
    status: CacheStatus
    age_ms: int
    ttl_ms: int
    load_ms: int


async def decode_result(
    entry: EntryKeys,
    type: Any,  # noqa: A002 - as in msgspec
    loaded: LoadedBody,
    status: CacheStatus,
) -> CacheResult[Any] | None:
    """Return a value of the caller's own; None if the body is damaged, of another key, or not of the type."""
    body, owner = loaded.body, bytes.fromhex(entry.digest)
    if decoding_bytes(body) > OFF_LOOP_BYTES:
        decoded = await asyncio.to_thread(decode_body, body, owner, type)
    else:
        decoded = decode_body(body, owner, type)
    if decoded is None:
        return None
    return CacheResult(
        value=decoded.value,
        status=status,
        age_ms=loaded.age_ms,
        ttl_ms=loaded.ttl_ms,
        load_ms=loaded.load_ms,
    )


def body_of(hit: Hit, status: CacheStatus) -> LoadedBody:
    """Return the body of a stored envelope."""
    stored_ms, fresh_until_ms, load_ms, body = decode_times(hit.envelope)
    return LoadedBody(
        body=body,
        status=status,
        validity="valid",
        age_ms=max(hit.now_ms - stored_ms, 0),
        ttl_ms=fresh_until_ms - hit.now_ms,
        load_ms=load_ms,
    )
