"""The connections of a server: their state, and what they wait for."""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis
from msgspec import Struct

from tests.simulation.network import ServerLink
from tests.simulation.valkey.keyspace import CommandError
from tests.simulation.valkey.replies import encode_push, encode_reply

Command = list[bytes]


class Wait(Struct, frozen=True, kw_only=True):
    """A connection waits until so many replicas have acknowledged what it wrote."""

    replicas: int
    offset: int
    timer: asyncio.TimerHandle | None
    with_file: bool


class Client:
    """One connection. Its commands run in order; while it waits or is held back, the next ones do not."""

    def __init__(self, link: ServerLink) -> None:
        self.link = link
        self.db = 0
        self.redirects = False
        self.written = 0
        self.channels: dict[bytes, None] = {}
        self.wait: Wait | None = None
        self.held: Command | None = None
        self._reader: Any = hiredis.Reader()

    def feed(self, data: bytes) -> None:
        """Take bytes of requests."""
        self._reader.feed(data)

    def next(self) -> Command | None:
        """Return the next command that may run now; None if there is none."""
        if self.wait is not None:
            return None
        if self.held is not None:
            held, self.held = self.held, None
            return held
        command = self._reader.gets()
        return None if command is False else command

    def reply(self, value: Any) -> None:
        """Answer a command."""
        self.link.write(encode_reply(value))

    def push(self, *parts: Any) -> None:
        """Send what answers no command."""
        self.link.write(encode_push(*parts))

    def end_wait(self, reply: int | list[int] | CommandError) -> None:
        """Answer the WAIT of this connection."""
        assert self.wait is not None
        if self.wait.timer is not None:
            self.wait.timer.cancel()
        self.wait = None
        self.reply(reply)
