"""One stream of events as a reader has read it: its place in it, and what is not delivered yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tollhouse.sessions.events.event import EventId, SessionEvent, read_event

PAGE: Final = 32
"""How many events of a stream one call returns."""

_LAST_SEQUENCE: Final = 2**64 - 1
_FIELDS: Final = 7
_HEAD: Final = 3


class Shard:
    """A stream of one hash tag. At most two pages of it wait in memory."""

    __slots__ = ("after", "complete", "key", "pending", "tag", "unfinished")

    def __init__(self, tag: str, key: str) -> None:
        self.tag = tag
        self.key = key
        self.rewind(0)

    def rewind(self, ms: int) -> None:
        """Go on at the events of that time."""
        self.after = f"{max(ms, 1) - 1}-{_LAST_SEQUENCE}"
        self.pending: deque[tuple[EventId, SessionEvent | None]] = deque()
        self.complete = EventId(ms=0)
        """All events up to here were read."""
        self.unfinished = False
        """Whether more follows what was read."""

    @property
    def waits(self) -> bool:
        """Return whether what was read has to be delivered before more is."""
        return self.unfinished and bool(self.pending)

    def take(self, reply: Sequence[Any], server_ms: int) -> None:
        """Add what a call at that time of the server returned."""
        rows = range(_HEAD, len(reply), _FIELDS)
        self.pending.extend(read_event(self.tag, reply[start : start + _FIELDS]) for start in rows)
        self.unfinished = len(rows) == PAGE
        self.complete = EventId(ms=server_ms)
        if rows:
            last = self.pending[-1][0]
            self.after = f"{last.ms}-{last.sequence}"
            self.complete = last if self.unfinished else self.complete

    def due(self, horizon: EventId, ahead_ms: int) -> Iterator[tuple[EventId, SessionEvent | None]]:
        """Remove and yield what is to be delivered: up to the horizon, or all if that would have to wait for long.

        After a clock was set back, a stream goes on with the time that it had reached: `ahead_ms` bounds the wait.
        """
        all_of_it = bool(self.pending) and self.pending[-1][0].ms > ahead_ms
        while self.pending and (all_of_it or self.pending[0][0] <= horizon):
            yield self.pending.popleft()
