"""Two lanes of hashes: trusted callers have half of the permits for themselves, so that no flood keeps them out.

A permit is the right to hash in one thread. At least half of them are reserved for trusted callers: a device that
logged in before, a live session that is stepped up. All others share the rest, and get nothing else, even when
trusted callers leave permits idle: a hash that runs cannot be stopped when a trusted caller comes. Trusted callers may
borrow what the others leave. With one permit both lanes share it, and the trusted one goes first.

Memory is shared out likewise: untrusted hashes hold half of the budget together, or one hash that takes more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Final, Literal

Lane = Literal["trusted", "untrusted"]
QUEUED_PER_PERMIT: Final = 8
"""How many hashes may wait in a lane for each of its permits."""


class Turn:
    """The turn of one hash; `ready` is done when it has its permit, or gets none any more."""

    def __init__(self, lane: Lane, memory_kib: int) -> None:
        self.lane: Lane = lane
        self.memory_kib = memory_kib
        self.state: Literal["waiting", "granted", "begun", "over"] = "waiting"
        self.ready: Future[None] = Future()


class Lanes:
    """Decides whose turn it is; its caller keeps two threads from asking at the same time."""

    def __init__(self, permits: int, memory_kib: int) -> None:
        self._permits = permits
        self._memory_kib = memory_kib
        self.shares: Mapping[Lane, int] = {"trusted": (permits + 1) // 2, "untrusted": max(1, permits // 2)}
        self._waiting: dict[Lane, OrderedDict[Turn, None]] = {lane: OrderedDict() for lane in self.shares}
        self._running: dict[Lane, set[Turn]] = {lane: set() for lane in self.shares}

    def has_place(self, lane: Lane) -> bool:
        """Return True if another hash may wait in the lane."""
        return self.depth(lane) < QUEUED_PER_PERMIT * self.shares[lane]

    def depth(self, lane: Lane) -> int:
        """Return how many hashes wait in the lane."""
        return len(self._waiting[lane])

    def enter(self, turn: Turn) -> None:
        """Queue a turn."""
        assert turn.memory_kib <= self._memory_kib, "a hash above the budget is refused before it is queued"
        self._waiting[turn.lane][turn] = None

    def leave(self, turn: Turn) -> None:
        """End a turn, whether it waits or has its permit."""
        self._waiting[turn.lane].pop(turn, None)
        self._running[turn.lane].discard(turn)
        turn.state = "over"

    def grant(self) -> Iterator[Turn]:
        """Yield the turns that are next, as long as permits are free; each has one then."""
        while (turn := self._next()) is not None:
            del self._waiting[turn.lane][turn]
            self._running[turn.lane].add(turn)
            turn.state = "granted"
            yield turn

    def clear(self) -> Iterator[Turn]:
        """End the turns that wait, and yield them."""
        for turn in [turn for waiting in self._waiting.values() for turn in waiting]:
            self.leave(turn)
            yield turn

    def _next(self) -> Turn | None:
        """Return the turn that is next, or None.

        The trusted lane goes first until it has its share. The first of a lane is not overtaken while it waits for
        memory, else small hashes could keep a large one waiting.
        """
        if sum(map(len, self._running.values())) >= self._permits:
            return None
        has_share = len(self._running["trusted"]) >= self.shares["trusted"]
        order: tuple[Lane, ...] = ("untrusted", "trusted") if has_share else ("trusted", "untrusted")
        for lane in order:
            turn = next(iter(self._waiting[lane]), None)
            if turn is not None and self._is_within_share(turn):
                return turn if self._fits(turn) else None
        return None

    def _is_within_share(self, turn: Turn) -> bool:
        running = self._running["untrusted"]
        if turn.lane == "trusted" or not running:
            return True
        return len(running) < self.shares["untrusted"] and _kib(running) + turn.memory_kib <= self._memory_kib // 2

    def _fits(self, turn: Turn) -> bool:
        held_kib = sum(map(_kib, self._running.values()))
        return held_kib + turn.memory_kib <= self._memory_kib


def _kib(turns: set[Turn]) -> int:
    return sum(turn.memory_kib for turn in turns)
