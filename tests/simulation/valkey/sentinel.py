"""One Sentinel: it watches the servers, tells the other Sentinels and its clients, and leads failovers when elected.

Whether a ping is answered is read from the links and the processes, once a second, and ten times a second while
something is wrong; no message is simulated for it. The same holds for the announcements of Sentinels to each other,
which go directly or through any server that both reach. Votes and commands to servers are messages.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network, ServerLink
from tests.simulation.valkey.clients import Client
from tests.simulation.valkey.elections import Failover
from tests.simulation.valkey.keyspace import CommandError
from tests.simulation.valkey.sentinel_replies import NO_REPLY, answer
from tests.simulation.valkey.server import Server
from tests.simulation.valkey.views import Peer, View, report
from tollhouse.stores.urls import Host

SERVICE: Final = "main"
QUIET_S: Final = 1.0
BUSY_S: Final = (0.05, 0.1)
INFO_S: Final = 10.0
INFO_BUSY_S: Final = 1.0
HELLO_S: Final = 2.0


class Sentinel:
    """A Sentinel at `host`. Its settings file, which outlives it, has the epochs, the primary and the replicas."""

    def __init__(
        self,
        host: Host,
        identity: str,
        loop: VirtualLoop,
        network: Network,
        rng: random.Random,
        servers: dict[Host, Server],
        sentinels: dict[Host, Sentinel],
        *,
        quorum: int = 2,
        down_after_ms: int = 1000,
        failover_timeout_ms: int = 5000,
    ) -> None:
        self.host = host
        self.identity = identity
        self.loop = loop
        self.network = network
        self.rng = rng
        self.servers = servers
        self.sentinels = sentinels
        self.quorum = quorum
        self.down_after_s = down_after_ms / 1000
        self.failover_timeout_s = failover_timeout_ms / 1000
        self.alive = False
        self.epoch = 0
        self.config_epoch = 0
        self.voted: tuple[str, int] = ("", 0)
        first, *others = servers
        self.primary = View(first, 0.0)
        self.replicas = {other: View(other, 0.0) for other in others}
        self.peers: dict[Host, Peer] = {}
        self.o_down = False
        self.failover = Failover(self)
        self.forgotten_s = -1.0
        self._clients: dict[int, Client] = {}
        self._starts = 0
        self._hello_s = 0.0
        sentinels[host] = self

    @property
    def now_s(self) -> float:
        """Return the time of the simulation."""
        return self.loop.time()

    @property
    def named(self) -> Host:
        """Return the primary that this Sentinel names to clients."""
        return self.failover.successor or self.primary.host

    # Starts and ends.

    def start(self) -> None:
        """Start with what the settings file says: the primary that it named last, also if a failover was not over."""
        self.alive = True
        self._starts += 1
        now_s, old, primary = self.now_s, self.primary.host, self.named
        self.primary = View(primary, now_s)
        self.replicas = {
            host: View(host, now_s) for host in (old if each == primary else each for each in self.replicas)
        }
        self.peers = {
            host: Peer(host, other.identity, now_s) for host, other in self.sentinels.items() if other is not self
        }
        self.o_down = False
        self.failover = Failover(self)
        self.network.listen(self.host, self)
        self.loop.call_later(self.rng.uniform(0.0, 0.1), self._turn, self._starts)

    def kill(self) -> None:
        """End the process."""
        if self.alive:
            self.alive = False
            self._clients.clear()
            self.network.unlisten(self.host)
            self.network.note(f"sentinel {self.host[0]} is killed")

    def restart(self) -> None:
        """Start again."""
        self.kill()
        self.network.note(f"sentinel {self.host[0]} starts")
        self.start()

    # Connections of clients.

    def accept(self, link: ServerLink) -> None:
        """Take a connection."""
        self._clients[link.number] = Client(link)

    def received(self, link: ServerLink, data: bytes) -> None:
        """Answer the commands that have arrived."""
        client = self._clients.get(link.number)
        if client is None:
            return
        client.feed(data)
        while (command := client.next()) is not None:
            try:
                reply = answer(self, client, command)
            except CommandError as error:
                reply = error
            if reply is not NO_REPLY:
                client.reply(reply)

    def lost(self, link: ServerLink) -> None:
        """Forget a connection."""
        self._clients.pop(link.number, None)

    def publish(self, channel: str, text: str) -> None:
        """Announce to clients, and to the trace, that something happened."""
        self.network.note(f"sentinel {self.host[0]} {channel} {text}")
        name = channel.encode()
        for client in self._clients.values():
            if name in client.channels:
                client.push(b"message", name, text)

    def note_selection(self, view: View) -> None:
        """Record since when a server that is selected has followed no primary, if it was replaced and came back.

        It is still a primary, or has just been told to follow and has nothing of its primary yet. All that was
        confirmed before that may be lost with it, and nothing that a client does prevents it.
        """
        since_s, leads = self.servers[self.primary.host].roles[-1]
        if leads and not self.servers[view.host].replicator.has_followed:
            self.forgotten_s = since_s
            self.network.note(f"server {view.host[0]} follows no primary since {since_s * 1000:.1f} ms")

    def describe(self, view: View) -> str:
        """Return how announcements name a server or a Sentinel."""
        ip, port = view.host
        primary = f"{SERVICE} {self.primary.host[0]} {self.primary.host[1]}"
        if view is self.primary:
            return f"master {primary}"
        kind, name = ("sentinel", view.identity) if isinstance(view, Peer) else ("slave", f"{ip}:{port}")
        return f"{kind} {name} {ip} {port} @ {primary}"

    # What it does by itself.

    def reaches(self, host: Host) -> bool:
        """Return whether messages pass between here and a machine, both ways."""
        return not self.network.is_cut(self.host[0], host[0]) and not self.network.is_cut(host[0], self.host[0])

    def wake(self) -> None:
        """Look around soon, not only after the quiet second."""
        self._starts += 1
        self.loop.call_later(self.rng.uniform(0.0, BUSY_S[0]), self._turn, self._starts)

    def order(self, host: Host, action: Callable[[Server], None]) -> None:
        """Send a command to a server; it is lost if the server does not run."""
        server = self.servers[host]
        self.network.send(self.host[0], host[0], lambda: server.ordered(action))

    def reconfigure(self, host: Host, primary: Host | None) -> None:
        """Make a server a replica of another one, or a primary; its clients have to connect again."""

        def apply(server: Server) -> None:
            server.promote() if primary is None else server.demote(primary)
            server.kill_clients()

        self.order(host, apply)

    def _turn(self, starts: int) -> None:
        if not self.alive or starts != self._starts:
            return
        for view in (self.primary, *self.replicas.values()):
            self._ping(view, self.servers[view.host].responds)
        for peer in self.peers.values():
            self._ping(peer, self.sentinels[peer.host].alive)
            peer.forget_old(self.now_s)
        for view in [self.primary, *self.replicas.values()]:
            self._read(view)
        self._judge()
        self.failover.turn()
        if self.now_s - self._hello_s >= HELLO_S:
            self.hello()
        quiet = self.primary.answers and all(view.answers for view in self.replicas.values())
        pause_s = QUIET_S if quiet and not self.failover.under_way else self.rng.uniform(*BUSY_S)
        if starts == self._starts:
            self.loop.call_later(pause_s, self._turn, starts)

    def _ping(self, view: View, responds: bool) -> None:
        now_s = self.now_s
        if responds and self.reaches(view.host):
            view.seen_s, view.silent_s = now_s, None
        elif view.silent_s is None:
            view.silent_s = self.rng.uniform(view.seen_s, now_s)
        down = view.silent_s is not None and now_s - view.silent_s > self.down_after_s
        if view is self.primary and view.report is not None and not view.report.is_primary:
            down = down or now_s - view.role_s > self.down_after_s + 2 * INFO_S
        if down != view.s_down:
            view.s_down = down
            view.down_s = now_s if down else view.down_s
            self.publish("+sdown" if down else "-sdown", self.describe(view))

    def _read(self, view: View) -> None:
        """Read INFO of a server when it is due."""
        told = view.report
        watched = view is not self.primary and (
            self.o_down or self.failover.under_way or (told is not None and told.link_down_s > 0)
        )
        if not view.answers:
            return
        if told is not None and self.now_s - told.at_s < (INFO_BUSY_S if watched else INFO_S):
            return
        new = report(self.servers[view.host])
        old = view.take(new)
        if old is not None and old.run_id != new.run_id:
            self.publish("+reboot", self.describe(view))
        if view is self.primary:
            self._learn_replicas(new.replicas)
        elif new.is_primary:
            self._on_replica_that_leads(view)
        elif new.primary != self.primary.host:
            self._on_replica_of_another(view)
        self.failover.on_report(view)

    def _learn_replicas(self, hosts: tuple[Host, ...]) -> None:
        for host in hosts:
            if host not in self.replicas and host != self.primary.host:
                self.replicas[host] = View(host, self.now_s)
                self.publish("+slave", self.describe(self.replicas[host]))

    def _on_replica_that_leads(self, view: View) -> None:
        if self.failover.on_promotion(view) or view.promoted:
            return
        if self._primary_is_sane() and self._was_up_for(view, 8.0) and self.now_s - view.role_s > 8.0:
            self.reconfigure(view.host, self.primary.host)
            self.publish("+convert-to-slave", self.describe(view))

    def _on_replica_of_another(self, view: View) -> None:
        wait_s = self.failover_timeout_s
        if self._primary_is_sane() and self._was_up_for(view, wait_s) and self.now_s - view.moved_s > wait_s:
            self.reconfigure(view.host, self.primary.host)
            self.publish("+fix-slave-config", self.describe(view))

    def _primary_is_sane(self) -> bool:
        told = self.primary.report
        fresh = told is not None and told.is_primary and self.now_s - told.at_s < 2 * INFO_S
        return fresh and not self.primary.s_down and not self.o_down

    def _was_up_for(self, view: View, wait_s: float) -> bool:
        return not view.s_down and self.now_s - view.down_s > wait_s

    def _judge(self) -> None:
        """Decide whether enough Sentinels think that the primary is down, and ask the others what they think."""
        opinions = sum(peer.primary_down for peer in self.peers.values()) + 1
        down = self.primary.s_down and opinions >= self.quorum
        if down != self.o_down:
            self.o_down = down
            tail = f" #quorum {opinions}/{self.quorum}" if down else ""
            self.publish("+odown" if down else "-odown", self.describe(self.primary) + tail)

    def hello(self) -> None:
        """Announce the primary and the epochs to the other Sentinels; those that know it all learn nothing."""
        self._hello_s = self.now_s
        for host in self.peers:
            other = self.sentinels[host]
            known = other.epoch >= self.epoch and other.config_epoch >= self.config_epoch
            if other.alive and not known and self._passes(host):
                news = (self.epoch, self.config_epoch, self.named)
                self.loop.call_later(self.rng.uniform(0.0005, 0.003), partial(other.on_hello, *news))

    def _passes(self, host: Host) -> bool:
        """Return whether an announcement reaches a Sentinel, directly or through a server."""
        cut = self.network.is_cut
        relays = [ip for (ip, _), server in self.servers.items() if server.responds]
        return not cut(self.host[0], host[0]) or any(
            not cut(self.host[0], ip) and not cut(ip, host[0]) for ip in relays
        )

    def on_hello(self, epoch: int, config_epoch: int, primary: Host) -> None:
        """Take the announcement of another Sentinel: a later configuration replaces this one."""
        if not self.alive:
            return
        self.see_epoch(epoch)
        if config_epoch > self.config_epoch:
            self.config_epoch = config_epoch
            if primary != self.primary.host:
                self.switch(primary)

    def see_epoch(self, epoch: int) -> None:
        """Take a later epoch."""
        if epoch > self.epoch:
            self.epoch = epoch
            self.publish("+new-epoch", str(epoch))

    def switch(self, primary: Host) -> None:
        """Begin to watch another primary; the old one counts as its replica."""
        old = self.primary.host
        self.publish("+switch-master", f"{SERVICE} {old[0]} {old[1]} {primary[0]} {primary[1]}")
        others = [host for host in (*self.replicas, old) if host != primary]
        self.primary = View(primary, self.now_s)
        self.replicas = {host: View(host, self.now_s) for host in dict.fromkeys(others)}
        self.o_down = False
        for peer in self.peers.values():
            peer.primary_down = False
        self.failover = Failover(self)
        for view in self.replicas.values():
            self.publish("+slave", self.describe(view))
        self.wake()

    def force_failover(self, *, coordinated: bool) -> Any:
        """Begin a failover that an operator asks for."""
        return self.failover.force(coordinated=coordinated)
