"""Calls that wait for room on a full connection: a bounded queue, served in the order of arrival."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, Final

from tollhouse.stores.transport.errors import ConnectionFull, Unreachable

CALLS_MAX: Final = 16_384
"""Bound of the calls that wait."""
BYTES_MAX: Final = 8 * 1024 * 1024
"""Bound of the bytes that wait."""

WaitingCall = tuple[bytes, "asyncio.Future[Any]", float]
"""What is to be sent, the caller's future, and its deadline on the loop's clock."""


class WaitingCalls:
    """The queue of one connection. A call leaves it when it is sent, cancelled or out of time."""

    def __init__(self, calls_max: int = CALLS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._calls: OrderedDict[asyncio.Future[Any], tuple[bytes, float]] = OrderedDict()
        self._bytes = 0
        self._calls_max = calls_max
        self._bytes_max = bytes_max

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, frame: bytes, future: asyncio.Future[Any], deadline_s: float) -> None:
        """Put a call at the end; raise ConnectionFull at the bounds."""
        if len(self._calls) >= self._calls_max or self._bytes + len(frame) > self._bytes_max:
            raise ConnectionFull(f"{len(self._calls)} calls wait for room on the connection")
        self._calls[future] = (frame, deadline_s)
        self._bytes += len(frame)
        future.add_done_callback(self._leave)

    def next(self) -> WaitingCall | None:
        """Take the first call out; None if none waits any more."""
        while self._calls:
            future, (frame, deadline_s) = self._calls.popitem(last=False)
            self._bytes -= len(frame)
            if not future.done():
                return frame, future, deadline_s
        return None

    def expire(self, now_s: float) -> None:
        """Fail the calls whose deadline has passed: they were not sent."""
        for future, (_, deadline_s) in self._calls.items():
            if deadline_s <= now_s and not future.done():
                future.set_exception(ConnectionFull("no room on the connection in time"))

    def fail(self) -> None:
        """Fail all calls, because the connection takes none any more: they may be sent on another."""
        while (call := self.next()) is not None:
            call[1].set_exception(Unreachable("the connection ended before the call was sent"))

    def _leave(self, future: asyncio.Future[Any]) -> None:
        frame, _ = self._calls.pop(future, (b"", 0.0))
        self._bytes -= len(frame)
