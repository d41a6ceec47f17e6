"""The cores that parts of a measurement run on, and the processor time and memory of another process, from /proc."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from msgspec import Struct

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Cores(Struct, frozen=True, kw_only=True):
    """The core of the server under measurement, of the store, and of the load; on two cores the last two share one."""

    server: int
    store: int
    load: int

    @property
    def shared(self) -> str:
        """What shares a core with what, in words."""
        if self.server == self.load:
            return "all share the only core"
        if self.store == self.load:
            return "the store and the load share a core, the server has one of its own"
        return "the server, the store and the load have a core each"


def shared_out() -> Cores:
    """Return the cores for a measurement, out of those that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(server=allowed[0], store=allowed[min(1, len(allowed) - 1)], load=allowed[min(2, len(allowed) - 1)])


@contextlib.contextmanager
def pinned(cores: Collection[int]) -> Iterator[None]:
    """Keep this process to some cores meanwhile, and for good the processes that it starts meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def used_s(pid: int) -> float:
    """Return the processor time of a process so far: all threads, user and system, to a hundredth of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """Return the memory that a process occupies."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return 1024 * int(found[1])
