"""What a server knows of its history and of its replicas. No I/O."""

from __future__ import annotations

import random
from bisect import bisect_left
from typing import Final

from tests.simulation.valkey.keyspace import Effect
from tollhouse.stores.urls import Host

Entry = tuple[int, int, Effect]
"""The offset behind an entry of the stream, its logical database, and what it does."""

NO_ID: Final = "0" * 40
GETACK: Final[Effect] = (b"REPLCONF", b"GETACK", b"*")
PING: Final[Effect] = (b"PING",)


class Replication:
    """A replication history: its id, the offset, the entries since it can be continued, and the history before it."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.start()

    def start(self) -> None:
        """Begin a new history, of which there is nothing."""
        self.id, self.former_id = self._new_id(), NO_ID
        self.offset, self.former_end = 0, -1
        self.first = 0
        self.entries: list[Entry] = []

    def fork(self) -> None:
        """Continue under a new id: those who know the old one can continue up to here."""
        self.former_id, self.former_end, self.id = self.id, self.offset + 1, self._new_id()

    def rename(self, new_id: str) -> bool:
        """Continue under the id that the primary has now; return whether it is another one."""
        if new_id == self.id:
            return False
        self.former_id, self.former_end, self.id = self.id, self.offset + 1, new_id
        return True

    def replace(self, new_id: str, offset: int) -> None:
        """Take over the history of a snapshot."""
        self.id, self.former_id = new_id, NO_ID
        self.offset, self.former_end, self.first = offset, -1, offset
        self.entries = []

    def append(self, db: int, effect: Effect) -> None:
        """Add an entry; its length is that of its bytes."""
        self.offset += sum(map(len, effect)) + 6 * len(effect) + 4
        self.entries.append((self.offset, db, effect))

    def since(self, offset: int) -> list[Entry]:
        """Return the entries behind an offset."""
        return self.entries[bisect_left(self.entries, offset + 1, key=lambda entry: entry[0]) :]

    def can_continue(self, history: str, offset: int) -> bool:
        """Return whether a server that has `history` up to `offset` lacks only entries that are here."""
        known = history == self.id or (history == self.former_id and offset + 1 <= self.former_end)
        return known and self.first <= offset <= self.offset

    def _new_id(self) -> str:
        return f"{self._rng.getrandbits(160):040x}"


class Follower:
    """A replica of this server: what was sent to it, and what it has acknowledged."""

    def __init__(self, host: Host, link: int, sent: int, now_s: float) -> None:
        self.host = host
        self.link = link
        self.state = "online"
        self.sent = sent
        self.moved_s = now_s
        """When it acknowledged something new, or had everything, or was sent again what it lacks."""
        self.acked = 0
        self.acked_s = now_s
        self.pumping = False


class Upstream:
    """The primary of this server. `link` numbers the connections, so that what belongs to an old one is ignored."""

    def __init__(self) -> None:
        self.host: Host | None = None
        self.state = "none"
        self.link = 0
        self.began_s = 0.0
        self.heard_s = 0.0
        self.down_s = 0.0

    def break_off(self, now_s: float) -> None:
        """End the connection; another one is made."""
        if self.state == "connected":
            self.down_s = now_s
        self.state = "connect"
        self.link += 1
