"""Runs hashes in threads: as many at once as there are permits and as the budget of memory allows, in two lanes.

A caller waits in the queue of its lane, which has a bound and a deadline. The permit belongs to the hash from its
beginning to its end: a caller that leaves frees a place in the queue, but never a thread that hashes.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar, TypeVarTuple

from tollhouse.accounts.hashing.lanes import Lane, Lanes, Turn
from tollhouse.errors import Overloaded
from tollhouse.metrics import Metrics
from tollhouse.runtime.home_loop import closed
from tollhouse.worker_pool import WorkerPool

WAIT_MS: Final = 2_000
"""How long a hash may wait for its permit."""

_WORK: Final = "password hashing"
_PLACES: Final = 100_000

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


class HashPool:
    """Hashes of one process; calls of several threads are safe.

    Overloaded asks to come back after two to four seconds, at random, so that those who were refused together do not
    come together again.
    """

    def __init__(
        self, permits: int, memory_kib: int, metrics: Metrics, *, jitter: Callable[[], float] = random.random
    ) -> None:
        self.memory_kib = memory_kib
        self._lanes = Lanes(permits, memory_kib)
        self._metrics = metrics
        self._jitter = jitter
        self._lock = threading.Lock()
        self._is_closed = False
        # The lanes bound the calls. A place is free again only when the loop has seen that its call has ended.
        self._threads = WorkerPool(_WORK, permits, queued=_PLACES, finish=True)

    def require_place(self, *, trusted: bool) -> None:
        """Raise Overloaded if the queue of the lane is full, and ConfigurationError once the pool is closed."""
        with self._lock:
            self._require_place(_lane(trusted=trusted))

    async def run(
        self,
        function: Callable[[*_Arguments], _Result],
        *arguments: *_Arguments,
        trusted: bool,
        memory_kib: int,
    ) -> _Result:
        """Run a function in a thread, and return its result; `memory_kib` is what it takes, within the budget.

        Raises Overloaded at once if the queue of the lane is full, and after two seconds in it; then nothing ran. A
        caller that is cancelled waits for a hash that has begun, so that its outcome counts.
        """
        turn = self._enter(_lane(trusted=trusted), memory_kib)
        try:
            await self._wait(turn)
            return await self._threads.run(self._hash, turn, partial(function, *arguments))
        finally:
            self._end(turn, unless="begun")

    def close(self) -> None:
        """Refuse the hashes that wait; those that run end by themselves."""
        with self._lock:
            self._is_closed = True
            for turn in self._lanes.clear():
                turn.ready.set_result(None)
            self._grant()
        self._threads.close()

    def _enter(self, lane: Lane, memory_kib: int) -> Turn:
        turn = Turn(lane, memory_kib)
        with self._lock:
            self._require_place(lane)
            self._lanes.enter(turn)
            self._grant()
        return turn

    async def _wait(self, turn: Turn) -> None:
        await asyncio.wait((asyncio.wrap_future(turn.ready),), timeout=WAIT_MS / 1000)
        if turn.state != "granted":
            raise self._overloaded(turn.lane, "late")

    def _hash(self, turn: Turn, call: Callable[[], _Result]) -> _Result:
        """Compute in a thread, unless the caller has left meanwhile, and end the turn."""
        with self._lock:
            if turn.state == "over":
                raise self._overloaded(turn.lane, "late")
            turn.state = "begun"
        try:
            return call()
        finally:
            self._end(turn)

    def _end(self, turn: Turn, *, unless: str = "over") -> None:
        with self._lock:
            if turn.state not in (unless, "over"):
                self._lanes.leave(turn)
                self._grant()

    def _grant(self) -> None:
        for turn in self._lanes.grant():
            turn.ready.set_result(None)
        for lane in self._lanes.shares:
            self._metrics.hashes_queued(lane, self._lanes.depth(lane))

    def _require_place(self, lane: Lane) -> None:
        if self._is_closed:
            raise closed("accounts")
        if not self._lanes.has_place(lane):
            raise self._overloaded(lane, "full")

    def _overloaded(self, lane: Lane, reason: str) -> Overloaded:
        self._metrics.hash_refused(lane, reason)
        return Overloaded(_WORK, WAIT_MS + round(self._jitter() * WAIT_MS))


def _lane(*, trusted: bool) -> Lane:
    return "trusted" if trusted else "untrusted"
