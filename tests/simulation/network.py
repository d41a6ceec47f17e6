"""A virtual network: machines, one-way links between them, and connections that are ordered streams over two links.

Bytes of one connection arrive in order. Those of two connections overtake each other, as each message has a delay of
its own. A link that is cut holds what is sent over connections, as TCP does, and delivers it some time after it was
healed; messages between servers (`send`) are dropped. An attempt to connect over a cut link has no outcome.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from tests.simulation.loop import VirtualLoop
from tests.simulation.trace import Trace
from tollhouse.stores.transport.connection import STALL_S, Connection
from tollhouse.stores.urls import Host, TcpAddress, UnixAddress

DELAY_MS: Final = (0.1, 0.9)
"""Bounds of the delay of one message on a link that nothing slows down."""
RESUME_MS: Final = (1.0, 400.0)
"""Bounds of the time between the healing of a link and the delivery of what it held: TCP repeats after a pause."""


class Node(Protocol):
    """What listens at an address: a server or a Sentinel."""

    def accept(self, link: ServerLink) -> None:
        """Take a new connection."""
        ...

    def received(self, link: ServerLink, data: bytes) -> None:
        """Take bytes that a connection delivers."""
        ...

    def lost(self, link: ServerLink) -> None:
        """Forget a connection that the client has closed."""
        ...


class Network:
    """Machines are names (`ip`); a link goes from one to another and has a state of its own in each direction."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, trace: Trace | None = None) -> None:
        self.loop = loop
        self.rng = rng
        self.trace = Trace(loop) if trace is None else trace
        self.note = self.trace.note
        self.connections: dict[int, ServerLink] = {}
        """The connections that are open at either end, by number."""
        self._made = 0
        self._nodes: dict[Host, Node] = {}
        self._cuts: dict[tuple[str, str], None] = {}
        self._healed_s: dict[tuple[str, str], float] = {}
        self._delays: dict[tuple[str, str], float] = {}
        self._stalled: dict[tuple[str, str], list[_Stream]] = {}
        self._messages: dict[tuple[str, str], _Stream] = {}

    def listen(self, host: Host, node: Node) -> None:
        """Accept connections at an address."""
        self._nodes[host] = node

    def unlisten(self, host: Host) -> None:
        """Refuse connections at an address, and reset those that are open."""
        self._nodes.pop(host, None)
        for link in [link for link in self.connections.values() if link.host == host]:
            link.close()

    def cut(self, src: str, dst: str) -> None:
        """Deliver nothing from one machine to another, in this direction."""
        self._cuts[src, dst] = None

    def heal(self, src: str, dst: str) -> None:
        """Deliver again, after a pause also what the connections held."""
        self._cuts.pop((src, dst), None)
        self._healed_s[src, dst] = self.loop.time()
        for stream in self._stalled.pop((src, dst), []):
            stream.resume(self.loop.time() + self.rng.uniform(*RESUME_MS) / 1000)

    def is_cut(self, src: str, dst: str) -> bool:
        """Return whether nothing is delivered in this direction."""
        return (src, dst) in self._cuts

    def were_apart(self, one: str, other: str, within_s: float) -> bool:
        """Return whether a link between two machines is cut in either direction, or was within so many seconds."""
        links, since_s = ((one, other), (other, one)), self.loop.time() - within_s
        return any(link in self._cuts or self._healed_s.get(link, -1.0) >= since_s for link in links)

    def delay(self, src: str, dst: str, ms: float) -> None:
        """Deliver everything later by up to so many milliseconds, in this direction."""
        self._delays[src, dst] = ms

    def send(self, src: str, dst: str, action: Callable[[], None]) -> None:
        """Run `action` when a message has arrived; it is dropped while the link is cut. One pair keeps its order."""
        stream = self._messages.get((src, dst))
        if stream is None:
            stream = self._messages[src, dst] = _Stream(self, src, dst, stalls=False)
        stream.push(action)

    def dialer(self, ip: str) -> SimulatedDialer:
        """Return the dialer of a process on the machine `ip`."""
        return SimulatedDialer(self, ip)

    def connect(self, ip: str, host: Host) -> ServerLink:
        """Begin to connect; `opened` of the connection tells how it went, unless a link is cut."""
        self._made += 1
        link = ServerLink(self, self._made, ip, host)
        link.knock(self._nodes.get)
        return link

    def due_s(self, src: str, dst: str) -> float:
        """Return when a message that is sent now arrives."""
        low, high = DELAY_MS
        return self.loop.time() + self.rng.uniform(low, high + self._delays.get((src, dst), 0.0)) / 1000

    def hold(self, stream: _Stream, src: str, dst: str) -> None:
        """Keep a stream until its link is healed."""
        self._stalled.setdefault((src, dst), []).append(stream)


class _Stream:
    """One direction of a connection, or of the messages of two machines: everything arrives in order."""

    def __init__(self, network: Network, src: str, dst: str, *, stalls: bool = True) -> None:
        self._network = network
        self._src = src
        self._dst = dst
        self._stalls = stalls
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()
        self._last_s = 0.0
        self._resumes_s = 0.0
        self._armed = False

    def push(self, action: Callable[[], None]) -> None:
        self._last_s = max(self._network.due_s(self._src, self._dst), self._last_s)
        self._queue.append((self._last_s, action))
        if not self._armed:
            self._arm()

    def resume(self, at_s: float) -> None:
        """Deliver what was held, in order, from a time on."""
        self._resumes_s = at_s
        self._last_s = max(at_s, self._last_s)
        self._queue = deque((max(at_s, due_s), action) for due_s, action in self._queue)
        self._arm()

    def discard(self) -> None:
        """Drop what the sender has to send again, because the link is cut or was a moment ago."""
        if self._network.is_cut(self._src, self._dst) or self._network.loop.time() < self._resumes_s:
            self._queue.clear()

    def _arm(self) -> None:
        self._armed = True
        self._network.loop.call_at(self._queue[0][0], self._arrive)

    def _arrive(self) -> None:
        cut = self._network.is_cut(self._src, self._dst)
        if cut and self._stalls:
            self._network.hold(self, self._src, self._dst)
            return
        now_s = self._network.loop.time() + 1e-9
        while self._queue and self._queue[0][0] <= now_s:
            _, action = self._queue.popleft()
            if not cut:
                action()
        self._armed = False
        if self._queue:
            self._arm()


class ServerLink:
    """One connection. Its methods are the server's; the client's end is `transport`."""

    def __init__(self, network: Network, number: int, ip: str, host: Host) -> None:
        self.number = number
        self.peer_ip = ip
        self.host = host
        self.opened: asyncio.Future[None] = network.loop.create_future()
        self.protocol: Connection | None = None
        self.server_open = False
        self.client_open = True
        self._network = network
        self._node: Node | None = None
        self._written: list[bytes] | None = None
        self._to_server = _Stream(network, ip, host[0])
        self._to_client = _Stream(network, host[0], ip)
        network.connections[number] = self

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other

    def write(self, data: bytes) -> None:
        """Send bytes to the client; no effect once either end was closed."""
        if not self.server_open:
            return
        if self._written is None:
            self._to_client.push(partial(self._deliver_to_client, data))
        else:
            self._written.append(data)

    def close(self) -> None:
        """Reset the connection from the server's end: the client learns it behind all that was sent before."""
        if self.server_open:
            self._flush()
            self.server_open = False
            self._forget()
            self._to_client.push(self._lose_client)

    def knock(self, node_at: Callable[[Host], Node | None]) -> None:
        """Ask the server for a connection."""
        self._to_server.push(lambda: self._answer_knock(node_at(self.host)))

    def send(self, data: bytes) -> None:
        """Send bytes to the server."""
        if self.client_open:
            self._to_server.push(partial(self._deliver_to_server, data))

    def abort(self, *, discards: bool = False) -> None:
        """Reset the connection from the client's end: the server learns it behind all that was sent before.

        With `discards` the client's kernel repeats nothing that a link which is cut has not let through.
        """
        if self.client_open:
            self.client_open = False
            self._forget()
            if discards:
                self._to_server.discard()
            self._to_server.push(self._lose_server)
            if self.protocol is not None:
                self._network.loop.call_soon(self.protocol.connection_lost, None)

    def _answer_knock(self, node: Node | None) -> None:
        if node is None:
            self._to_client.push(partial(self._open, refused=True))
        elif self.client_open:
            self.server_open, self._node = True, node
            node.accept(self)
            self._to_client.push(partial(self._open, refused=False))

    def _open(self, *, refused: bool) -> None:
        if self.opened.done():
            return
        if refused:
            self.client_open = False
            self._forget()
            self.opened.set_exception(ConnectionRefusedError(f"{self.host[0]}:{self.host[1]} refuses connections"))
        else:
            self.opened.set_result(None)

    def _deliver_to_client(self, data: bytes) -> None:
        if self.client_open and self.protocol is not None:
            self._network.trace.delivered(self.host[0], self.peer_ip, data)
            self.protocol.data_received(data)

    def _deliver_to_server(self, data: bytes) -> None:
        if self.server_open and self._node is not None:
            self._network.trace.delivered(self.peer_ip, self.host[0], data)
            self._written = []
            self._node.received(self, data)
            self._flush()

    def _flush(self) -> None:
        """Send in one piece what the server wrote while it took one piece."""
        written, self._written = self._written, None
        if written and self.server_open:
            self._to_client.push(partial(self._deliver_to_client, b"".join(written)))

    def _lose_client(self) -> None:
        if not self.client_open:
            return
        self.client_open = False
        self._forget()
        if self.protocol is not None:
            self.protocol.connection_lost(None)
        elif not self.opened.done():
            self.opened.set_exception(ConnectionResetError("the server closed the connection"))

    def _lose_server(self) -> None:
        if self.server_open and self._node is not None:
            self.server_open = False
            self._forget()
            self._node.lost(self)

    def _forget(self) -> None:
        """Drop the connection from the network once both ends are closed."""
        if not self.client_open and not self.server_open:
            self._network.connections.pop(self.number, None)


class SimulatedTransport:
    """The client's end of a connection, as far as `Connection` uses a transport."""

    def __init__(self, link: ServerLink) -> None:
        self._link = link
        self._lingers = True

    def get_extra_info(self, _: str) -> SimulatedTransport:
        """Return the socket, as far as `Connection` uses one."""
        return self

    def setsockopt(self, *_: object) -> None:
        """Take the one option that is set: discard at the end what is unsent."""
        self._lingers = False

    def write(self, data: bytes) -> None:
        self._link.send(data)

    def abort(self) -> None:
        self._link.abort(discards=not self._lingers)

    def is_closing(self) -> bool:
        return not self._link.client_open

    def get_write_buffer_size(self) -> int:
        return 0


class SimulatedDialer:
    """The dialer of one process: its `dial` is that of `Dialer`."""

    def __init__(self, network: Network, ip: str) -> None:
        self._network = network
        self._ip = ip
        self._links: dict[int, ServerLink] = {}
        self._ended = False

    def end(self) -> None:
        """Reset all connections of the process, and refuse to make others."""
        self._ended = True
        for link in [link for link in self._links.values() if link.client_open]:
            link.abort()

    async def dial(
        self,
        address: TcpAddress | UnixAddress,
        *,
        on_lost: Callable[[], None],
        on_push: Callable[[list[Any]], None] = lambda _: None,
        stall_s: float = STALL_S,
        next_address_s: float = 0.0,
    ) -> tuple[Connection, Host | None]:
        """Connect; return the connection and the peer's address. Raise OSError. Every name has one address."""
        del next_address_s
        assert isinstance(address, TcpAddress), "a simulation has no unix sockets"
        if self._ended:
            raise OSError("the process has ended")
        host = (address.host, address.port)
        self._links = {number: link for number, link in self._links.items() if link.client_open}
        link = self._network.connect(self._ip, host)
        self._links[link.number] = link
        try:
            await link.opened
        except BaseException:
            link.abort()
            raise
        connection = Connection(on_lost=on_lost, on_push=on_push, stall_s=stall_s)
        link.protocol = connection
        connection.connection_made(SimulatedTransport(link))  # type: ignore[arg-type] - it is one by its methods
        return connection, host
