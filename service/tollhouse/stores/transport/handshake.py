"""The handshake: log in, choose the database, learn who answers, and load the scripts, in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

from msgspec import Struct

from tollhouse.scripts import Script
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.dialer import Login
from tollhouse.stores.transport.errors import ServerError


class ServerInfo(Struct, frozen=True, kw_only=True):
    """What the handshake learned about the server at the other end.

    `primary` is its replication id, which changes when another server takes over; empty where the account may not
    ask for it. `appends` tells whether it writes to a file.
    """

    software: str
    version: str
    role: str
    primary: str
    appends: bool


async def shake_hands(
    lane: Connection, name: str, login: Login, db: int, scripts: Sequence[Script], deadline_s: float
) -> ServerInfo:
    """Prepare a new connection; raises ServerError where the server refuses a part that is needed."""
    frames = [
        login.hello(f"tollhouse-{name}"),
        encode("SELECT", db),
        encode("INFO", "replication", "persistence"),
        # A primary that steps down then tells where to go, instead of closing; servers that do not know it say so.
        encode("CLIENT", "CAPA", "redirect"),
        *(encode("SCRIPT", "LOAD", script.text) for script in scripts),
    ]
    replies = [lane.send(frame, deadline_s) for frame in frames]
    greeting, selected, info, _, *loaded = await asyncio.gather(*replies, return_exceptions=True)
    for result in (greeting, selected, *loaded):
        if isinstance(result, BaseException):
            raise result
    server = _server(greeting, info)
    if server.role != "master":
        raise ServerError(f"READONLY the server is a {server.role}")
    return server


def read_info(text: bytes) -> dict[str, str]:
    """Read the reply of INFO."""
    lines = text.decode(errors="replace").splitlines()
    pairs = (line.partition(":") for line in lines if ":" in line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def _server(greeting: Any, info: Any) -> ServerInfo:
    facts = {_text(name): _text(value) for name, value in cast("dict[Any, Any]", greeting).items()}
    # An account without the right to INFO still works: the cache then has no fence at a failover.
    state: Mapping[str, str] = read_info(info) if isinstance(info, bytes) else {}
    return ServerInfo(
        software=facts.get("server", "unknown"),
        version=facts.get("version", "unknown"),
        role=facts.get("role", "unknown"),
        primary=state.get("master_replid", ""),
        appends=state.get("aof_enabled") == "1",
    )


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
