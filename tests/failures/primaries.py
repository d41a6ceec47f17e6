"""Scripted primaries: the server side of a store's connections, and a locator that a test moves.

A primary shakes hands as a real one does and counts connections; what it says to every other command a test
decides, and may hold back. Commands are kept as they came, each with the number of its connection.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self, cast

from hiredis import Reader

from tests.failures.fake_sentinel import PATIENCE_S, ErrorReply, SimpleString, resp
from tollhouse.errors import StoreUnavailable
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import Script
from tollhouse.stores.discovery.failover_hints import FailoverHint
from tollhouse.stores.discovery.locator import Address, OnPrimaryEvent, ServiceHealth
from tollhouse.stores.discovery.primary_history import Generation, PrimaryEvent
from tollhouse.stores.replica_shortage import ReplicaShortage
from tollhouse.stores.store import Store
from tollhouse.stores.succession import ListedReplica, successors
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.redial import ConnectionTiming, Jitter
from tollhouse.stores.urls import Host, ServerList, Sharing, StoreUrl, TcpAddress

Answer = Callable[[list[str]], Any]


def script(name: str, *, idempotent: bool, reads: bool = False, primary_at: int | None = None) -> Script:
    text = f"return '{name}'"
    return Script(name=name, text=text, plain=text, sha=name, idempotent=idempotent, reads=reads, primary_at=primary_at)


SCRIPTS = {
    "sessions/probe": script("sessions/probe", idempotent=True),
    "test/once": script("test/once", idempotent=False),
    "test/again": script("test/again", idempotent=True),
    "test/bound": script("test/bound", idempotent=False, primary_at=0),
    "test/read": script("test/read", idempotent=True, reads=True),
}


class Connection(asyncio.Protocol):
    """One client of a primary."""

    def __init__(self, primary: Primary) -> None:
        self.primary = primary
        self.number = primary.accepted = primary.accepted + 1
        self._reader = Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.primary.connections.append(self)
        self.primary.stir()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            self.primary.receive(self, [part.decode() for part in command])

    def connection_lost(self, exc: Exception | None) -> None:
        self.primary.connections.remove(self)
        self.primary.stir()


class Primary:
    """A server whose replies a test writes; `holding` delays all but those of the handshake until `release`."""

    def __init__(self, answer: Answer = lambda _: 1, *, name: str = "abc", role: str = "master") -> None:
        self.answer = answer
        self.name = name
        self.role = role
        self.software = "valkey"
        self.version = "9.1"
        self.denied: frozenset[str] = frozenset()
        self.unknown: frozenset[str] = frozenset()
        self.loads: str | None = None
        self.select: Callable[[int], Any] = lambda _: SimpleString("OK")
        self.may_ask_role = True
        self.roles = 0
        self.appends = False
        self.attached: Any = []
        self.reply_to_role: Any = None
        self.holding = False
        self.mute = False
        self.accepted = 0
        self.connections: list[Connection] = []
        self.seen: list[tuple[int, list[str]]] = []
        self._held: list[tuple[Connection, list[str]]] = []
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self.host: Host = ("127.0.0.1", 0)

    async def open(self, tls: ssl.SSLContext | None = None) -> Self:
        """Listen; after `close` on the same port as before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), *self.host, ssl=tls)
        self.host = self._server.sockets[0].getsockname()[:2]
        return self

    async def close(self) -> None:
        """Stop listening, and close every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        while self.connections:
            self.drop()
            await asyncio.sleep(0)

    def drop(self) -> None:
        """Close every connection."""
        for connection in list(self.connections):
            connection.transport.abort()

    def release(self, number: int | None = None) -> None:
        """Answer the oldest commands that were delayed, all of them if no number is given."""
        for connection, command in self._held[:number]:
            self._reply(connection, command)
        self._held = self._held[number:] if number is not None else []

    def verbs(self, connection: int | None = None) -> list[str]:
        """Return the first words of the commands after the handshakes, on one connection or on all."""
        return [command[0] for number, command in self.seen if connection in (None, number)]

    def stir(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait, for a bounded time, until `happened`; it is checked after each event at this server."""
        async with asyncio.timeout(PATIENCE_S):
            while not happened():
                await self._changed.wait()

    def receive(self, connection: Connection, command: list[str]) -> None:
        greeting = self._greeting(command)
        if self.mute or command[0] == "REPLCONF":  # which servers never answer
            pass
        elif command[0] == "ROLE" and any(held is connection for held, _ in self._held):
            self._held.append((connection, command))  # replies keep the order of the commands
        elif greeting is not None:
            connection.transport.write(resp(greeting))
        elif command[0] == "SUBSCRIBE":
            self.seen.append((connection.number, command))  # answered by pushes, which a test sends
        elif self.holding:
            self.seen.append((connection.number, command))
            self._held.append((connection, command))
        else:
            self.seen.append((connection.number, command))
            self._reply(connection, command)
        self.stir()

    def _reply(self, connection: Connection, command: list[str]) -> None:
        greeting = self._greeting(command)
        connection.transport.write(resp(self.answer(command) if greeting is None else greeting))

    def _refusal(self, verb: str, *args: str) -> ErrorReply | None:
        if verb in self.denied:
            return ErrorReply(f"NOPERM User x has no permissions to run the '{verb.lower()}' command")
        if verb in self.unknown:
            repeated = " ".join(f"'{arg}'" for arg in args)
            return ErrorReply(f"ERR unknown command '{verb}', with args beginning with: {repeated}")
        return None

    def _greeting(self, command: list[str]) -> Any:
        refusal = self._refusal(*command)
        if refusal is not None:
            return refusal
        match command:
            case ["SELECT", number]:
                return self.select(int(number))
            case ["HELLO", *_]:
                return {"server": self.software, "version": self.version, "role": self.role}
            case ["ROLE"]:
                return self._role()
            case ["INFO", *_]:
                return f"master_replid:{self.name}\r\naof_enabled:{int(self.appends)}\r\n"
            case ["CLIENT", *_]:
                return SimpleString("OK")
            case ["SCRIPT", "LOAD", *_]:
                return "sha" if self.loads is None else ErrorReply(self.loads)
            case _:
                return None

    def _role(self) -> Any:
        self.roles += 1
        if self.reply_to_role is not None:
            return self.reply_to_role
        return [self.role, 100, self.attached] if self.may_ask_role else ErrorReply("NOPERM no permissions")


class ScriptedLocator:
    """A locator that names the primary that the test says, and passes on the events of the test."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.suspected: list[tuple[Address, FailoverHint]] = []
        self.state: ServiceHealth | None = None
        self._subscribers: list[OnPrimaryEvent] = []
        self._generations = 1

    async def locate(self) -> Address:
        return self.address

    def login(self) -> Login:
        return Login()

    def suspect(self, address: Address, signal: FailoverHint) -> None:
        self.suspected.append((address, signal))

    def subscribe(self, changed: OnPrimaryEvent) -> None:
        self._subscribers.append(changed)

    def health(self) -> ServiceHealth | None:
        return self.state

    def announce(self, news: PrimaryEvent) -> None:
        for changed in self._subscribers:
            changed(news)

    def move(self, to: Primary) -> None:
        """Name another primary, in a new generation."""
        self._generations += 1
        address = self.address = at(to)
        self.announce(Generation(number=self._generations, address=address, why="named", at_s=0.0, epoch=0))

    def promise(self, replicas: int, *, spare: int = 0) -> None:
        """Report from now on that Sentinels watch, with a number of promotable replicas and of others, by number."""
        listed = [listed_replica(number) for number in range(replicas)]
        listed += [listed_replica(replicas + number, priority=0) for number in range(spare)]
        self.state = ServiceHealth(
            service="main",
            sentinels_known=3,
            sentinels_reachable=3,
            quorum=2,
            promotable=replicas,
            successors=successors((tuple(listed),), frozenset(), believed=True),
            generation=None,
            reason="",
            silent=(),
        )


def listed_replica(number: int, priority: int = 100) -> ListedReplica:
    """Return a replica as a Sentinel lists it; `attached_replica` is the same one."""
    return ListedReplica(aliases=frozenset({("10.0.0.1", 6379 + number)}), priority=priority, state="up")


def attached_replica(number: int, offset: int = 100) -> list[str]:
    """Return a replica as ROLE lists it; what the primary has written ends at 100."""
    return ["10.0.0.1", str(6379 + number), str(offset)]


async def answered(store: Store) -> list[Any]:
    """Call until there is an answer, for a bounded time, and return it: while the store is down, calls start probes."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await store.run("test/once", [], [])
            except StoreUnavailable:
                await asyncio.sleep(0.005)


async def ended_because_closed(calls: Sequence[asyncio.Future[Any]], outcome: str = "not-sent") -> None:
    """Check that the calls of a store that was closed end at once, for that reason, and that no task is left."""
    async with asyncio.timeout(0.5):
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, StoreUnavailable) for end in ends), ends
    told = [(end.outcome, end.reason) for end in cast("list[StoreUnavailable]", ends)]
    assert told == [(outcome, "the store was closed")] * len(calls)
    await asyncio.sleep(0)
    assert not [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("tollhouse-")]


def at(primary: Primary) -> TcpAddress:
    return TcpAddress(host=primary.host[0], port=primary.host[1])


def refused(text: str) -> Answer:
    return lambda _: ErrorReply(text)


class Scene:
    """A store, its locator, and two primaries; the locator names the first one at the beginning."""

    def __init__(self, store: Store, locator: ScriptedLocator, primaries: tuple[Primary, ...]) -> None:
        self.store = store
        self.locator = locator
        self.old, self.new = primaries


@asynccontextmanager
async def scene(
    *,
    deadline_s: float = 5.0,
    old: Primary | None = None,
    metrics: Metrics | None = None,
    namespace: Namespace = UNNAMED,
    jitter: Jitter = random.uniform,
    shortage: ReplicaShortage | None = None,
    listed: bool = False,
    db: int = 0,
    sharing: Sharing | None = None,
    **timing: float,
) -> AsyncIterator[Scene]:
    """Open two primaries, and a store that is connected to neither yet."""
    async with AsyncExitStack() as stack:
        primaries = (Primary(name="old") if old is None else old, Primary(name="new"))
        for primary in primaries:
            await primary.open()
            stack.push_async_callback(primary.close)
        locator = ScriptedLocator(at(primaries[0]))
        how = {"metrics": metrics, "namespace": namespace, "jitter": jitter, "shortage": shortage, "listed": listed}
        where = {"db": db, "sharing": sharing}
        store = store_with(locator, deadline_s=deadline_s, **how, **where, **timing)
        stack.push_async_callback(store.aclose)
        yield Scene(store, locator, primaries)


def store_with(
    locator: ScriptedLocator,
    *,
    deadline_s: float = 5.0,
    dialer: Dialer | None = None,
    metrics: Metrics | None = None,
    namespace: Namespace = UNNAMED,
    jitter: Jitter = random.uniform,
    shortage: ReplicaShortage | None = None,
    listed: bool = False,
    db: int = 0,
    sharing: Sharing | None = None,
    **timing: float,
) -> Store:
    """Return a store on the server of the locator; with `listed` its URL names a second one, as one with replicas."""
    assert isinstance(locator.address, TcpAddress)
    host = locator.address.host, locator.address.port
    target = ServerList(hosts=(host, ("replica", 6379))) if listed else locator.address
    url = StoreUrl(target=target, db=db, sharing=sharing)
    metrics = Metrics() if metrics is None else metrics
    times = ConnectionTiming(**timing)
    how = {"deadline_s": deadline_s, "dialer": dialer, "timing": times, "namespace": namespace}
    return Store("sessions", url, locator, SCRIPTS, metrics, jitter=jitter, shortage=shortage, **how)
