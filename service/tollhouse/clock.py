"""Clocks, as plain functions, so that whoever needs time is given one."""

from __future__ import annotations

import time
from collections.abc import Callable

ServerClock = Callable[[], int]
"""Gives the `now_ms` that every script receives; 0 asks the server for its own time."""

MonotonicClock = Callable[[], int]
"""Milliseconds that never step back; only differences mean anything."""


def server_time() -> int:
    """Leave the time to the server: the clock of everything outside tests."""
    return 0


def monotonic_ms() -> int:
    """Milliseconds of the process's monotonic clock."""
    return time.monotonic_ns() // 1_000_000
