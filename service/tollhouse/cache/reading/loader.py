"""Loads: under the lease of their entry, which is renewed meanwhile, or without a lease when the store is bypassed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from inspect import isawaitable
from typing import Any, Final, Literal, ParamSpec, TypeVar

from msgspec import Struct

from tollhouse.cache import codec
from tollhouse.cache.codec import CodecName
from tollhouse.cache.commands import Commands, LoadLease
from tollhouse.cache.envelope import Envelope, encode
from tollhouse.cache.key_names import EntryKeys
from tollhouse.cache.looks import ALONE_MAX
from tollhouse.cache.management.families import FamilyCounters
from tollhouse.cache.reading.query import Query
from tollhouse.cache.reading.single_flight import Flight
from tollhouse.clock import MonotonicClock, Sleep
from tollhouse.errors import InvalidInput, LoadFailed, StoreError, brief
from tollhouse.runtime.background import BackgroundTasks

P = ParamSpec("P")
T = TypeVar("T")

CacheStatus = Literal["HIT", "MISS", "COALESCED", "BYPASS", "DISABLED", "STALE"]
"""Stored before · loaded now · loaded meanwhile by another caller · loaded without the store · the cache is disabled ·
stored before, and served after its lifetime; that is reserved, because no entry is served stale yet."""

Validity = Literal["valid", "refused", "unconfirmed"]

OFF_LOOP_BYTES: Final = 256 * 1024
"""Larger bodies are encoded and decoded in a thread, so that they do not block the event loop."""


class Bounds(Struct, frozen=True, kw_only=True):
    """The bounds of entry size and waiting times.

    A process that dies during a load costs its waiters `lease_ms`. A load longer than `load_ms` loses its lease, and
    a caller that waited longer than `wait_ms` for loads of others loads for itself. A caller that has its value waits
    at most `fill_ms` until it is stored. While `alone_max` looks are under way, those of one tick go out as one call.
    """

    entry_bytes: int = 1024 * 1024
    lease_ms: int = 5_000
    load_ms: int = 600_000
    wait_ms: int = 60_000
    fill_ms: int = 250
    alone_max: int = ALONE_MAX


DEFAULT_BOUNDS: Final = Bounds()
_UNCONFIRMED: Final[tuple[Validity, int]] = ("unconfirmed", 0)
_CONFIRMED_MS: Final = 60_000
"""The lifetime in the header of a value that is confirmed and not stored: only its tags and times matter."""


class LoadedBody(Struct, frozen=True, kw_only=True):
    """An encoded value, of which each caller decodes its own copy.

    Callers that joined during the load may have it if it is `valid`: the store confirmed that nothing that it depends
    on was invalidated meanwhile. If it was `refused`, they ask the store again; if the store said nothing
    (`unconfirmed`), they load without it.
    """

    body: bytes
    status: CacheStatus
    validity: Validity
    age_ms: int = 0
    ttl_ms: int = 0
    load_ms: int = 0


class Loader:
    """Runs loads, and stores their values unless they were invalidated meanwhile."""

    def __init__(
        self,
        commands: Commands,
        counters: FamilyCounters,
        codec_name: CodecName,
        bounds: Bounds,
        *,
        monotonic: MonotonicClock,
        uniform: Callable[[], float],
        sleep: Sleep,
    ) -> None:
        self._commands = commands
        self._counters = counters
        self._codec: CodecName = codec_name
        self._bounds = bounds
        self._monotonic = monotonic
        self._uniform = uniform
        self._sleep = sleep
        self._fills = BackgroundTasks()

    async def load_unleased(self, query: Query) -> LoadedBody:
        """Load without a lease, and store nothing."""
        began_ms = self._monotonic()
        body = await self.encode(query, await call_load(query))
        return LoadedBody(body=body, status="BYPASS", validity="valid", load_ms=self._monotonic() - began_ms)

    async def load_leased(self, lease: LoadLease, query: Query, flight: Flight[Any]) -> LoadedBody:
        """Load under a lease and store the value; the lease ends with the flight, or with a fill that takes longer.

        An error of the load passes through. The flight is closed before the fill is sent, so that every caller that
        shares the value joined before.
        """
        began_ms = self._monotonic()
        renewing = asyncio.create_task(self._renew(query.entry, lease.token))
        try:
            value = await call_load(query)
            tags = query.tags_of(value)
            body = await self.encode(query, value)
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
        load_ms = self._monotonic() - began_ms
        keep_ms = query.lifetime_ms(value, self._uniform())
        flight.close()
        filling = self._fills.start(self._fill(lease, query, tags, body, keep_ms, load_ms), "tollhouse-cache-fill")
        self._commands.leases.hold(query.entry, lease.token, filling)
        await asyncio.wait({filling}, timeout=self._bounds.fill_ms / 1000)
        validity, ttl_ms = filling.result() if filling.done() else _UNCONFIRMED
        return LoadedBody(body=body, status="MISS", validity=validity, ttl_ms=ttl_ms, load_ms=load_ms)

    async def aclose(self) -> None:
        """Wait for the looks and the fills in progress, and for the releases of leases; the store bounds each."""
        await self._commands.looks.aclose()
        await self._fills.aclose()
        await self._commands.leases.aclose()

    async def encode(self, query: Query, value: Any) -> bytes:
        """Return the body of a loaded value; raise LoadFailed if it cannot be encoded."""
        codec_name = query.codec or self._codec
        try:
            encoded = codec.encode_value(value, codec_name)
        except codec.UNSUPPORTED as error:
            what = f"the loaded {type(value).__name__} cannot be encoded as {codec_name}: {brief(error)}"
            raise LoadFailed(f"{what}; load plain values, dataclasses or Structs") from error
        return await run_off_loop_if_large(len(encoded), codec.encode_body, encoded, codec_name, query.digest)

    def envelope(
        self, lease: LoadLease, query: Query, value: Any, tags: tuple[str, ...], body: bytes
    ) -> tuple[bytes, int]:
        """Return a value that was written under a lease as it is stored, and its lifetime, 0 if it is not to be."""
        keep_ms = query.lifetime_ms(value, self._uniform())
        return self._bounded(lease, encode(_header(lease, tags, keep_ms, 0), body), keep_ms)

    def _bounded(self, lease: LoadLease, envelope: bytes, keep_ms: int) -> tuple[bytes, int]:
        return envelope, 0 if lease.is_hold or len(envelope) > self._bounds.entry_bytes else keep_ms

    async def _fill(
        self, lease: LoadLease, query: Query, tags: tuple[str, ...], body: bytes, keep_ms: int, load_ms: int
    ) -> tuple[Validity, int]:
        """Send a body to the store; return whether it is valid, and its lifetime, 0 if it is not stored.

        A body that is not to be stored, is above the bound, was loaded under a hold, or finds a full server, is
        confirmed: the store says whether it would have accepted it.
        """
        header = _header(lease, tags, keep_ms or _CONFIRMED_MS, load_ms)
        envelope, keep_ms = self._bounded(lease, encode(header, body), keep_ms)
        try:
            stored = await self._store(query.entry, lease, envelope, keep_ms) if keep_ms else None
            if stored is None:
                stored, keep_ms = await self._commands.confirm(query.entry, lease, encode(header, b"")), 0
        except StoreError:
            return _UNCONFIRMED
        if not stored:
            self._counters.refused(query.family)
            return "refused", 0
        if keep_ms:
            self._counters.stored(query.family, body)
        self._commands.leases.end(lease.token)
        return "valid", keep_ms

    async def _store(self, entry: EntryKeys, lease: LoadLease, envelope: bytes, keep_ms: int) -> bool | None:
        """Return whether the fill was accepted; None if the server is up and may not store it, as when it is full."""
        try:
            return await self._commands.fill(entry, lease, envelope, keep_ms)
        except StoreError as error:
            if error.outcome != "rejected":
                raise
            return None

    async def _renew(self, entry: EntryKeys, token: str) -> None:
        """Renew a lease three times as often as needed, until it is lost or `load_ms` has passed."""
        for _ in range(3 * self._bounds.load_ms // self._bounds.lease_ms):
            await self._sleep(self._bounds.lease_ms / 3000)
            with suppress(StoreError):
                if not await self._commands.renew(entry, token):
                    return


async def call_load(query: Query) -> Any:
    """Return what the caller's function returns; if it raises CancelledError without cause, raise LoadFailed."""
    try:
        loading: object = query.load()
        if not isawaitable(loading):
            remedy = "give an async function that returns the value; this one returned no awaitable"
            raise InvalidInput("load", type(loading).__name__, remedy)
        return await loading
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise LoadFailed("the loader was cancelled by its own code: nothing else has cancelled this load") from error


def _header(lease: LoadLease, tags: tuple[str, ...], keep_ms: int, load_ms: int) -> Envelope:
    stored_ms = lease.now_ms + load_ms
    return Envelope(
        stored_ms=stored_ms,
        fresh_until_ms=stored_ms + keep_ms,
        load_ms=load_ms,
        epoch=lease.epoch,
        sequence=lease.sequence,
        tags=tags,
    )


async def run_off_loop_if_large(size_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run work on so many bytes at once if they are few, else in a thread."""
    if size_bytes > OFF_LOOP_BYTES:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)
