"""Clocks as plain functions, passed as parameters to all code that needs the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

ServerClock = Callable[[], int]
"""Returns the `now_ms` argument of every script; 0 means the time of the server."""

MonotonicClock = Callable[[], int]
"""Returns milliseconds that never decrease; only differences have a meaning."""

UnixClock = Callable[[], int]
"""Returns the milliseconds since 1970 that a record keeps for people; nothing is decided by them."""

Sleep = Callable[[float], Awaitable[None]]
"""Sleeps for some seconds, as `asyncio.sleep` does."""


def server_time() -> int:
    """Return 0, which means the time of the server; all code outside tests uses this clock."""
    return 0


def monotonic_ms() -> int:
    """Return the milliseconds of the process's monotonic clock."""
    return time.monotonic_ns() // 1_000_000


def unix_ms() -> int:
    """Return the milliseconds since 1970 by the clock of this machine."""
    return time.time_ns() // 1_000_000


class ProcessTime(Struct, frozen=True, kw_only=True):
    """How a process measures its own waits: by a clock, and by a sleep that goes with it."""

    monotonic_ms: MonotonicClock = monotonic_ms
    sleep: Sleep = asyncio.sleep


PROCESS_TIME: Final = ProcessTime()
"""The time outside tests."""
