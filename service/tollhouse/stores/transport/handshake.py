"""The handshake: log in, select the database, identify the server, and load the scripts, in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from msgspec import Struct

from tollhouse.scripts import Script
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.dialer import Login
from tollhouse.stores.transport.errors import ServerError


class ServerInfo(Struct, frozen=True, kw_only=True):
    """The server at the other end, as the handshake found it.

    `primary` is its replication id, which changes when another server takes over; it is empty when the account may not
    run INFO. `appends` is whether it writes an append-only file.
    """

    software: str
    version: str
    role: str
    primary: str
    appends: bool


async def shake_hands(
    connection: Connection, name: str, login: Login, db: int, scripts: Sequence[Script], deadline_s: float
) -> ServerInfo:
    """Prepare a new connection; raise ServerError when the server refuses a required part, or is a replica."""
    frames = [
        login.hello(f"tollhouse-{name}"),
        encode("SELECT", db),
        encode("INFO", "replication", "persistence"),
        # With it, a primary that steps down names the next one instead of closing. A server may refuse it.
        encode("CLIENT", "CAPA", "redirect"),
        *(encode("SCRIPT", "LOAD", script.text) for script in scripts),
    ]
    replies = [connection.send(frame, deadline_s) for frame in frames]
    greeting, selected, info, _, *loaded = await asyncio.gather(*replies, return_exceptions=True)
    for result in (greeting, selected, *loaded):
        if isinstance(result, BaseException):
            raise result
    server = _server(greeting, info)
    if server.role != "master":
        raise ServerError(f"READONLY the server is a {server.role}")
    return server


def read_info(text: bytes) -> dict[str, str]:
    """Return the fields of a reply of INFO."""
    lines = text.decode(errors="replace").splitlines()
    pairs = (line.partition(":") for line in lines if ":" in line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def _server(greeting: Any, info: Any) -> ServerInfo:
    fields = {_text(name): _text(value) for name, value in cast("dict[Any, Any]", greeting).items()}
    # An account that may not run INFO still works, but without replay and cache fence at a failover.
    state = read_info(info if isinstance(info, bytes) else b"")
    return ServerInfo(
        software=fields.get("server", "unknown"),
        version=fields.get("version", "unknown"),
        role=fields.get("role", "unknown"),
        primary=state.get("master_replid", ""),
        appends=state.get("aof_enabled") == "1",
    )


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
