"""FAILOVER: a primary pauses its writes, waits until its chosen replica has all of them, and becomes its replica."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.stores.urls import Host

if TYPE_CHECKING:
    from tests.simulation.valkey.server import Server


class Handover:
    """The handover of one server, if one is under way: first it waits for the replica, then it is `in_progress`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a process does."""
        self.target: Host | None = None
        self.in_progress = False
        self._number = 0

    @property
    def under_way(self) -> bool:
        """Return whether writes are paused."""
        return self.target is not None

    def begin(self, target: Host, timeout_ms: int) -> None:
        """Hand over to a replica; give up when it has not caught up in time."""
        replicator = self._server.replicator
        if self.under_way or not replicator.is_primary or target not in replicator.followers:
            return
        self.target, self._number = target, self._number + 1
        number = self._number
        self._server.note(f"pauses writes to hand over to {target[0]}")
        self._server.call_later(timeout_ms / 1000, lambda: self._give_up(number))
        self.check()

    def check(self) -> None:
        """Become a replica when the chosen one has acknowledged the last byte."""
        replicator = self._server.replicator
        if self.target is None or self.in_progress:
            return
        follower = replicator.followers.get(self.target)
        if follower is None or follower.state != "online" or follower.acked != replicator.history.offset:
            return
        self.in_progress = True
        self._server.demote(self.target)

    def finish(self) -> None:
        """Run the calls that were held: this is a replica now."""
        if self.in_progress:
            self._end()

    def _give_up(self, number: int) -> None:
        if not self.under_way or self._number != number:
            return
        self._server.note("gives the handover up")
        if self.in_progress:
            self._server.replicator.lead()
        self._end()

    def _end(self) -> None:
        self.target, self.in_progress = None, False
        self._server.resume()
