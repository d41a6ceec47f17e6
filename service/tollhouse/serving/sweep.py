"""The sweep: one timer per worker that looks at all of its connections, so that none needs a timer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final

from tollhouse.logs import Log

_EVERY_MS_MAX: Final = 1000
_SLICE: Final = 500
"""How many connections are checked in one turn of the event loop, about a millisecond."""

_log = Log("tollhouse.serving")


class Sweep:
    """Calls a check for every connection, several times in the shortest timeout, while there are connections."""

    def __init__(self, shortest_ms: int) -> None:
        self._every_s = min(shortest_ms // 4, _EVERY_MS_MAX) / 1000
        self._next: asyncio.Handle | None = None
        self._above = 0

    def start(
        self, loop: asyncio.AbstractEventLoop, connections: Collection[Any], check: Callable[[Any, int], None]
    ) -> None:
        """Begin, unless it has begun; it ends when there is no connection."""
        if self._next is None:
            self._next = loop.call_later(self._every_s, self._run, loop, connections, check)

    def count_above(self) -> None:
        """Count a connection above the bound: the next sweep logs how many there were."""
        self._above += 1

    def _run(
        self, loop: asyncio.AbstractEventLoop, connections: Collection[Any], check: Callable[[Any, int], None]
    ) -> None:
        if self._above:
            _log.warning("connections above the bound", extra={"above": self._above, "connections": len(connections)})
            self._above = 0
        unchecked = list(connections)

        def check_slice() -> None:
            now_ms = int(loop.time() * 1000)
            for connection in unchecked[-_SLICE:]:
                if connection in connections:
                    check(connection, now_ms)
            del unchecked[-_SLICE:]
            self._next = loop.call_soon(check_slice) if unchecked else None
            if connections:
                self.start(loop, connections, check)

        check_slice()
