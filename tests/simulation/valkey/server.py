"""One server: it starts, hangs, is killed, and runs the commands of its connections in their order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network, ServerLink
from tests.simulation.valkey.clients import Client
from tests.simulation.valkey.commands import HELD, NO_REPLY, execute
from tests.simulation.valkey.handovers import Handover
from tests.simulation.valkey.keyspace import CommandError, Effect, Keyspace
from tests.simulation.valkey.replication import Replicator
from tollhouse.stores.urls import Host

START_MS: Final = 1_800_000_000_000
"""The time of all servers when a simulation begins."""

_UNBLOCKED: Final = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"


class Server:
    """A server that listens at `host`. `peers` are all servers; `applied` is what it has written, with offsets."""

    def __init__(
        self,
        host: Host,
        loop: VirtualLoop,
        network: Network,
        rng: random.Random,
        peers: dict[Host, Server],
        *,
        priority: int = 100,
        min_replicas: int = 0,
        lag_ms: float = 0,
        skew_ms: int = 0,
        appends: bool = True,
    ) -> None:
        self.host = host
        self.loop = loop
        self.network = network
        self.rng = rng
        self.peers = peers
        self.priority = priority
        self.min_replicas = min_replicas
        self.lag_ms = lag_ms
        self.skew_ms = skew_ms
        self.appends = appends
        self.alive = False
        self.run_id = ""
        self.scripts: dict[bytes, bytes] = {}
        self.spaces: dict[int, Keyspace] = {}
        self.applied: list[tuple[int, Effect]] = []
        self.roles: list[tuple[float, bool]] = []
        self.acks_s: list[float] = []
        """When a replica acknowledged something new, or everything."""
        """Since when it was a primary, or was none, in order."""
        self.replicator = Replicator(self)
        self.handover = Handover(self)
        self._clients: dict[int, Client] = {}
        self._inbox: list[Callable[[], None]] = []
        self._hung = False
        peers[host] = self

    @property
    def role(self) -> str:
        """Return `master` or `slave`, as ROLE does."""
        return "master" if self.replicator.is_primary else "slave"

    @property
    def offset(self) -> int:
        """Return the replication offset."""
        return self.replicator.history.offset

    @property
    def acked(self) -> dict[Host, int]:
        """Return what each replica has acknowledged."""
        return {host: follower.acked for host, follower in self.replicator.followers.items()}

    @property
    def now_ms(self) -> int:
        """Return the time of this server's clock."""
        return START_MS + self.skew_ms + int(self.loop.time() * 1000)

    @property
    def responds(self) -> bool:
        """Return whether the process runs and is not stopped."""
        return self.alive and not self._hung

    # Starts and ends.

    def start(self) -> None:
        """Start the process, with the data that there is and the role of its settings file."""
        self.alive, self._hung = True, False
        self.run_id = f"{self.rng.getrandbits(160):040x}"
        self.replicator.start()
        self._note_role()
        self.network.listen(self.host, self)

    def kill(self) -> None:
        """End the process at once: scripts, connections and the replication history are gone."""
        if not self.alive:
            return
        self.note("is killed")
        self.alive, self._hung = False, False
        self._inbox.clear()
        self.network.unlisten(self.host)
        self.replicator.end()
        self._clients.clear()
        self.scripts.clear()
        self.handover.forget()

    def restart(self, *, empty: bool = False) -> None:
        """Start again, killed before or not: with all that was written, or with nothing."""
        self.kill()
        if empty:
            self.spaces.clear()
        self.start()
        self.note(f"starts {'empty' if empty else 'with its data'} as {self.role}")

    def hang(self, ms: float) -> None:
        """Stop the process for a while: it takes connections and messages, and answers nothing."""
        if not self.responds:
            return
        self.note(f"hangs for {ms:g} ms")
        self._hung = True
        self.loop.call_later(ms / 1000, self._wake, self.run_id)

    def _wake(self, run_id: str) -> None:
        if self.run_id != run_id or not self._hung:
            return
        self.note("goes on")
        self._hung = False
        inbox, self._inbox = self._inbox, []
        for action in inbox:
            action()

    def note(self, text: str) -> None:
        """Add a line about this server to the trace."""
        self.network.note(f"server {self.host[0]} {text}")

    # Time and messages.

    def timer(self, action: Callable[[], None]) -> Callable[[], None]:
        """Return what does `action` unless this process has ended by then; while it hangs, later."""
        return partial(self._perform, self.run_id, action)

    def call_later(self, delay_s: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        """Do `action` later, unless this process has ended by then."""
        return self.loop.call_later(delay_s, self.timer(action))

    def tell(self, host: Host, action: Callable[[Server], None]) -> None:
        """Send a message to a server; one that does not run answers that it does not."""
        peer = self.peers[host]
        self.network.send(self.host[0], host[0], lambda: peer.take(self, action))

    def take(self, sender: Server, action: Callable[[Server], None]) -> None:
        """Take a message of another server."""
        if self.alive:
            self._perform(self.run_id, partial(action, self))
        else:
            self.network.send(self.host[0], sender.host[0], lambda: sender.on_reset(self.host))

    def ordered(self, action: Callable[[Server], None]) -> None:
        """Take a command of a Sentinel; without a process it is lost."""
        self._perform(self.run_id, partial(action, self))

    def on_reset(self, host: Host) -> None:
        """Learn that another server does not run."""
        if self.alive:
            self._perform(self.run_id, partial(self.replicator.reset_by, host))

    def _perform(self, run_id: str, action: Callable[[], None]) -> None:
        if self.run_id != run_id or not self.alive:
            return
        if self._hung:
            self._inbox.append(partial(self._perform, run_id, action))
        else:
            action()

    # Connections.

    def accept(self, link: ServerLink) -> None:
        """Take a connection: the kernel does, also for a process that hangs."""
        self._clients[link.number] = Client(link)

    def received(self, link: ServerLink, data: bytes) -> None:
        """Run the commands that have arrived."""
        self._perform(self.run_id, partial(self._receive, link.number, data))

    def lost(self, link: ServerLink) -> None:
        """Forget a connection, behind all that it sent: a process that hangs reads that first when it runs again."""
        self._perform(self.run_id, partial(self._forget, link))

    def _forget(self, link: ServerLink) -> None:
        client = self._clients.pop(link.number, None)
        if client is not None and client.wait is not None and client.wait.timer is not None:
            client.wait.timer.cancel()

    def kill_clients(self) -> None:
        """Close all connections of clients, subscribers too."""
        for client in list(self._clients.values()):
            self._close(client)

    def _close(self, client: Client) -> None:
        self._forget(client.link)
        client.link.close()

    def _receive(self, number: int, data: bytes) -> None:
        client = self._clients.get(number)
        if client is not None:
            client.feed(data)
            self._run(client)

    def _run(self, client: Client) -> None:
        while client.link.number in self._clients and (command := client.next()) is not None:
            before = self.offset
            try:
                reply = execute(self, client, command)
            except CommandError as error:
                reply = error
            if self.offset != before:
                client.written = self.offset
            if reply is HELD:
                client.held = command
                return
            if reply is not NO_REPLY:
                client.reply(reply)

    # Data.

    def space(self, db: int) -> Keyspace:
        """Return a logical database."""
        space = self.spaces.get(db)
        if space is None:
            space = self.spaces[db] = Keyspace()
        return space

    def write(self, db: int, action: Callable[[Keyspace], Any]) -> Any:
        """Do something with a database, and replicate what it wrote, whether it succeeded or not."""
        space = self.space(db)
        space.now_ms, space.is_primary = self.now_ms, self.replicator.is_primary
        try:
            return action(space)
        finally:
            if space.effects:
                effects, space.effects = space.effects, []
                self.replicator.write(db, *effects)

    def load(self, spaces: dict[int, Keyspace]) -> None:
        """Replace all data."""
        self.spaces = spaces

    def publish(self, channel: bytes, message: bytes) -> int:
        """Send a message to all subscribers of a channel, and return their number."""
        subscribers = [client for client in self._clients.values() if channel in client.channels]
        for client in subscribers:
            client.push(b"message", channel, message)
        return len(subscribers)

    # Roles and acknowledgements.

    def promote(self) -> None:
        """Become a primary."""
        if not self.replicator.is_primary:
            self.replicator.lead()
            self._note_role()
            self.note("is a primary")

    def demote(self, primary: Host) -> None:
        """Become a replica of another server: those who wait are told so, and their connections are closed."""
        if self.replicator.upstream.host == primary or primary == self.host:
            return
        for client in [client for client in self._clients.values() if client.wait is not None]:
            client.end_wait(CommandError(_UNBLOCKED))
            self._close(client)
        self.replicator.follow(primary)
        self._note_role()
        self.note(f"is a replica of {primary[0]}")

    def _note_role(self) -> None:
        self.roles.append((self.loop.time(), self.replicator.is_primary))

    def on_link_up(self) -> None:
        """Continue after the connection to the primary was made."""
        self.handover.finish()

    def resume(self) -> None:
        """Run the commands that were held back."""
        for client in [client for client in self._clients.values() if client.held is not None]:
            self._run(client)

    def on_ack(self) -> None:
        """Answer those whose writes have enough acknowledgements now."""
        self.handover.check()
        for client in [client for client in self._clients.values() if client.wait is not None]:
            wait = client.wait
            if wait is not None and self.replicator.acknowledged_by(wait.offset) >= wait.replicas:
                self.end_wait(client)

    def end_wait(self, client: Client) -> None:
        """Answer a WAIT with what there is, and go on with its connection."""
        if client.wait is None:
            return
        acknowledged = self.replicator.acknowledged_by(client.wait.offset)
        client.end_wait([int(self.appends), acknowledged] if client.wait.with_file else acknowledged)
        self._run(client)
