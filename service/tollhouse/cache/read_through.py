"""How a read goes: look, and then take what is there, load it, or wait for whoever loads it.

Why no read gives a value that was invalidated before the read began:

- A stored value is checked against the clock by the script that gives it.
- A value loaded under a lease goes to the caller who looked before the load began; to others only if the
  fill was accepted, and then all of them had joined before it was sent.
- A value that another process stored goes to those who were waiting before the look that found it was sent.

Past the store, while it is down, nothing can be promised but that one process loads a key once at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from msgspec import Struct

from tollhouse.cache.codec import unseal, unsealed_bytes
from tollhouse.cache.commands import Busy, Hit, Leased, Shard
from tollhouse.cache.envelope import decode
from tollhouse.cache.key_names import Entry
from tollhouse.cache.loader import Bounds, Landed, Loads, Query, Result, Sleep, aside
from tollhouse.cache.single_flight import Flight, Flights
from tollhouse.clock import MonotonicClock
from tollhouse.errors import LoadFailed, StoreError
from tollhouse.metrics import Metrics

_PAUSE_MS: Final = 25
_PAUSE_MS_MAX: Final = 500


class Found(Struct, frozen=True, kw_only=True):
    """A value and where it came from.

    `age_ms` has passed since it was stored, it may be used for `ttl_ms` more (0: it was not stored),
    and it took `load_ms` to load.
    """

    value: Any
    result: Result
    age_ms: int
    ttl_ms: int
    load_ms: int


class Reader:
    """Answers queries; at most one load of a key at a time in this process, and one under a lease anywhere."""

    def __init__(
        self,
        shard: Shard,
        loads: Loads,
        metrics: Metrics,
        bounds: Bounds,
        *,
        monotonic: MonotonicClock,
        sleep: Sleep,
    ) -> None:
        self._shard = shard
        self._loads = loads
        self._metrics = metrics
        self._bounds = bounds
        self._monotonic = monotonic
        self._sleep = sleep
        self._flights: Flights[Landed | None] = Flights()
        self._bypasses: Flights[Landed] = Flights()

    async def read(self, query: Query) -> Found:
        """Answer through the store; where it is down, or others keep the caller waiting, past it."""
        give_up_ms = self._monotonic() + self._bounds.wait_ms
        while self._monotonic() < give_up_ms:
            found = await self._turn(query)
            if found is not None:
                return found
        return await self.alone(query, "BYPASS")

    async def alone(self, query: Query, result: Result) -> Found:
        """Load for this caller only, whatever is stored or under way."""
        return await self._own(query, await self._loads.alone(query), result)

    async def aclose(self) -> None:
        """End the loads that are under way."""
        await self._flights.aclose()
        await self._bypasses.aclose()

    async def _turn(self, query: Query) -> Found | None:
        """Answer once; None if what was found or awaited is of no use, and the caller has to look again."""
        flight = self._flights.find(query.entry.digest)
        if flight is not None:
            return await self._joined(flight, query)
        answer = await self._look(query.entry)
        match answer:
            case None:
                return await self._past(query)
            case Hit():
                return await self._opened(query, _landed(answer, "HIT"), "HIT")
            case Busy() if (flight := self._flights.find(query.entry.digest)) is not None:
                return await self._joined(flight, query)
            case _:
                return await self._began(query, answer)

    async def _began(self, query: Query, answer: Busy | Leased) -> Found | None:
        flight = self._flights.start(query.entry.digest, lambda flight: self._fly(flight, query, answer))
        landed = await flight.wait()
        if landed is None:
            return await self._past(query)
        return await self._opened(query, landed, landed.result)

    async def _joined(self, flight: Flight[Landed | None], query: Query) -> Found | None:
        landed = await flight.wait()
        if landed is None:
            return await self._past(query)
        if not landed.shared:
            return None
        return await self._opened(query, landed, "BYPASS" if landed.result == "BYPASS" else "COALESCED")

    async def _fly(self, flight: Flight[Landed | None], query: Query, answer: Busy | Leased) -> Landed | None:
        """Wait while another process loads, then take its value or load; None if the store is down."""
        give_up_ms = self._monotonic() + self._bounds.wait_ms
        pauses = _pauses()
        while isinstance(answer, Busy):
            await self._sleep(min(next(pauses), answer.lease_left_ms) / 1000)
            flight.shut()
            if self._monotonic() >= give_up_ms:
                return await self._loads.alone(query)
            found = await self._look(query.entry)
            if found is None or isinstance(found, Hit):
                return found and _landed(found, "COALESCED")
            answer = found
            flight.reopen()
        return await self._loads.under(answer, query, flight)

    async def _past(self, query: Query) -> Found:
        """Load while the store is down, once in this process for all who ask meanwhile."""
        digest = query.entry.digest
        flight = self._bypasses.find(digest)
        if flight is None:
            flight = self._bypasses.start(digest, lambda _: self._loads.alone(query))
        return await self._own(query, await flight.wait(), "BYPASS")

    async def _look(self, entry: Entry) -> Hit | Leased | Busy | None:
        try:
            return await self._shard.look(entry)
        except StoreError:
            return None

    async def _opened(self, query: Query, landed: Landed, result: Result) -> Found | None:
        """Give the caller a copy; None for a stored body that cannot be used, which is removed and counted."""
        if landed.result in ("MISS", "BYPASS"):
            return await self._own(query, landed, result)
        found = await _decoded(query, landed, result)
        if found is None:
            self._metrics.discarded_state("cache-entry")
            with suppress(StoreError):
                await self._shard.invalidate((query.entry,))
        return found

    async def _own(self, query: Query, landed: Landed, result: Result) -> Found:
        """Give the caller a copy of what this process has just loaded."""
        found = await _decoded(query, landed, result)
        if found is None:
            raise LoadFailed("the loaded value was encoded, but cannot be read back")
        return found


async def _decoded(query: Query, landed: Landed, result: Result) -> Found | None:
    opened = await aside(unsealed_bytes(landed.body), unseal, landed.body, query.digest)
    if opened is None:
        return None
    return Found(
        value=opened.value,
        result=result,
        age_ms=landed.age_ms,
        ttl_ms=landed.ttl_ms,
        load_ms=landed.load_ms,
    )


def _landed(hit: Hit, result: Result) -> Landed:
    frame, body = decode(hit.frame)
    return Landed(
        body=body,
        result=result,
        shared=True,
        age_ms=max(hit.now_ms - frame.stored_ms, 0),
        ttl_ms=frame.fresh_until_ms - hit.now_ms,
        load_ms=frame.load_ms,
    )


def _pauses() -> Iterator[int]:
    """Give pauses that grow by half each time."""
    pause_ms = _PAUSE_MS
    while True:
        yield pause_ms
        pause_ms = min(pause_ms * 3 // 2, _PAUSE_MS_MAX)
