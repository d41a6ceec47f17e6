"""Counts in plain numbers, which are added to a Prometheus metric before it is read.

Incrementing a Prometheus counter takes longer than deciding a refused take, and observing a duration longer than
packing a call. If workers share a folder, another worker may read the metric, so pending counts are flushed after
`FLUSH_S` at the latest: at once if no event loop runs, and when the process ends.

Event loops in several threads may count at the same time: no thread switch happens between the read and the write of
one number.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, cast

from prometheus_client import Counter, Histogram
from prometheus_client.metrics_core import Metric

FLUSH_S = 0.25
"""How long what a worker counted may be missing from a scrape that another worker answers."""


class FlushTimer:
    """Flushes what is pending within `FLUSH_S`; one timer for all metrics of a process."""

    def __init__(self) -> None:
        self._flushes: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, flush: Callable[[], None]) -> None:
        """Call `flush` as well."""
        self._flushes.append(flush)

    def start(self) -> None:
        """Schedule a flush, unless one is scheduled on a loop that is still open; flush at once without a loop."""
        if self._loop is not None and not self._loop.is_closed():
            return
        try:
            self._loop = loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            loop.call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Flush now."""
        self._loop = None
        for flush in self._flushes:
            flush()


class PendingCounter:
    """Counts in `pending`, by the values of the labels."""

    def __init__(self, counter: Counter) -> None:
        self.pending: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._counter = counter
        self._child = cache(counter.labels)
        weakref.finalize(self, _flush_counts, self.pending, self._child)

    def describe(self) -> Iterable[Metric]:
        """Describe the counter; the registry calls this."""
        return self._counter.describe()

    def collect(self) -> Iterable[Metric]:
        """Return all that was counted; the registry calls this."""
        self.flush()
        return self._counter.collect()

    def flush(self) -> None:
        """Add the pending counts to the counter."""
        _flush_counts(self.pending, self._child)


class PendingHistogram:
    """Counts in the lists of `pending`, by the values of the labels.

    Each list has a count for every bucket, the one without a bound included, and the sum of the observations at last.
    """

    def __init__(self, histogram: Histogram, bounds: tuple[float, ...]) -> None:
        self.pending: dict[tuple[str, str], list[float]] = {}
        self._histogram = histogram
        self._child = cache(histogram.labels)
        self._size = len(bounds) + 2
        self._lock = threading.Lock()
        weakref.finalize(self, _flush_observations, self.pending, self._child, self._lock)

    def add(self, first: str, second: str) -> list[float]:
        """Return the list for two labels that have none yet."""
        return self.pending.setdefault((first, second), [0] * self._size)

    def describe(self) -> Iterable[Metric]:
        """Describe the histogram; the registry calls this."""
        return self._histogram.describe()

    def collect(self) -> Iterable[Metric]:
        """Return all that was observed; the registry calls this."""
        self.flush()
        return self._histogram.collect()

    def flush(self) -> None:
        """Add the pending observations to the histogram."""
        _flush_observations(self.pending, self._child, self._lock)


def _flush_counts(pending: defaultdict[tuple[str, str], int], child: Callable[..., Counter]) -> None:
    for labels in tuple(pending):
        child(*labels).inc(pending.pop(labels, 0))


def _flush_observations(
    pending: dict[tuple[str, str], list[float]], child: Callable[..., Histogram], lock: threading.Lock
) -> None:
    """Move the counts and the sums; the lock keeps two threads from moving the same ones."""
    with lock:
        for labels, numbers in tuple(pending.items()):
            histogram = cast("Any", child(*labels))  # its counts and its sum, as its `observe` adds to them
            for position, part in enumerate((*histogram._buckets, histogram._sum)):
                number = numbers[position]
                numbers[position] -= number
                part.inc(number)
