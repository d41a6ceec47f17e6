"""A store behind a breaker: while it does not answer, callers learn so at once and do not each wait for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from tollhouse import keys
from tollhouse.clock import MonotonicClock, monotonic_ms
from tollhouse.errors import ScriptFailed, StoreError, StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.scripts import Argument

FAILURES_MAX: Final = 2
"""So many calls in a row without an answer open the breaker: as many as are under way at a time."""
PROBE_MS: Final = 250
"""How often the store is tried while the breaker is open, at most, and only while somebody calls."""

_PROBE: Final = ("limits/take", (keys.rate("probe", "probe"),), (1, "fixed-window", 1, 1, 1_000, 0, 1, 0))
"""A take of nothing: a store that cannot write would refuse it like any other take, and one that can writes nothing."""

_log = logging.getLogger("tollhouse.limits")


class Store(Protocol):
    """What limits need of a store."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script; raises StoreUnavailable where no answer can be relied on."""
        ...


class Breaker:
    """Runs scripts on a store, and raises StoreUnavailable at once while it is known to be down.

    Nobody waits for the probe that finds out when it is back; that no earlier failure counts any more is told
    to `back`.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        *,
        back: Callable[[], None],
        clock: MonotonicClock = monotonic_ms,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._back = back
        self._clock = clock
        self._failures = 0
        self._reason = ""
        self._probe_at_ms: int | None = None
        self._probe: asyncio.Task[None] | None = None

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script; raises StoreUnavailable where no answer can be relied on, or none is expected."""
        if self._probe_at_ms is not None:
            self._begin_probe(self._probe_at_ms)
            raise StoreUnavailable("limits", "not-sent", self._reason)
        return await self._run(script, keys, args)

    async def _run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        try:
            reply = await self._store.run(script, keys, args)
        except StoreUnavailable as error:
            self._failed(error)
            raise
        except ScriptFailed:
            self._answered()  # a defect, but the store is there to say so
            raise
        if self._failures:
            self._answered()
        return reply

    def _begin_probe(self, due_ms: int) -> None:
        now_ms = self._clock()
        if now_ms >= due_ms and (self._probe is None or self._probe.done()):
            self._probe_at_ms = now_ms + PROBE_MS
            self._probe = asyncio.get_running_loop().create_task(self._try(), name="tollhouse-limits-probe")

    async def _try(self) -> None:
        with suppress(StoreError):
            await self._run(*_PROBE)

    def _failed(self, error: StoreUnavailable) -> None:
        self._failures += 1
        if self._failures < FAILURES_MAX or self._probe_at_ms is not None:
            return
        self._reason = error.reason
        self._probe_at_ms = self._clock() + PROBE_MS
        self._metrics.breaker("limits", open=True)
        _log.warning("store down, limits follow their outage policies", extra={"reason": error.reason})

    def _answered(self) -> None:
        self._failures = 0
        if self._probe_at_ms is not None:
            self._probe_at_ms = None
            self._metrics.breaker("limits", open=False)
            _log.info("store back, limits are shared again")
        self._back()
