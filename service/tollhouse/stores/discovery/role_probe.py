"""Asks servers for their role: no address is used before its server says that it is a primary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from msgspec import Struct

from tollhouse.stores.addresses import format_host, read_host
from tollhouse.stores.discovery.hurry import ReplicationNudge
from tollhouse.stores.discovery.timing import ResolverTiming
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.errors import CALL_FAILED, DeadlinePassed, ServerError
from tollhouse.stores.urls import Host, SentinelService, TcpAddress

HOPS_MAX: Final = 3
"""How often an answer "I am a replica of …" is followed."""

_FAILED: Final = (OSError, TimeoutError, *CALL_FAILED)
_LOGIN: Final = frozenset({"NOAUTH", "WRONGPASS", "NOPERM"})


class Primary(Struct, frozen=True, kw_only=True):
    """The server takes writes."""


class Replica(Struct, frozen=True, kw_only=True):
    """The server follows another one; None where it does not say which."""

    primary: Host | None


class VerifiedPrimary(Struct, frozen=True, kw_only=True):
    """A server that says it is a primary: its name, the address behind the name, and who was asked first."""

    host: Host
    peer: Host
    start: Host


class Unverified(Struct, frozen=True, kw_only=True):
    """Why a server was not taken for a primary; `lasting` where only somebody else can mend it."""

    reason: str
    lasting: bool = False


class RoleProbe:
    """Asks servers of one service for their role, on connections of its own."""

    def __init__(self, target: SentinelService, login: Login, dialer: Dialer, timing: ResolverTiming) -> None:
        self._target = target
        self._login = login
        self._dialer = dialer
        self._timing = timing

    async def find_primary(self, start: Host) -> VerifiedPrimary | Unverified:
        """Ask a server, and whomever it says that it follows, until one is a primary."""
        host = start
        for _ in range(HOPS_MAX):
            try:
                async with self._connect(host) as (lane, peer, greeted):
                    role = await self._role(lane, greeted)
            except _FAILED as error:
                return self._explained(host, error)
            if isinstance(role, Primary):
                return VerifiedPrimary(host=host, peer=peer, start=start)
            if role.primary is None:
                return Unverified(reason=f"{format_host(host)} is no primary, and names none")
            host = role.primary
        return Unverified(reason=f"{format_host(start)} leads to no primary in {HOPS_MAX} steps")

    async def await_promotion(self, host: Host, wanted: Callable[[], bool]) -> VerifiedPrimary | None:
        """Look at a server until it is a primary, or until it is not wanted any more; have it hurry meanwhile."""
        while wanted():
            try:
                async with self._connect(host) as (lane, peer, greeted), self._connect(host) as (other, _, _):
                    hurry = ReplicationNudge(other)
                    while wanted():
                        hurry.send(self._deadline_s())
                        if isinstance(await self._role(lane, greeted), Primary):
                            return VerifiedPrimary(host=host, peer=peer, start=host)
                        await asyncio.sleep(self._timing.promotion_poll_s)
            except _FAILED:  # Sentinel ends all connections of the server that it promotes
                await asyncio.sleep(self._timing.promotion_poll_s)
        return None

    @asynccontextmanager
    async def _connect(self, host: Host) -> AsyncGenerator[tuple[Connection, Host, Primary | Replica]]:
        """Connect and log in; give what the greeting says of the role too."""
        address = TcpAddress(host=host[0], port=host[1], tls=self._target.tls, ca=self._target.ca)
        async with asyncio.timeout(self._timing.timeout_s):
            lane, peer = await self._dialer.dial(address, on_lost=_nothing, stall_s=self._timing.timeout_s)
        try:
            greeting = await lane.send(self._login.hello("tollhouse-resolver"), self._deadline_s())
            yield lane, cast("Host", peer), read_greeting(greeting)
        finally:
            lane.close()

    async def _role(self, lane: Connection, greeted: Primary | Replica) -> Primary | Replica:
        try:
            return read_role(await lane.send(encode("ROLE"), self._deadline_s()))
        except ServerError as error:
            if error.code != "NOPERM":
                raise
            return greeted  # an account without the right to ROLE: the greeting knows, but not whom it follows

    def _deadline_s(self) -> float:
        return asyncio.get_running_loop().time() + self._timing.timeout_s

    def _explained(self, host: Host, error: Exception) -> Unverified:
        place = format_host(host)
        if isinstance(error, ServerError) and error.code in _LOGIN:
            remedy = "set the server's user and password in the URL"
            return Unverified(reason=f"{place} refused the login: {error}; {remedy}", lasting=True)
        if isinstance(error, TimeoutError | DeadlinePassed):
            return Unverified(reason=f"{place}: no answer within {self._timing.timeout_s * 1000:g} ms")
        return Unverified(reason=f"{place}: {str(error) or type(error).__name__}")


def read_role(reply: Any) -> Primary | Replica:
    """Read the reply of ROLE; whatever is not understood is a replica of nobody, and so not used."""
    match reply:
        case [b"master" | b"primary", *_]:
            return Primary()
        case [b"slave" | b"replica", bytes(host), int(port), *_]:
            return Replica(primary=read_host(host.decode(errors="replace"), str(port)))
        case _:
            return Replica(primary=None)


def read_greeting(greeting: Any) -> Primary | Replica:
    """Read the role out of the reply of HELLO 3."""
    role = cast("dict[bytes, Any]", greeting).get(b"role") if isinstance(greeting, dict) else None
    return Primary() if role in (b"master", b"primary") else Replica(primary=None)


def _nothing() -> None:
    pass
