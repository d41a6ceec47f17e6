"""A circuit breaker: while a server does not answer, calls fail at once instead of each waiting for it.

    state    a call           waited in vain   probe answered, or new primary
    closed   is sent          open, probe now  -
    open     fails at once    -                closed

It opens with the first call that waited in vain. One slow call opens it too; since the first probe starts at once,
that costs other callers one round trip and not an outage. Further probes start when a call arrives, one at a time and
at most one per interval. No caller waits for a probe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context

from tollhouse.stores.transport.errors import CALL_FAILED


class CircuitBreaker:
    """The breaker of one connection.

    `probe` raises one of CALL_FAILED when the server did not answer; two probes start at least
    `interval_s` apart. `on_change` is called each time that the breaker opens or closes, or is open for another reason,
    and must return at once.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[None]],
        *,
        interval_s: float,
        on_change: Callable[[], None],
        name: str,
    ) -> None:
        self.is_open = False
        self.reason = ""
        self._probe = probe
        self._on_change = on_change
        self._name = name
        self._interval_s = interval_s
        self._next_probe_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def trip(self, reason: str) -> None:
        """Open the breaker and start a probe; do nothing when it is open."""
        if self.is_open or self._closed:
            return
        self.is_open, self.reason = True, reason
        self._next_probe_s = 0.0
        self._on_change()
        self.request_probe()

    def request_probe(self) -> None:
        """Start a probe, unless one is under way or the last one started too recently."""
        loop = asyncio.get_running_loop()
        if self._closed or loop.time() < self._next_probe_s or not (self._task is None or self._task.done()):
            return
        self._next_probe_s = loop.time() + self._interval_s
        self._task = loop.create_task(self._run_probe(), name=f"tollhouse-probe-{self._name}", context=Context())

    def reset(self) -> None:
        """Close the breaker."""
        if self.is_open:
            self.is_open = False
            self._on_change()

    async def aclose(self) -> None:
        """Cancel the probe, and start none from now on."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run_probe(self) -> None:
        try:
            await self._probe()
        except CALL_FAILED as error:
            if self.is_open and str(error) != self.reason:
                self.reason = str(error)
                self._on_change()
        else:
            self.reset()
