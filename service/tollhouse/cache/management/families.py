"""Counts by family: what processes have counted, added up in the store.

A read adds to plain integers of its process, and to its Prometheus metrics. The integers are sent at most `FLUSH_S`
later, when the cache is closed, and before its statistics are returned. What a process has not sent when it dies is
lost, and so is what it sent without an answer: it costs figures, never a value.

The store has a bounded number of families, because an application may take the first word of a key from a client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from tollhouse.cache.codec import unpacked_bytes
from tollhouse.cache.management.calls import ManagementCalls
from tollhouse.cache.operation_log import log_read
from tollhouse.errors import ConfigurationError, StoreError
from tollhouse.metrics import FAMILIES_MAX, Metrics
from tollhouse.runtime.background import BackgroundTasks

FLUSH_S: Final = 1.0
"""How long counts of a process may be missing from the statistics that another one returns."""
_STEP: Final = 64
"""How many families one call adds to."""


class Tally:
    """The counts of one family; their order is that of the numbers in the store, so new ones come last.

    A body is counted as it is stored, and `unpacked`: without compression.
    """

    def __init__(self) -> None:
        self.hits = 0
        self.coalesced = 0
        self.bypassed = 0
        self.absent = 0
        self.invalidated = 0
        self.epoch = 0
        self.unusable = 0
        self.refused_fills = 0
        self.stored_bytes = 0
        self.stored_unpacked_bytes = 0
        self.served_bytes = 0
        self.served_unpacked_bytes = 0
        self.saved_ms = 0

    def add(self, numbers: str) -> None:
        """Add the numbers of another one; those that are missing are 0, those of a later release are left out."""
        for name, number in zip(vars(self), numbers.split(), strict=False):
            setattr(self, name, getattr(self, name) + int(number))

    def numbers(self) -> str:
        """Return the counts as the store has them."""
        return " ".join(map(str, vars(self).values()))


def tally_of(*sums: str) -> Tally:
    """Return the sum of what the store has for some families."""
    tally = Tally()
    for numbers in sums:
        tally.add(numbers)
    return tally


class FamilyCounters:
    """Counts the reads and fills of one process by family, in metrics and in the store."""

    def __init__(self, calls: ManagementCalls, name: str, metrics: Metrics, *, flush_s: float = FLUSH_S) -> None:
        self._calls = calls
        self._name = name
        self._metrics = metrics
        self._flush_s = flush_s
        self._tallies: dict[str, Tally] = {}
        self._flushing_loop: asyncio.AbstractEventLoop | None = None
        self._background = BackgroundTasks()

    def read(self, family: str, entry: str, result: str, load_ms: int = 0) -> None:
        """Count and log one read, such as a hit of an entry that took `load_ms` to load."""
        self._metrics.cache(family, result)
        if result == "hit" or result == "coalesced":
            self._metrics.cache_saved(family, load_ms / 1000)
            tally = self._tally(family)
            tally.saved_ms += load_ms
            tally.coalesced += result == "coalesced"
        elif result == "bypass":
            self._tally(family).bypassed += 1
        log_read(entry, family, result)

    def served(self, family: str, body: bytes) -> None:
        """Count a body of the store that a read returned."""
        tally = self._tally(family)
        tally.hits += 1
        tally.served_bytes += len(body)
        tally.served_unpacked_bytes += unpacked_bytes(body)
        self._metrics.cache_bytes(family, "served", len(body))

    def missed(self, family: str, cause: str) -> None:
        """Count a look-up that found nothing to return."""
        tally = self._tally(family)
        setattr(tally, cause, getattr(tally, cause) + 1)
        self._metrics.cache_miss(family, cause)

    def stored(self, family: str, body: bytes) -> None:
        """Count a body that was stored."""
        tally = self._tally(family)
        tally.stored_bytes += len(body)
        tally.stored_unpacked_bytes += unpacked_bytes(body)
        self._metrics.cache_bytes(family, "stored", len(body))

    def refused(self, family: str) -> None:
        """Count a value that was not stored, because it may be older than an invalidation."""
        self._tally(family).refused_fills += 1
        self._metrics.cache_refused_fill(family)

    async def flush(self) -> None:
        """Send what was counted; raises StoreError, and keeps what was certainly not added."""
        counted = [*self._tallies.items()]
        self._tallies = {}
        while counted:
            try:
                step = [(family, tally.numbers()) for family, tally in counted[:_STEP]]
                await self._calls.add_counts(self._name, FAMILIES_MAX, step)
            except StoreError as error:
                self._restore(dict(counted if error.outcome == "not-sent" else counted[_STEP:]))
                raise
            del counted[:_STEP]

    async def aclose(self) -> None:
        """Send what was counted, unless the store is down; it bounds the time."""
        await self._background.aclose()
        await self._flush_quietly()

    def _tally(self, family: str) -> Tally:
        tally = self._tallies.get(family)
        return self._begin(family) if tally is None else tally

    def _begin(self, family: str) -> Tally:
        self._flush_soon()
        return self._tallies.setdefault(self._metrics.family(family), Tally())

    def _flush_soon(self) -> None:
        """Schedule a flush, unless one is scheduled on a loop that is still open."""
        if self._flushing_loop is None or self._flushing_loop.is_closed():
            with suppress(RuntimeError):  # asyncio runs no loop here, so the store is not used either
                self._flushing_loop = loop = asyncio.get_running_loop()
                loop.call_later(self._flush_s, self._flush_now)

    def _flush_now(self) -> None:
        self._flushing_loop = None
        self._background.start(self._flush_quietly(), "tollhouse-cache-counts")

    async def _flush_quietly(self) -> None:
        with suppress(StoreError, ConfigurationError):  # of a store that is down, or was closed in the meantime
            await self.flush()

    def _restore(self, counted: Mapping[str, Tally]) -> None:
        for family, tally in counted.items():
            self._tally(family).add(tally.numbers())
