"""Read-through: return the stored value, or load it under a lease, or wait for the caller that loads it.

No read returns a value that was invalidated before the read began:

- A stored value is checked against the clock by the script that returns it.
- A value loaded under a lease goes to the caller that got the lease, before the load began. Other callers get it
  only if the fill was accepted, and all of them joined before the fill was sent.
- A value that another process stored goes to callers that joined before the lookup that found it was sent.

While the store is down there is only one guarantee: one process loads a key once at a time. A read waits for one call
that the store does not answer, before the load or, for `fill_ms`, after it; all that is left to do then happens in the
background.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

from tollhouse.cache.codec import decode_body, decoding_bytes
from tollhouse.cache.commands import Busy, Commands, Hit, LoadLease
from tollhouse.cache.envelope import decode
from tollhouse.cache.reading.loader import Bounds, CacheStatus, LoadedBody, Loader, Query, run_off_loop_if_large
from tollhouse.cache.reading.single_flight import Flight, SingleFlight
from tollhouse.clock import MonotonicClock, Sleep
from tollhouse.errors import LoadFailed, StoreError, StoreRefused
from tollhouse.metrics import Metrics

T = TypeVar("T")

_DELAY_MS: Final = 25
_DELAY_MS_MAX: Final = 500

_ReadFlight = Flight[LoadedBody | None]
"""Its result is None if the store is down."""


class CacheResult(Struct, Generic[T], frozen=True, kw_only=True):
    """A value and its source.

    It was stored `age_ms` ago, is valid for another `ttl_ms` (0 if it was not stored), and took `load_ms` to load.
    """

    value: T
    status: CacheStatus
    age_ms: int
    ttl_ms: int
    load_ms: int


class Reader:
    """Answers reads; a key has at most one load at a time in this process, and one under a lease over all processes."""

    def __init__(
        self,
        commands: Commands,
        loader: Loader,
        metrics: Metrics,
        bounds: Bounds,
        *,
        monotonic: MonotonicClock,
        sleep: Sleep,
    ) -> None:
        self._commands = commands
        self._loader = loader
        self._metrics = metrics
        self._bounds = bounds
        self._monotonic = monotonic
        self._sleep = sleep
        self._flights: SingleFlight[LoadedBody | None] = SingleFlight()
        self._bypasses: SingleFlight[LoadedBody] = SingleFlight()

    async def read(self, query: Query) -> CacheResult[Any]:
        """Return the value through the store; load without it if it is down, or if others keep the caller waiting."""
        give_up_ms = self._monotonic() + self._bounds.wait_ms
        while self._monotonic() < give_up_ms:
            result = await self._attempt(query)
            if result is not None:
                return result
        return await self.load_unleased(query, "BYPASS")

    async def load_unleased(self, query: Query, status: CacheStatus) -> CacheResult[Any]:
        """Load for this caller alone, whatever is stored or in progress."""
        return await self._decode_own(query, await self._loader.load_unleased(query), status)

    async def aclose(self) -> None:
        """Cancel the loads in progress, and wait for the fills and releases of leases."""
        await self._flights.aclose()
        await self._bypasses.aclose()
        await self._loader.aclose()

    async def _attempt(self, query: Query) -> CacheResult[Any] | None:
        """Return the value; None if the stored or shared value cannot be used, and the caller must try again."""
        flight = self._flights.find(query.entry.digest)
        if flight is not None:
            return await self._result(flight, query, joined=True)
        reply = await self._get_or_lease(query)
        match reply:
            case None:
                return await self._bypass(query)
            case Hit():
                return await self._decode_stored(query, _body_of(reply, "HIT"), "HIT")
            case Busy() | LoadLease(is_hold=True) if (flight := self._flights.find(query.entry.digest)) is not None:
                return await self._result(flight, query, joined=True)
            case _:
                flight = self._flights.start(query.entry.digest, lambda flight: self._lead(flight, query, reply))
                self._hold(flight, query, reply)
                return await self._result(flight, query, joined=False)

    async def _result(self, flight: _ReadFlight, query: Query, *, joined: bool) -> CacheResult[Any] | None:
        loaded = await flight.wait()
        if loaded is None or (joined and loaded.validity == "unconfirmed"):
            return await self._bypass(query)
        if joined and loaded.validity == "refused":
            return None
        status = "COALESCED" if joined and loaded.status != "BYPASS" else loaded.status
        return await self._decode_stored(query, loaded, status)

    async def _lead(self, flight: _ReadFlight, query: Query, reply: Busy | LoadLease) -> LoadedBody | None:
        """Wait while another process loads, then return its value or load; None if the store is down."""
        give_up_ms = self._monotonic() + self._bounds.wait_ms
        delays_ms = _delays_ms()
        while isinstance(reply, Busy):
            await self._sleep(min(next(delays_ms), reply.lease_left_ms) / 1000)
            flight.close()
            if self._monotonic() >= give_up_ms:
                return await self._loader.load_unleased(query)
            latest = await self._get_or_lease(query)
            if latest is None:
                return None
            if isinstance(latest, Hit):
                return _body_of(latest, "COALESCED")
            reply = latest
            self._hold(flight, query, reply)
            flight.reopen()
        return await self._loader.load_leased(reply, query, flight)

    def _hold(self, flight: _ReadFlight, query: Query, reply: Busy | LoadLease) -> None:
        """Keep a lease that was granted until the flight is done, whether or not its load begins."""
        if isinstance(reply, LoadLease):
            self._commands.leases.hold(query.entry, reply.token, flight.task)

    async def _bypass(self, query: Query) -> CacheResult[Any]:
        """Load while the store is down, once in this process for all concurrent callers."""
        digest = query.entry.digest
        flight = self._bypasses.find(digest)
        if flight is None:
            flight = self._bypasses.start(digest, lambda _: self._loader.load_unleased(query))
        return await self._decode_own(query, await flight.wait(), "BYPASS")

    async def _get_or_lease(self, query: Query) -> Hit | LoadLease | Busy | None:
        try:
            return await self._commands.get_or_lease(query.entry, query.ttl_ms)
        except StoreRefused:
            raise
        except StoreError:
            return None

    async def _decode_stored(self, query: Query, loaded: LoadedBody, status: CacheStatus) -> CacheResult[Any] | None:
        """Return the caller's own copy; None for a stored body that is unusable, which is removed and counted."""
        if loaded.status in ("MISS", "BYPASS"):
            return await self._decode_own(query, loaded, status)
        result = await _decode(query, loaded, status)
        if result is None:
            self._metrics.discarded_state("cache-entry")
            try:
                await self._commands.invalidate((query.entry.names,))
            except StoreError:
                return await self._bypass(query)
        return result

    async def _decode_own(self, query: Query, loaded: LoadedBody, status: CacheStatus) -> CacheResult[Any]:
        """Return the caller's own copy of a value that this process has just loaded."""
        result = await _decode(query, loaded, status)
        if result is None:
            raise LoadFailed(f"the loaded value was encoded, but cannot be decoded as {query.type!r}")
        return result


async def _decode(query: Query, loaded: LoadedBody, status: CacheStatus) -> CacheResult[Any] | None:
    decoded = await run_off_loop_if_large(
        decoding_bytes(loaded.body), decode_body, loaded.body, query.digest, query.type
    )
    if decoded is None:
        return None
    return CacheResult(
        value=decoded.value,
        status=status,
        age_ms=loaded.age_ms,
        ttl_ms=loaded.ttl_ms,
        load_ms=loaded.load_ms,
    )


def _body_of(hit: Hit, status: CacheStatus) -> LoadedBody:
    header, body = decode(hit.envelope)
    return LoadedBody(
        body=body,
        status=status,
        validity="valid",
        age_ms=max(hit.now_ms - header.stored_ms, 0),
        ttl_ms=header.fresh_until_ms - hit.now_ms,
        load_ms=header.load_ms,
    )


def _delays_ms() -> Iterator[int]:
    """Yield delays that grow by half each time."""
    delay_ms = _DELAY_MS
    while True:
        yield delay_ms
        delay_ms = min(delay_ms * 3 // 2, _DELAY_MS_MAX)
