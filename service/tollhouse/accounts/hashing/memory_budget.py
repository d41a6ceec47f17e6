"""Bounds the memory that hashes take together, in whatever threads of one process they run."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager


class MemoryBudget:
    """A total of memory, of which each thread holds a share while it hashes.

    The number of threads bounds hashes of the profile in use. Stored hashes of other profiles may take more, so that as
    many of them as there are threads would not fit.
    """

    def __init__(self, total_kib: int) -> None:
        self._total_kib = self._free_kib = total_kib
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, kib: int) -> Generator[None]:
        """Hold a share while the block runs, after waiting for it; one above the total waits to be alone."""
        share_kib = min(kib, self._total_kib)
        with self._changed:
            self._changed.wait_for(lambda: self._free_kib >= share_kib)
            self._free_kib -= share_kib
        try:
            yield
        finally:
            with self._changed:
                self._free_kib += share_kib
                self._changed.notify_all()
