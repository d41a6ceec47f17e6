"""A link: keeps one lane to one store alive, and tells callers at once when it cannot.

It connects when somebody calls. While it reconnects, callers are parked for at most `PARKED_S`,
never past their deadline; after that the link is open-circuited for a moment, and calls fail without
being sent, so that an outage costs callers microseconds and not their whole deadline.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from msgspec import Struct

from tollhouse.scripts import Script
from tollhouse.stores.lane import Lane, encode
from tollhouse.stores.outcomes import DeadlinePassed, LaneFull, LaneLost, ServerError
from tollhouse.stores.urls import StoreUrl, Tcp, Unix

CONNECT_S = 1.0
"""How long one attempt to connect, TLS and handshake included, may take."""
PARKED_S = 0.5
"""How long a call waits for a connection at most."""
_PAUSE_MIN_S = 0.02
_PAUSE_MAX_S = 1.0

Address = Tcp | Unix
Locate = Callable[[], Awaitable[Address]]
"""Names the server to connect to; asked anew before every attempt."""


class Unreachable(Exception):
    """There is no connection, and the call was not sent."""


class Server(Struct, frozen=True, kw_only=True):
    """What the handshake learned about the server at the other end."""

    software: str
    version: str
    role: str
    replication_id: str
    appends: bool


class Link:
    """One lane and whatever it takes to have it again after it was lost."""

    def __init__(self, url: StoreUrl, locate: Locate, scripts: Sequence[Script], *, name: str) -> None:
        self.server: Server | None = None
        self._url = url
        self._locate = locate
        self._scripts = scripts
        self._name = name
        self._lane: Lane | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._reason = ""
        self._closed_until_s = 0.0
        self._pause_s = _PAUSE_MIN_S
        self._tls: ssl.SSLContext | None = None
        self._ended = False

    async def lane(self, deadline_s: float) -> Lane:
        """Give a lane that can send, or raise Unreachable."""
        if self._lane is not None and self._lane.alive:
            return self._lane
        if self._ended:
            raise Unreachable("the store was closed")
        loop = asyncio.get_running_loop()
        if self._connecting is None:
            if loop.time() < self._closed_until_s:
                raise Unreachable(self._reason)
            self._connecting = loop.create_task(self._connect(), name=f"tollhouse-connect-{self._name}")
        waited = min(deadline_s, loop.time() + PARKED_S) - loop.time()
        await asyncio.wait({self._connecting}, timeout=max(waited, 0))
        if self._lane is not None and self._lane.alive:
            return self._lane
        raise Unreachable(self._reason or "no connection in time")

    async def aclose(self) -> None:
        """End the connection and the attempt to make one."""
        self._ended = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        if self._lane is not None:
            await self._lane.aclose()
            self._lane = None

    async def _connect(self) -> None:
        """Try until it works or `PARKED_S` has passed; then keep callers away for a jittered pause."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + PARKED_S
        try:
            while True:
                try:
                    self._lane = await self._attempt()
                except (OSError, TimeoutError, LaneLost, LaneFull, DeadlinePassed) as error:
                    self._reason = f"cannot connect to {self._url.shown()}: {_described(error)}"
                except ServerError as error:
                    self._reason = f"{self._url.shown()} refused the handshake: {error}"
                    give_up_s = 0.0
                else:
                    self._pause_s = _PAUSE_MIN_S
                    return
                self._pause_s = min(self._pause_s * 2, _PAUSE_MAX_S)
                pause_s = self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads reconnects, no secret
                if loop.time() + pause_s >= give_up_s:
                    self._closed_until_s = loop.time() + pause_s
                    return
                await asyncio.sleep(pause_s)
        finally:
            self._connecting = None

    async def _attempt(self) -> Lane:
        async with asyncio.timeout(CONNECT_S):
            address = await self._locate()
            lane = await self._dial(address)
            try:
                self.server = await self._handshake(lane)
            except BaseException:
                await lane.aclose()
                raise
        return lane

    async def _dial(self, address: Address) -> Lane:
        loop = asyncio.get_running_loop()

        if isinstance(address, Unix):
            _, lane = await loop.create_unix_connection(Lane, address.path)
            return lane
        if address.tls and self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context, cafile=address.ca)
        _, lane = await loop.create_connection(Lane, address.host, address.port, ssl=self._tls if address.tls else None)
        return lane

    async def _handshake(self, lane: Lane) -> Server:
        """Log in, choose the database, learn who answers, and load the scripts: one write, one wait."""
        deadline_s = asyncio.get_running_loop().time() + CONNECT_S
        hello: tuple[str, ...] = ("HELLO", "3")
        if self._url.password is not None:
            hello += ("AUTH", self._url.username or "default", self._url.password)
        frames = [
            encode(*hello, "SETNAME", f"tollhouse-{self._name}"),
            encode("SELECT", self._url.db),
            encode("INFO", "replication", "persistence"),
            *(encode("SCRIPT", "LOAD", script.text) for script in self._scripts),
        ]
        replies = [lane.send(frame, deadline_s) for frame in frames]
        results = await asyncio.gather(*replies, return_exceptions=True)
        greeting, selected, info, *loaded = results
        for result in (greeting, selected, *loaded):
            if isinstance(result, BaseException):
                raise result
        return _server(greeting, info)


def read_info(text: bytes) -> dict[str, str]:
    """Read the reply of INFO."""
    lines = text.decode(errors="replace").splitlines()
    pairs = (line.partition(":") for line in lines if ":" in line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def _server(greeting: Any, info: Any) -> Server:
    facts = {_text(name): _text(value) for name, value in _pairs(greeting)}
    # An account without the right to INFO still works: the cache then has no fence at a failover.
    state: Mapping[str, str] = read_info(info) if isinstance(info, bytes) else {}
    return Server(
        software=facts.get("server", "unknown"),
        version=facts.get("version", "unknown"),
        role=facts.get("role", "unknown"),
        replication_id=state.get("master_replid", ""),
        appends=state.get("aof_enabled") == "1",
    )


def _pairs(greeting: Any) -> list[tuple[Any, Any]]:
    if isinstance(greeting, dict):
        return list(cast("dict[Any, Any]", greeting).items())
    return list(zip(greeting[::2], greeting[1::2], strict=False))


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _described(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_S:g} s"
    return str(error) or type(error).__name__
