"""Scripted servers that speak RESP on loopback: Sentinels, and the servers that they watch.

They stand for the other side of the wire, never for our own code. A test sets their replies, makes them silent, closes
their connections or moves them, and waits for the commands that they receive.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Self, cast

from hiredis import Reader

from tollhouse.stores.urls import Host

PATIENCE_S = 10.0


class ErrorReply(str):
    """An error reply."""


class SimpleString(str):
    """A simple string."""


def resp(value: Any) -> bytes:
    """Return a value as RESP3."""
    match value:
        case ErrorReply():
            return f"-{value}\r\n".encode()
        case SimpleString():
            return f"+{value}\r\n".encode()
        case None:
            return b"_\r\n"
        case int():
            return b":%d\r\n" % value
        case str():
            return resp(value.encode())
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(value), value)
        case dict():
            return b"%%%d\r\n" % len(value) + b"".join(resp(part) for pair in value.items() for part in pair)
        case _:
            return b"*%d\r\n" % len(value) + b"".join(resp(part) for part in value)


class Connection(asyncio.Protocol):
    """One client of a listener."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.channels: set[str] = set()
        self.logged_in = listener.login is None
        self._reader = Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.listener.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            self.transport.write(self.listener.reply(self, [part.decode() for part in command]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.listener.connections.discard(self)


class Listener:
    """Accepts connections, checks logins and counts commands; `answer` returns the other replies."""

    def __init__(self, answer: Callable[[list[str]], Any], login: tuple[str, str] | None = None) -> None:
        self.login = login
        self.silent = False
        self.allows_getack = True
        self._unanswered: list[tuple[Connection, list[str]]] = []
        self.host: Host = ("127.0.0.1", 0)
        self.connections: set[Connection] = set()
        self.counts: Counter[str] = Counter()
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()

    async def open(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen; after `close` on the same port as before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), *self.host, ssl=tls)
        self.host = self._server.sockets[0].getsockname()[:2]

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

    def publish(self, channel: str, text: str) -> None:
        """Send a message to the subscribers of the channel."""
        message = b">3\r\n" + b"".join(resp(part) for part in ("message", channel, text))
        for connection in self.connections:
            if channel in connection.channels:
                connection.transport.write(message)

    def reply(self, connection: Connection, command: list[str]) -> bytes:
        """Answer one command, and count it under its first word, or its first two if the first is SENTINEL."""
        name = " ".join(command[:2] if command[0] == "SENTINEL" else command[:1])
        self.counts[name] += 1
        self._changed.set()
        self._changed = asyncio.Event()
        if self.silent:
            self._unanswered.append((connection, command))
            return b""
        if name == "HELLO":
            return self._hello(connection, command)
        if not connection.logged_in:
            return resp(ErrorReply("NOAUTH Authentication required."))
        if name == "SUBSCRIBE":
            return self._subscribe(connection, command[1:])
        if name == "REPLCONF" and self.allows_getack:
            return b""  # as a server does: it acknowledges to its primary, and sends the caller nothing
        return resp(SimpleString("PONG") if name == "PING" else self._answer(command))

    def answer_late(self) -> None:
        """Answer the commands that came during the silence, and end it."""
        self.silent = False
        late, self._unanswered = self._unanswered, []
        for connection, command in late:
            connection.transport.write(self.reply(connection, command))

    async def received(self, name: str, times: int = 1) -> None:
        """Wait until a command was received `times` times more."""
        wanted = self.counts[name] + times
        async with asyncio.timeout(PATIENCE_S):
            while self.counts[name] < wanted:
                await self._changed.wait()

    def _hello(self, connection: Connection, command: list[str]) -> bytes:
        if "AUTH" in command:
            place = command.index("AUTH")
            if self.login is not None and tuple(command[place + 1 : place + 3]) != self.login:
                return resp(ErrorReply("WRONGPASS invalid username-password pair or user is disabled."))
            connection.logged_in = True
        if not connection.logged_in:
            return resp(ErrorReply("NOAUTH HELLO must be called with the client already authenticated"))
        return resp(self._answer(command))

    def _subscribe(self, connection: Connection, channels: Sequence[str]) -> bytes:
        connection.channels.update(channels)
        return b"".join(
            b">3\r\n" + b"".join(resp(part) for part in ("subscribe", channel, count))
            for count, channel in enumerate(channels, 1)
        )


class FakeServer:
    """A server with a role; `follows` is its primary, and None means that it is the primary."""

    def __init__(self, *, login: tuple[str, str] | None = None) -> None:
        self.follows: Host | None = None
        self.refuses_role: str | None = None
        self.listener = Listener(self._answer, login)

    @property
    def host(self) -> Host:
        return self.listener.host

    async def open(self, tls: ssl.SSLContext | None = None) -> Self:
        await self.listener.open(tls)
        return self

    def _answer(self, command: list[str]) -> Any:
        match command:
            case ["HELLO", *_]:
                return {"server": "valkey", "role": "master" if self.follows is None else "replica"}
            case ["ROLE"] if self.refuses_role is not None:
                return ErrorReply(self.refuses_role)
            case ["ROLE"] if self.follows is None:
                return ["master", 100, []]
            case ["ROLE"]:
                assert self.follows is not None
                return ["slave", self.follows[0], self.follows[1], "connected", 100]
            case _:
                return ErrorReply(f"ERR unknown command '{command[0]}', with args beginning with: ")


class FakeSentinel:
    """A Sentinel whose replies a test sets, for one service named `main`."""

    def __init__(self, number: int, *, login: tuple[str, str] | None = None) -> None:
        self.id = f"{number:040x}"
        self.primary: Host = ("127.0.0.1", 1)
        self.epoch = 0
        self.run_id = ""
        self.info_refresh_ms = 0
        self.replicas: list[dict[str, str]] = []
        self.peers: list[FakeSentinel] = []
        self.overrides: dict[str, Any] = {}
        self.listener = Listener(self._answer, login)

    @property
    def host(self) -> Host:
        return self.listener.host

    async def open(self, tls: ssl.SSLContext | None = None) -> Self:
        await self.listener.open(tls)
        return self

    def watch(self, primary: Host, epoch: int = 0) -> None:
        """Name a primary from now on, without announcing it."""
        self.primary, self.epoch = primary, epoch

    def announce(self, channel: str, text: str) -> None:
        self.listener.publish(channel, text)

    def announce_promotion(self, new: Host, old: Host, channel: str = "+failover-state-wait-promotion") -> None:
        self.announce(channel, f"slave {new[0]}:{new[1]} {new[0]} {new[1]} @ main {old[0]} {old[1]}")

    def _answer(self, command: list[str]) -> Any:
        name = " ".join(command[:2]) if command[0] == "SENTINEL" else command[0]
        known = self._known() | self.overrides
        if command[0] == "SENTINEL" and command[2:] not in ([], ["main"]):
            return None if name.endswith("BY-NAME") else ErrorReply("ERR No such master with that name")
        return known.get(name, ErrorReply(f"ERR unknown command '{command[0]}', with args beginning with: "))

    def _known(self) -> dict[str, Any]:
        return {
            "HELLO": {"server": "valkey", "mode": "sentinel"},
            "SENTINEL MYID": self.id,
            "SENTINEL GET-MASTER-ADDR-BY-NAME": [self.primary[0], str(self.primary[1])],
            "SENTINEL MASTER": {
                "config-epoch": str(self.epoch),
                "runid": self.run_id,
                "info-refresh": str(self.info_refresh_ms),
                "quorum": "2",
                "num-other-sentinels": str(len(self.peers)),
            },
            "SENTINEL REPLICAS": self.replicas,
            "SENTINEL SENTINELS": [peer.as_peer() for peer in self.peers],
        }

    def as_peer(self, flags: str = "sentinel") -> dict[str, str]:
        """Return the entry under which other Sentinels list this one."""
        return {"name": self.id, "ip": self.host[0], "port": str(self.host[1]), "runid": self.id, "flags": flags}


def replica(host: Host, *, flags: str = "slave", priority: int = 100) -> dict[str, str]:
    """Return the entry under which Sentinels list a replica."""
    return {"ip": host[0], "port": str(host[1]), "flags": flags, "slave-priority": str(priority)}
