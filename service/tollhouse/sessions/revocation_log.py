"""The revocation log: the revocations of the last 120 s that this process made or heard of.

It has two uses. Each process replays it on a primary that is new to it, before any other write there, because a
promoted replica may lack what the old primary had acknowledged. And this process accepts no session in it, whatever
a server that does not know of the revocation replies: a demoted one, or a new one that may not write as yet.

Its limit: a process that was not connected during an announcement does not have it, because pub/sub keeps nothing. So
if a revocation was not confirmed (`durable: false`) and the failover lost it, that process accepts the session again
until another one, which has the revocation, has replayed it; its connections go to the new primary by themselves as
soon as it is found, and the replay is done as soon as it may write. The revocation is lost only if no process that has
it survives. A revocation answered `durable: true` needs no log. The events do not close the gap: they are 256 streams,
and they lack what was lost.

It leaves out sessions that the cap ended, because the script that ended one began another, and a primary that lost
one lost both; and rotated sessions, because their successor is lost with the rotation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tollhouse.sessions.revocations import (
    UNSETTLED_MS,
    AllSessionsRevoked,
    EveryoneRevoked,
    Revocation,
    SessionRevoked,
)
from tollhouse.sessions.user_keys import TAG_CHARACTERS

RETENTION_S: Final = UNSETTLED_MS / 1000
"""How long an entry is kept; a failover takes seconds."""
ENTRIES_MAX: Final = 10_000
"""The most entries; beyond it the oldest is evicted."""


class RevocationLog:
    """Revocations of the last 120 s by this process's own clock; of two of a user, the later replaces the earlier."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, entries_max: int = ENTRIES_MAX) -> None:
        self._clock = clock
        self._entries_max = entries_max
        self._entries: dict[str, tuple[float, Revocation]] = {}
        self._held_since_s: float | None = None
        self._held_s = 0.0

    def add(self, revocation: Revocation) -> bool:
        """Add a revocation, or renew it; return False if an entry that had not expired was evicted for it."""
        key = _key(revocation)
        known = self._entries.pop(key, None)
        if known is not None:
            revocation = _later(known[1], revocation)
        self._expire()
        full = len(self._entries) >= self._entries_max
        if full:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (self._now_s(), revocation)
        return not full

    def hold(self) -> None:
        """Stop the time of the entries until `release`: they are to be replayed, however long that takes."""
        if self._held_since_s is None:
            self._held_since_s = self._clock()

    def release(self) -> None:
        """Resume the time of the entries: each is kept for as long as was left to it at `hold`."""
        if self._held_since_s is not None:
            self._held_s += self._clock() - self._held_since_s
            self._held_since_s = None

    def entries(self) -> tuple[Revocation, ...]:
        """Return all entries, the oldest first."""
        self._expire()
        return tuple(revocation for _, revocation in self._entries.values())

    def contains(self, sid: str) -> bool:
        """Return True if this one session was revoked by itself."""
        return self._find(sid) is not None

    def covers(self, digest: str, sid: str, began_ms: int, all_began_ms: int, created_at: int) -> bool:
        """Return True if a revocation of all sessions, of its user or of everyone, covers this session.

        `digest` is its user's, under the secret of its token. The session began in the epochs `began_ms` of its user
        and `all_began_ms` of all users.
        """
        entry = self._find(digest)
        if isinstance(entry, AllSessionsRevoked) and entry.covers(sid, began_ms, created_at):
            return True
        everyone = self._find(digest[:TAG_CHARACTERS])
        return isinstance(everyone, EveryoneRevoked) and all_began_ms < everyone.epoch_ms

    def _find(self, key: str) -> Revocation | None:
        entry = self._entries.get(key)
        if entry is None or self._now_s() - entry[0] > RETENTION_S:
            return None
        return entry[1]

    def _now_s(self) -> float:
        """Return the time, which stands still while the log is held."""
        return (self._clock() if self._held_since_s is None else self._held_since_s) - self._held_s

    def _expire(self) -> None:
        """Remove expired entries; they are ordered by time."""
        due_s = self._now_s() - RETENTION_S
        while self._entries:
            key = next(iter(self._entries))
            if self._entries[key][0] >= due_s:
                return
            del self._entries[key]


def _key(revocation: Revocation) -> str:
    """Return the sid, the user's digest, or the hash tag of everyone; marked for a status. Their lengths differ."""
    match revocation:
        case SessionRevoked():
            return revocation.sid
        case AllSessionsRevoked():
            return revocation.digest
        case EveryoneRevoked():
            return revocation.shard
        case _:
            return f"status:{revocation.digest}"


def _later(known: Revocation, new: Revocation) -> Revocation:
    """Return the later of two revocations with one key: it covers whatever the earlier one covers."""
    if isinstance(known, SessionRevoked) or isinstance(new, SessionRevoked):
        return new
    return known if known.epoch_ms > new.epoch_ms else new
