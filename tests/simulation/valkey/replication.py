"""Both ends of replication: what a primary sends to its replicas, and what a replica asks of its primary.

A replica asks to continue its history (PSYNC). If it cannot, because it has written what its primary has not, or its
primary does not know that history, it gets a snapshot, and all that only it had is gone. A stream that the network
drops is sent again when an acknowledgement shows the gap, as TCP would. Replicas have replicas, with the same offsets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.simulation.valkey.keyspace import Keyspace
from tests.simulation.valkey.states import GETACK, PING, Entry, Follower, Replication, Upstream
from tollhouse.stores.urls import Host

if TYPE_CHECKING:
    from tests.simulation.valkey.server import Server

ACK_S: Final = 1.0
"""How often a replica acknowledges, and how often anything else is looked after (`replicationCron`)."""
PING_S: Final = 10.0
SYNC_S: Final = (0.02, 0.3)
"""Bounds of the time until a snapshot is written, and of the time until it has arrived."""
MAX_LAG_S: Final = 10
"""`min-replicas-max-lag`."""

_PATIENCE_S: Final = {"connecting": 1.0, "sync": 5.0}

Spaces = dict[int, Keyspace]


class Replicator:
    """The replication of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = server.loop
        self.history = Replication(server.rng)
        self.followers: dict[Host, Follower] = {}
        self.upstream = Upstream()
        self.has_followed = False
        """Whether it has received what a primary had since it was a primary itself."""
        self._pinged_s = 0.0

    @property
    def is_primary(self) -> bool:
        """Return whether the server takes writes."""
        return self.upstream.host is None

    @property
    def now_s(self) -> float:
        """Return the time of the simulation."""
        return self._loop.time()

    def start(self) -> None:
        """Begin, or begin again after a crash: the history is not kept, the primary to follow is."""
        self.history.start()
        self.followers.clear()
        self.upstream.break_off(self.now_s)
        self.upstream.down_s = self.now_s
        self._loop.call_later(self._server.rng.uniform(0.0, ACK_S), self._server.timer(self._turn))

    def begin_in_sync(self, primary: Server) -> None:
        """Begin as a replica that has all of the primary's history: nothing was written yet."""
        self.upstream.host, self.upstream.state, self.upstream.link = primary.host, "connected", 1
        self.has_followed = True
        self.history.replace(primary.replicator.history.id, 0)
        primary.replicator.followers[self._server.host] = Follower(self._server.host, 1, 0, self.now_s)

    def acknowledged_by(self, offset: int) -> int:
        """Return how many replicas have acknowledged an offset."""
        return sum(each.state == "online" and each.acked >= offset for each in self.followers.values())

    def good_replicas(self) -> int:
        """Return how many replicas count for `min-replicas-to-write`."""
        return sum(each.state == "online" and self.lag_s(each) <= MAX_LAG_S for each in self.followers.values())

    def lag_s(self, follower: Follower) -> int:
        """Return the whole seconds since the last acknowledgement."""
        return int(self.now_s) - int(follower.acked_s)

    def write(self, db: int, *effects: tuple[bytes, ...]) -> None:
        """Add to the stream, and send it."""
        for effect in effects:
            self.history.append(db, effect)
            self._server.applied.append((self.history.offset, effect))
        self._send_to_all()

    def request_acks(self) -> None:
        """Ask all replicas to acknowledge at once: the question is part of the stream."""
        if self.followers:
            self.write(0, GETACK)

    # What a primary does.

    def psync(self, host: Host, link: int, history: str, offset: int, *, failover: bool) -> None:
        """Take a replica: let it continue, or send it a snapshot."""
        if failover and not self.is_primary and history == self.history.id:
            self._server.promote()
        if not self.is_primary and self.upstream.state != "connected":
            return  # it asks again
        self._drop(host)
        follower = self.followers[host] = Follower(host, link, self.history.offset, self.now_s)
        if self.history.can_continue(history, offset):
            follower.sent = offset
            new_id = self.history.id
            self._server.tell(host, lambda peer: peer.replicator.continued(link, new_id))
            self._send_to(follower)
            return
        follower.state = "wait_bgsave"
        self._server.tell(host, lambda peer: peer.replicator.syncing(link))
        self._later(SYNC_S, follower, self._snapshot)

    def acked(self, host: Host, link: int, offset: int) -> None:
        """Take an acknowledgement; a replica that has not received what was sent gets it again."""
        follower = self.followers.get(host)
        if follower is None or follower.link != link:
            self._server.tell(host, lambda peer: peer.replicator.closed(link))
            return
        if offset > follower.acked or offset == self.history.offset:
            follower.moved_s = self.now_s
            self._server.acks_s.append(self.now_s)
        follower.acked, follower.acked_s = offset, self.now_s
        if offset < follower.sent and self.now_s - follower.moved_s > 1.0:
            follower.sent, follower.moved_s = offset, self.now_s
            self._send_to(follower)
        self._server.on_ack()

    def drop_followers(self) -> None:
        """End the connections of all replicas: they ask again, and learn the id of the history."""
        for host in list(self.followers):
            self._drop(host)

    def _drop(self, host: Host) -> None:
        follower = self.followers.pop(host, None)
        if follower is not None:
            self._server.tell(host, lambda peer: peer.replicator.closed(follower.link))

    def _snapshot(self, follower: Follower) -> None:
        """Write the snapshot; what is written from here on is sent behind it."""
        follower.state, follower.sent = "send_bulk", self.history.offset
        spaces = {db: space.copy() for db, space in self._server.spaces.items()}
        loaded = partial(self._send_snapshot, spaces, self.history.id, self.history.offset)
        self._later(SYNC_S, follower, loaded)

    def _send_snapshot(self, spaces: Spaces, history: str, offset: int, follower: Follower) -> None:
        follower.state = "online"
        follower.acked_s = self.now_s
        link = follower.link
        self._server.tell(follower.host, lambda peer: peer.replicator.loaded(link, spaces, history, offset))
        self._send_to(follower)

    def _send_to_all(self) -> None:
        for follower in self.followers.values():
            self._send_to(follower)

    def _send_to(self, follower: Follower) -> None:
        """Send what a replica lacks, after its lag; what is written until then goes with it."""
        if follower.pumping or follower.state != "online":
            return
        follower.pumping = True
        lag_s = self._server.peers[follower.host].lag_ms / 1000
        self._loop.call_later(lag_s, self._server.timer(partial(self._pump, follower)))

    def _pump(self, follower: Follower) -> None:
        follower.pumping = False
        if self.followers.get(follower.host) is not follower or follower.sent >= self.history.offset:
            return
        link, sent, entries = follower.link, follower.sent, self.history.since(follower.sent)
        follower.sent = self.history.offset
        self._server.tell(follower.host, lambda peer: peer.replicator.streamed(link, sent, entries))

    # What a replica does.

    def follow(self, host: Host) -> None:
        """Connect to a primary; its own replicas stay until it is known whether the history goes on."""
        self._hang_up()
        self.upstream.host = host
        self.upstream.break_off(self.now_s)
        self.upstream.down_s = self.now_s
        self._connect()

    def lead(self) -> None:
        """Follow no server any more: a history of its own begins here."""
        self._hang_up()
        self.upstream.host = None
        self.upstream.break_off(self.now_s)
        self.upstream.state = "none"
        self.has_followed = False
        self.history.fork()
        self.drop_followers()

    def continued(self, link: int, history: str) -> None:
        """Continue with the history of the primary, perhaps under another id."""
        if not self._is_current(link):
            return
        self.upstream.state = "connected"
        self.has_followed = True
        self.upstream.heard_s = self.now_s
        if self.history.rename(history):
            self.drop_followers()
        self._server.on_link_up()

    def syncing(self, link: int) -> None:
        """Wait for a snapshot."""
        if self._is_current(link):
            self.upstream.state = "sync"

    def loaded(self, link: int, spaces: Spaces, history: str, offset: int) -> None:
        """Replace all data by a snapshot."""
        if not self._is_current(link):
            return
        self.drop_followers()
        self._server.load(spaces)
        self.history.replace(history, offset)
        self._server.note("loads a snapshot")
        self.continued(link, history)
        self._ack()

    def streamed(self, link: int, start: int, entries: list[Entry]) -> None:
        """Repeat what the primary wrote; leave it out if something before it is missing."""
        if not self._is_current(link) or self.upstream.state != "connected":
            return
        self.upstream.heard_s = self.now_s
        if start != self.history.offset:
            return
        for offset, db, effect in entries:
            self.history.entries.append((offset, db, effect))
            self.history.offset = offset
            self._server.applied.append((offset, effect))
            if effect is GETACK:
                self._ack()
            elif effect is not PING:
                self._server.space(db).apply(effect)
        self._send_to_all()

    def closed(self, link: int) -> None:
        """Learn that the primary has ended the connection."""
        if self._is_current(link):
            self.upstream.break_off(self.now_s)

    def hung_up(self, host: Host, link: int) -> None:
        """Learn that a replica has ended its connection."""
        follower = self.followers.get(host)
        if follower is not None and follower.link == link:
            del self.followers[host]

    def acknowledge(self) -> None:
        """Acknowledge at once, as REPLCONF GETACK from any client makes a replica do."""
        if self.upstream.state == "connected":
            self._ack()

    def end(self) -> None:
        """Reset all connections, as the kernel does for a process that ends."""
        self.drop_followers()
        self._hang_up()

    def _is_current(self, link: int) -> bool:
        return self.upstream.host is not None and link == self.upstream.link

    def _hang_up(self) -> None:
        if self.upstream.host is not None and self.upstream.state != "connect":
            host, link = self._server.host, self.upstream.link
            self._server.tell(self.upstream.host, lambda peer: peer.replicator.hung_up(host, link))

    def _connect(self) -> None:
        upstream, host = self.upstream, self._server.host
        failover = self._server.handover.in_progress
        assert upstream.host is not None
        upstream.link += 1
        upstream.state, upstream.began_s = "connecting", self.now_s
        ask = (host, upstream.link, self.history.id, self.history.offset)
        self._server.tell(upstream.host, lambda peer: peer.replicator.psync(*ask, failover=failover))

    def _ack(self) -> None:
        if self.upstream.host is not None:
            host, link, offset = self._server.host, self.upstream.link, self.history.offset
            self._server.tell(self.upstream.host, lambda peer: peer.replicator.acked(host, link, offset))

    def _turn(self) -> None:
        """Do what is due once a second."""
        self._loop.call_later(ACK_S, self._server.timer(self._turn))
        upstream = self.upstream
        if upstream.host is not None:
            if upstream.state == "connected":
                self._ack()
            elif upstream.state == "connect" or self.now_s - upstream.began_s >= _PATIENCE_S[upstream.state]:
                self._connect()
        elif self.followers and self.now_s - self._pinged_s >= PING_S and not self._server.handover.under_way:
            self._pinged_s = self.now_s
            self.write(0, PING)

    def _later(self, bounds_s: tuple[float, float], follower: Follower, action: Callable[[Follower], None]) -> None:
        """Run `action(follower)` later, unless its connection has ended by then."""

        def run() -> None:
            if self.followers.get(follower.host) is follower:
                action(follower)

        self._loop.call_later(self._server.rng.uniform(*bounds_s), self._server.timer(run))

    def reset_by(self, host: Host) -> None:
        """Learn that a server does not run."""
        self.followers.pop(host, None)
        if self.upstream.host == host:
            self.upstream.break_off(self.now_s)
