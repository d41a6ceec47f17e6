"""The time of a fake server, and of the limits and caches that use it: a test may stop it, and advance it."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tollhouse.clock import MonotonicClock, monotonic_ms

_POLL_S: Final = 0.005
_HOUR_MS: Final = 3_600_000
_STOP_MS: Final = _HOUR_MS // 16 - 1
"""The part of an hour at which the clock stops: in the last millisecond of a sub-bucket of windows up to an hour.

So what is taken then expires one window later, as its reader expects, and not up to a sixteenth later; and each run of
a test meets the same boundaries.
"""


class FakeClock:
    """Runs with the process until `stop`, and from then on moves only by `advance`. It never steps back."""

    def __init__(self, *, monotonic: MonotonicClock = monotonic_ms, start_ms: int | None = None) -> None:
        self._monotonic = monotonic
        self._ahead_ms = (time.time_ns() // 1_000_000 if start_ms is None else start_ms) - monotonic()
        self._stopped_ms: int | None = None

    def now_ms(self) -> int:
        """Return the time in milliseconds since 1970."""
        stopped_ms = self._stopped_ms
        return self._monotonic() + self._ahead_ms if stopped_ms is None else stopped_ms

    def stop(self) -> None:
        """Stop at a time that is later than every one that was read before, by an hour at most."""
        self._stopped_ms = self.now_ms() + 1 + (_STOP_MS - self.now_ms() - 1) % _HOUR_MS

    def start(self) -> None:
        """Run on from here."""
        self._ahead_ms = self.now_ms() - self._monotonic()
        self._stopped_ms = None

    def advance(self, ms: int) -> None:
        """Move the clock, which has to be stopped."""
        assert self._stopped_ms is not None
        self._stopped_ms += ms

    async def sleep(self, seconds: float) -> None:
        """Sleep until the clock is so much later.

        If nothing advances a stopped clock meanwhile, sleep in real time, and move the clock by it: who waits for a
        refusal to end would wait for ever otherwise.
        """
        if self._stopped_ms is None:
            await asyncio.sleep(seconds)
            return
        ms = round(seconds * 1000)
        until_ms, give_up_ms = self.now_ms() + ms, self._monotonic() + ms
        await asyncio.sleep(0)
        while self.now_ms() < until_ms and self._monotonic() < give_up_ms:  # noqa: ASYNC110 - threads advance it too
            await asyncio.sleep(min(seconds, _POLL_S))
        self._catch_up(until_ms)

    def _catch_up(self, ms: int) -> None:
        if self._stopped_ms is not None:
            self._stopped_ms = max(self._stopped_ms, ms)
