"""Rounds of a measurement: the figures of one, and the median and extremes of several."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from statistics import median, quantiles
from typing import Any, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Round(Struct, frozen=True, kw_only=True):
    """The figures of one round; `busy` is the part of a core that the measuring process itself used."""

    count: int
    per_s: float
    p50_us: float
    p99_us: float
    busy: float


class Spread(Struct, frozen=True, kw_only=True):
    """The median of several figures and their extremes."""

    median: float
    lowest: float
    highest: float


class Stopwatch:
    """Measures processor time and wall-clock time from its creation until `round` is called."""

    def __init__(self) -> None:
        gc.collect()
        self._used_s = time.process_time()
        self._began_s = time.perf_counter()

    def round(self, waits_s: list[float]) -> Round:
        """Return the figures of a round with these latencies."""
        took_s = time.perf_counter() - self._began_s
        cuts = quantiles(waits_s, n=100)
        return Round(
            count=len(waits_s),
            per_s=len(waits_s) / took_s,
            p50_us=cuts[49] * 1e6,
            p99_us=cuts[98] * 1e6,
            busy=(time.process_time() - self._used_s) / took_s,
        )


async def one_round(
    ask: Callable[[], Awaitable[Any]], right: Callable[[Any], bool], concurrency: int, seconds: float
) -> Round:
    """Run workers that call again as soon as they are answered, for the duration of a round; a wrong answer raises.

    However short that is there are two calls, because percentiles need as many.
    """
    waits_s: list[float] = []
    watch = Stopwatch()
    end_s = time.perf_counter() + seconds

    async def work() -> None:
        while (began_s := time.perf_counter()) < end_s or len(waits_s) < 2:
            answer = await ask()
            waits_s.append(time.perf_counter() - began_s)
            if not right(answer):
                raise RuntimeError(f"not the answer that was to be measured: {answer!r}")

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return watch.round(waits_s)


def in_turns(candidates: Sequence[T], rounds: int) -> Iterator[T]:
    """Yield every candidate once in each round; each round starts with another one.

    So whatever else the machine does falls on all of them, and none always comes after the same other.
    """
    for turn in range(rounds):
        first = turn % len(candidates)
        yield from candidates[first:]
        yield from candidates[:first]


def spread(figures: Sequence[float]) -> Spread:
    """Return the median and the extremes of several rounds."""
    return Spread(median=median(figures), lowest=min(figures), highest=max(figures))
