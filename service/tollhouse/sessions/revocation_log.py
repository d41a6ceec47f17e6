"""The journal: which sessions ended in the last 120 s, as far as this process did it or heard of it.

It serves two ends. Each process repeats what is in it on a primary that is new to it, before any other call there:
a primary that took over may lack what the old one had acknowledged. And no session in it is let in here, whatever a
server says that was deposed and does not know it.

What it cannot promise: announcements travel by pub/sub, which forgets. A process that was not connected when
something was announced does not have it, and nobody repeats it to that process. So a revocation that was not
confirmed (`durable: false`), and that the failover then lost, is accepted again by such a process until one that
knows has reached the new primary: its connections go there by themselves, as soon as it is found. Only if nobody
who knows is alive then is it lost; a revocation answered `durable: true` needs no journal at all. Reading
the events again would not close the hole: they are 256 streams, and what was lost is not in them.

Not in it: a session that the cap ended, since one step of one script ended it and began another, and a primary
that lost the one lost the other; and a rotated one, since with the rotation its successor is lost, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from tollhouse.sessions.revocations import EndedAll, Revocation

KEPT_S: Final = 120.0
"""How long a revocation is remembered; a failover takes seconds."""
ENTRIES_MAX: Final = 10_000
"""How many are remembered; beyond, the oldest go."""


class Journal:
    """Remembers revocations for 120 s of this process's own clock; a user's later one takes the earlier one's place."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, most: int = ENTRIES_MAX) -> None:
        self.dropped = 0
        self._clock = clock
        self._most = most
        self._entries: dict[str, tuple[float, Revocation]] = {}

    @property
    def empty(self) -> bool:
        """Tell whether nothing is remembered, as at most times."""
        self._expire()
        return not self._entries

    def note(self, revocation: Revocation) -> bool:
        """Remember a revocation from now on; False where another one had to go that was not due."""
        key = _key(revocation)
        known = self._entries.pop(key, None)
        if known is not None:
            revocation = _later(known[1], revocation)
        self._expire()
        full = len(self._entries) >= self._most
        if full:
            del self._entries[next(iter(self._entries))]
            self.dropped += 1
        self._entries[key] = (self._clock(), revocation)
        return not full

    def recent(self) -> tuple[Revocation, ...]:
        """Give what is remembered, the oldest first."""
        self._expire()
        return tuple(revocation for _, revocation in self._entries.values())

    def ended(self, sid: str) -> bool:
        """Tell whether this session was ended by itself."""
        return self._found(sid) is not None

    def outlived(self, digests: Iterable[str], sid: str, began_ms: int, created_at: int) -> bool:
        """Tell whether a session is among those that ended when all of its user's did; `digests` are the user's."""
        return any(
            isinstance(found, EndedAll) and found.ends(sid, began_ms, created_at) for found in map(self._found, digests)
        )

    def _found(self, key: str) -> Revocation | None:
        entry = self._entries.get(key)
        if entry is None or self._clock() - entry[0] > KEPT_S:
            return None
        return entry[1]

    def _expire(self) -> None:
        """Forget what is due; entries are in the order of their times."""
        due_s = self._clock() - KEPT_S
        while self._entries:
            key = next(iter(self._entries))
            if self._entries[key][0] >= due_s:
                return
            del self._entries[key]


def _key(revocation: Revocation) -> str:
    """Name the session or the user; no sid is as long as a digest."""
    return revocation.digest if isinstance(revocation, EndedAll) else revocation.sid


def _later(known: Revocation, heard: Revocation) -> Revocation:
    """Give the later of two about the same session or user: what an earlier call ended, a later one ended, too."""
    if isinstance(known, EndedAll) and isinstance(heard, EndedAll) and known.epoch_ms > heard.epoch_ms:
        return known
    return heard
