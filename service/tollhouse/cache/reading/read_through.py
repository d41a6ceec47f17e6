"""Read-through: return the stored value, or load it under a lease, or wait for the caller that loads it.

No read returns a value that was invalidated before the read began:

- A stored value is checked against the clock by the script that returns it.
- A value loaded under a lease goes to the caller that got the lease, before the load began. Other callers get it
  only if the store accepted or confirmed it, and all of them joined before that call was sent.
- A value that another process stored goes to callers that joined before the lookup that found it was sent.
- A value loaded without a lease, because others kept its caller waiting or the store did not confirm theirs, goes to
  callers that began before that load did.

While the store is down one process loads a key once at a time, and no read returns a value that was loaded before an
invalidation of its own process that it began after; invalidations of others are not known then. A read waits for one
call that the store does not answer, before the load or, for `fill_ms`, after it; all that is left to do then happens in
the background. A read waits for loads of others for `wait_ms`. If the caller whose loader runs leaves and the load
fails, the others begin again, and one of them loads with its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, Literal

from tollhouse.cache.codec import reason_against
from tollhouse.cache.commands import Busy, Commands, LoadLease
from tollhouse.cache.looks import Hit
from tollhouse.cache.management.families import FamilyCounters
from tollhouse.cache.reading.loader import Bounds, CacheStatus, LoadedBody, Loader
from tollhouse.cache.reading.query import Query
from tollhouse.cache.reading.result import CacheResult, body_of, decode_result
from tollhouse.cache.reading.single_flight import Flight, SingleFlight
from tollhouse.cache.reading.wait_graph import RunningLoad
from tollhouse.clock import MonotonicClock, Sleep
from tollhouse.errors import LoadFailed, StoreError, StoreRefused
from tollhouse.metrics import Metrics

_DELAY_MS: Final = 25
_DELAY_MS_MAX: Final = 500

FlightResult = LoadedBody | Literal["down", "gave-up"]
"""The result of a flight: a body · the store is down · another process kept it waiting for too long."""

_Found = Flight[FlightResult] | Hit | LoadLease | Busy | None
"""A flight of this process that can be joined, or the answer of the store, None if it is down."""


class Reader:
    """Answers reads; a key has at most one load at a time in this process, and one under a lease over all processes."""

    def __init__(
        self,
        commands: Commands,
        loader: Loader,
        counters: FamilyCounters,
        metrics: Metrics,
        bounds: Bounds,
        *,
        monotonic: MonotonicClock,
        sleep: Sleep,
    ) -> None:
        self._commands = commands
        self._loader = loader
        self._counters = counters
        self._metrics = metrics
        self._bounds = bounds
        self._monotonic = monotonic
        self._sleep = sleep
        self._flights: SingleFlight[FlightResult] = SingleFlight()
        self._refreshes: SingleFlight[FlightResult] = SingleFlight()
        self._bypasses: SingleFlight[LoadedBody] = SingleFlight()

    async def read(self, query: Query, answered: Callable[[], None] | None = None) -> CacheResult[Any]:
        """Return the value through the store; load without it if it is down, or if others keep the caller waiting.

        `answered` is called when the store has answered, and when it need not, before any load.
        """
        began, give_up_ms = self._bypasses.started, self._monotonic() + self._bounds.wait_ms
        while (wait_ms := give_up_ms - self._monotonic()) > 0:
            found = self._flights.find(query.entry.digest)
            if found is None:
                meets = self._commands.looks.meet(query.entry)
                found = await (self._look_with_others(query) if meets else self._get_or_lease(query))
            if answered is not None:
                answered()
            result = await self._answer(query, found, began, wait_ms)
            if result is not None:
                return result
        return await self.bypass(query, began)

    async def refresh(self, query: Query) -> CacheResult[Any]:
        """Load under a lease of its own, whatever is stored or being loaded, and store the value."""
        load = self._running(query)
        load.require_no_recursion()
        try:
            lease = await self._commands.take_lease(query.entry, query.longest_ms)
        except StoreRefused:
            raise
        except StoreError:
            return await self.load_unleased(query, "BYPASS")
        flight = self._start(self._refreshes, query, lease, load)
        loaded = await flight.lead()
        assert isinstance(loaded, LoadedBody)
        if query.others:
            with suppress(StoreError):  # as a fill that fails leaves what was stored
                await self._commands.invalidate(query.others)
        return await self._decode_own(query, loaded, loaded.status)

    async def bypass(self, query: Query, since: int = 0) -> CacheResult[Any]:
        """Load without the store, once in this process for all concurrent callers.

        Callers that came after an invalidation of this process, sent or not, do not share a load that began before it.
        `since` leaves out loads that began before `started` of the bypasses had this value. Callers that wait too long
        for a load share one that begins afterwards; one that waits too long for that as well loads alone.
        """
        name, began = f"{query.entry.digest} {self._commands.invalidations}", self._bypasses.started
        while (flight := self._bypasses.find(name, since)) is not None:
            if not await flight.ended(self._bounds.wait_ms / 1000):
                if since:
                    return await self.load_unleased(query, "BYPASS")
                since = began
            elif not flight.concerns_starter_alone:
                return await self._decode_own(query, flight.result(), "BYPASS")
        load = self._running(query)
        load.require_no_recursion()
        flight = self._bypasses.start(name, lambda _: self._loader.load_unleased(query), load)
        return await self._decode_own(query, await flight.lead(), "BYPASS")

    async def keep(self, query: Query, early_ms: int, unread_ms: int) -> int | None:
        """Load a value anew that is gone or ends soon, as `lease_early` says; return the time of the load, or None."""
        load = self._running(query)
        lease = await self._commands.lease_early(query.entry, query.longest_ms, early_ms, unread_ms)
        if lease is None:
            return None
        loaded = await self._start(self._refreshes, query, lease, load).lead()
        assert isinstance(loaded, LoadedBody)
        return loaded.load_ms

    async def load_unleased(self, query: Query, status: CacheStatus) -> CacheResult[Any]:
        """Load for this caller alone, whatever is stored or in progress."""
        load = self._running(query)
        load.require_no_recursion()
        with load.inside():
            loaded = await self._loader.load_unleased(query)
        return await self._decode_own(query, loaded, status)

    async def aclose(self) -> None:
        """Cancel the loads in progress, and wait for the fills and releases of leases."""
        await self._flights.aclose()
        await self._refreshes.aclose()
        await self._bypasses.aclose()
        await self._loader.aclose()

    async def _answer(self, query: Query, found: _Found, began: int, wait_ms: int) -> CacheResult[Any] | None:
        """Return the value; None if the stored or shared value cannot be used, and the caller must try again."""
        match found:
            case Hit():
                return await self._decode_stored(query, body_of(found, "HIT"), "HIT")
            case Flight():
                return await self._join(found, query, began, wait_ms)
            case None:
                return await self.bypass(query)
            case Busy() | LoadLease(is_hold=True) if (flight := self._joinable(query)) is not None:
                return await self._join(flight, query, began, wait_ms)
            case _:
                flight = self._start(self._flights, query, found, self._running(query))
                loaded = await flight.lead()
                return await self._result(query, loaded, began)

    def _joinable(self, query: Query) -> Flight[FlightResult] | None:
        """Return the flight of this process that holds the lease, or waits for it."""
        return self._flights.find(query.entry.digest) or self._refreshes.find(query.entry.digest)

    def _running(self, query: Query) -> RunningLoad:
        return RunningLoad(self, query.entry.digest, query.family)

    def _start(
        self, flights: SingleFlight[FlightResult], query: Query, reply: Busy | LoadLease, load: RunningLoad
    ) -> Flight[FlightResult]:
        """Start a flight in the step in which the reply is read, so that a lease that was granted is kept by it."""
        if isinstance(reply, Busy):
            load.require_no_recursion()
        flight = flights.start(query.entry.digest, lambda flight: self._lead(flight, query, reply), load)
        self._hold(flight, query, reply)
        return flight

    async def _join(
        self, flight: Flight[FlightResult], query: Query, began: int, wait_ms: int
    ) -> CacheResult[Any] | None:
        """Return the value of another caller's flight; None if it is not for this caller, which must try again."""
        self._running(query).require_no_recursion()
        if not await flight.ended(wait_ms / 1000) or flight.concerns_starter_alone:
            return None
        loaded = flight.result()
        if isinstance(loaded, LoadedBody):
            if loaded.validity == "refused":
                return None
            if loaded.validity == "unconfirmed":
                return await self.bypass(query, began)
        return await self._result(query, loaded, began, joined=True)

    async def _result(
        self, query: Query, loaded: FlightResult, began: int, *, joined: bool = False
    ) -> CacheResult[Any] | None:
        match loaded:
            case "down":
                return await self.bypass(query)
            case "gave-up":
                return await self.bypass(query, began)
            case _:
                return await self._decode_stored(query, loaded, "COALESCED" if joined else loaded.status)

    async def _lead(self, flight: Flight[FlightResult], query: Query, reply: Busy | LoadLease) -> FlightResult:
        """Wait while another process loads, then return its value or load."""
        give_up_ms = self._monotonic() + self._bounds.wait_ms
        delays_ms = _delays_ms()
        while isinstance(reply, Busy):
            await self._sleep(min(next(delays_ms), reply.lease_left_ms) / 1000)
            flight.close()
            if self._monotonic() >= give_up_ms:
                return "gave-up"
            with query.asking():
                latest = await self._get_or_lease(query)
            if latest is None:
                return "down"
            if isinstance(latest, Hit):
                return body_of(latest, "COALESCED")
            reply = latest
            self._hold(flight, query, reply)
            flight.reopen()
        return await self._loader.load_leased(reply, query, flight)

    def _hold(self, flight: Flight[FlightResult], query: Query, reply: Busy | LoadLease) -> None:
        """Keep a lease that was granted until the flight is done, whether or not its load begins."""
        if isinstance(reply, LoadLease):
            self._commands.leases.hold(query.entry, reply.token, flight.task)

    async def _look_with_others(self, query: Query) -> _Found:
        """Return the entry if it is valid; else a flight that was started meanwhile, or what the store grants."""
        try:
            found = await self._commands.looks.join(query.entry)
        except StoreRefused:
            raise
        except StoreError:
            return None
        if isinstance(found, Hit):
            return found
        return self._flights.find(query.entry.digest) or await self._get_or_lease(query)

    async def _get_or_lease(self, query: Query) -> Hit | LoadLease | Busy | None:
        try:
            reply = await self._commands.get_or_lease(query.entry, query.longest_ms)
        except StoreRefused:
            raise
        except StoreError:
            return None
        if isinstance(reply, LoadLease):
            self._counters.missed(query.family, reply.cause)
        return reply

    async def _decode_stored(self, query: Query, loaded: LoadedBody, status: CacheStatus) -> CacheResult[Any] | None:
        """Return the caller's own copy; None for a stored body that is unusable, which is removed and counted."""
        if loaded.status in ("MISS", "BYPASS"):
            return await self._decode_own(query, loaded, status)
        result = await decode_result(query.entry, query.type, loaded, status)
        if result is None:
            self._metrics.discarded_state("cache-entry")
            try:
                await self._commands.invalidate((query.entry.names,))
            except StoreError:
                return await self.bypass(query, self._bypasses.started)
        elif loaded.status == "HIT":
            self._counters.served(query.family, loaded.body)
        return result

    async def _decode_own(self, query: Query, loaded: LoadedBody, status: CacheStatus) -> CacheResult[Any]:
        """Return the caller's own copy of a value that this process has just loaded."""
        result = await decode_result(query.entry, query.type, loaded, status)
        if result is None:
            reason = reason_against(loaded.body, query.type)
            raise LoadFailed(f"the loaded value is not of the type {query.type!r}: {reason}; load one that is")
        return result


def _delays_ms() -> Iterator[int]:
    """Yield delays that grow by half each time."""
    delay_ms = _DELAY_MS
    while True:
        yield delay_ms
        delay_ms = min(delay_ms * 3 // 2, _DELAY_MS_MAX)
