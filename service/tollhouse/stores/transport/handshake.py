"""The handshake: log in, select the database, identify the server, and load the scripts, in one write.

Only the login is required, and a database. A server that may not load scripts gets the text of each with its first
call; what is lost without the other commands is in `rights`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import ConfigurationError
from tollhouse.scripts import Script
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.databases import Database
from tollhouse.stores.transport.dialer import LoginNow
from tollhouse.stores.transport.errors import ServerError, is_lacking
from tollhouse.stores.transport.refusals import RIGHTS_REMEDY
from tollhouse.stores.transport.renewal import renew_login

_REDIS_MAJOR_MIN: Final = 7
_OPTIONAL: Final = {
    "INFO": encode("INFO", "replication", "persistence"),
    # With it, a primary that steps down names the next one instead of closing.
    "CLIENT CAPA": encode("CLIENT", "CAPA", "redirect"),
}


class ServerInfo(Struct, frozen=True, kw_only=True):
    """The server at the other end, as the handshake found it.

    `primary` is its replication id, which changes when another server takes over; it is empty when the account may not
    run INFO. `appends` is whether it writes an append-only file, `lacks` names the commands that it refused. The
    connection was there at `connected_s` on the loop's clock. It uses the logical `database`, which its store may share
    with others.
    """

    software: str
    version: str
    role: str
    primary: str
    appends: bool
    lacks: tuple[str, ...] = ()
    connected_s: float = 0.0
    database: int = 0
    shares_database: bool = False


async def shake_hands(
    connection: Connection, name: str, login: LoginNow, database: Database, scripts: Sequence[Script], deadline_s: float
) -> ServerInfo:
    """Prepare a new connection.

    Raise ServerError when the server refuses the login or is a replica, and ConfigurationError when it is too old or
    refuses the database.
    """
    loads = [encode("SCRIPT", "LOAD", script.text) for script in scripts]
    selects = [encode("SELECT", number) for number in database.selection()]
    frames = [login.current.hello(f"tollhouse-{name}"), *selects, *_OPTIONAL.values(), *loads]
    sent = [connection.send(frame, deadline_s) for frame in frames]
    greeting, *rest = await asyncio.gather(*sent, return_exceptions=True)
    selected, (info, redirect, *loaded) = rest[: len(selects)], rest[len(selects) :]
    optional = {"INFO": info, "CLIENT CAPA": redirect, "SCRIPT LOAD": next(filter(is_lacking, loaded), None)}
    server = _server(greeting, info, [command for command, reply in optional.items() if is_lacking(reply)])
    _raise_first(reply for reply in loaded if not is_lacking(reply))
    if server.role != "master":
        raise ServerError(f"READONLY the server is a {server.role}")
    if "SCRIPT LOAD" in server.lacks:
        await _require_eval(connection, deadline_s)
    await database.settle(connection, selected, deadline_s)
    renew_login(connection, login.login, login.current)
    return replace(server, database=database.number, shares_database=bool(database.shared))


def read_info(text: bytes) -> dict[str, str]:
    """Return the fields of a reply of INFO."""
    lines = text.decode(errors="replace").splitlines()
    pairs = (line.partition(":") for line in lines if ":" in line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def _raise_first(replies: Iterable[object]) -> None:
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply


async def _require_eval(connection: Connection, deadline_s: float) -> None:
    """Raise ConfigurationError if scripts can be neither loaded nor sent."""
    try:
        await connection.send(encode("EVAL", "return 1", 0), deadline_s)
    except ServerError as error:
        if is_lacking(error):
            raise ConfigurationError("server", str(error), RIGHTS_REMEDY) from error


def _server(greeting: Any, info: object, lacks: Sequence[str]) -> ServerInfo:
    """Return what the server is; raise ServerError if it refused the login, ConfigurationError if it is too old."""
    if is_lacking(greeting) and "unknown command" in str(greeting):
        raise _too_old("older than Redis 6.0")
    _raise_first([greeting])
    fields = {_text(name): _text(value) for name, value in cast("dict[Any, Any]", greeting).items()}
    state = read_info(info if isinstance(info, bytes) else b"")
    server = ServerInfo(
        software=fields.get("server", "unknown"),
        version=fields.get("version", "unknown"),
        role=fields.get("role", "unknown"),
        primary=state.get("master_replid", ""),
        appends=state.get("aof_enabled") == "1",
        lacks=tuple(lacks),
        connected_s=asyncio.get_running_loop().time(),
    )
    major = server.version.partition(".")[0]
    if server.software == "redis" and major.isdecimal() and int(major) < _REDIS_MAJOR_MIN:
        raise _too_old(f"Redis {server.version}")
    return server


def _too_old(found: str) -> ConfigurationError:
    return ConfigurationError("server", found, "Tollhouse needs Redis 7.0 or Valkey 7.2")


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
