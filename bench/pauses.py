"""The pauses that Python's garbage collector makes in another process, through memory that it shares with this one."""

from __future__ import annotations

import gc
import mmap
import os
import struct
import time
from typing import Any

_LONGEST = struct.Struct("q")


class Pauses:
    """The longest pause since the last look, in memory that a child gets by its descriptor."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("pauses")
        os.ftruncate(self.descriptor, mmap.PAGESIZE)
        self._memory = mmap.mmap(self.descriptor, mmap.PAGESIZE)

    def longest_us(self) -> float:
        """Return the longest pause, and begin anew."""
        (longest_ns,) = _LONGEST.unpack_from(self._memory)
        _LONGEST.pack_into(self._memory, 0, 0)
        return longest_ns / 1000


def record(descriptor: int) -> None:
    """Record the pauses of this process from now on."""
    memory = mmap.mmap(descriptor, mmap.PAGESIZE)
    began_ns = 0

    def note(phase: str, _: dict[str, Any]) -> None:
        nonlocal began_ns
        if phase == "start":
            began_ns = time.perf_counter_ns()
        elif (took_ns := time.perf_counter_ns() - began_ns) > _LONGEST.unpack_from(memory)[0]:
            _LONGEST.pack_into(memory, 0, took_ns)

    gc.callbacks.append(note)
