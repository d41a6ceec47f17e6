"""The commands that a store can do without, and what is lost without each.

An account may lack them, and a provider may have renamed or removed them. A store works all the same; the log says once
what is lost, and `tollhouse check` says it too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from tollhouse.keys import Namespace
from tollhouse.logs import Log
from tollhouse.stores.reconnecting import ConnectionConfig
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.errors import ServerError, is_lacking

COSTS: Final = {
    "INFO": "cached values are served only by the process that stored them, until it reconnects, or for 15 s behind "
    "Sentinel; revocations are replayed on every new connection; without Sentinel no write is durable",
    "ROLE": "replicas are not followed to their primary, a demoted server is read until it is written to, and behind "
    "Sentinel a write is durable only while every replica that exists acknowledges it",
    "SELECT": "stores cannot have a database each",
    "SCRIPT LOAD": "a script that the server has forgotten is sent with its next call",
    "EVALSHA": "the text of a script is sent with each call",
    "EVAL": "after SCRIPT FLUSH calls fail until the store connects again",
    "SCAN": "delete_pattern is refused, and the entries of a cache are not counted",
    "REPLCONF": "a handover to another primary takes half a second longer",
    "CLIENT CAPA": "a primary that steps down closes its connections instead of naming the next one",
    "CONFIG GET": "how the append-only file is synced is found out by a wait of 50 ms, once a minute",
    "WAIT": "writes report durable=false behind Sentinel; with max_unreplicated_ms no call is sent",
    "WAITAOF": "writes report durable=false without Sentinel",
    "SUBSCRIBE": "what other processes announce is not heard: revocations before a failover, units that are free again",
    "PUBLISH": "other processes do not hear of revocations before a failover, nor of units that are free again",
}
"""What is lost without a command."""

_DURABLE: Final = frozenset({"sessions", "accounts"})
_ANNOUNCING: Final = frozenset({"sessions", "limits"})
_USERS: Final = {
    "CONFIG GET": _DURABLE,
    "WAIT": _DURABLE,
    "WAITAOF": _DURABLE,
    "SUBSCRIBE": _ANNOUNCING,
    "PUBLISH": _ANNOUNCING,
    "SCAN": frozenset({"cache"}),
    "REPLCONF": frozenset({"sessions"}),
}
"""The stores that use a command; all of them use those that are missing here. One REPLCONF serves all of a process."""

_REPLICATED: Final = frozenset({"REPLCONF", "WAIT"})
_ALONE: Final = frozenset({"CONFIG GET", "WAITAOF"})

_log = Log("tollhouse.stores")


class MissingCommand(Struct, frozen=True, kw_only=True):
    """A command that the account may not run, or that the server does not have, and what is lost without it."""

    command: str
    cost: str


class RightsLog:
    """Logs each command that a store lacks once in the life of the store, and none before `release`."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._logged: set[str] = set()
        self._held: list[str] | None = []

    def log(self, commands: Iterable[str]) -> None:
        """Log those of the commands that were not logged yet."""
        for command in commands:
            if command in self._logged:
                continue
            self._logged.add(command)
            if self._held is None:
                self._write(command)
            else:
                self._held.append(command)

    def log_refusal(self, error: Exception) -> None:
        """Log the command that a server refused with this error, if it is for want of a right."""
        if is_lacking(error):
            words = str(error).lower()
            self.log(command for command in COSTS if f"'{command.lower()}'" in words)

    def release(self) -> None:
        """Log what was held back, and from now on at once."""
        held, self._held = self._held or (), None
        for command in held:
            self._write(command)

    def _write(self, command: str) -> None:
        fields = {"store": self._store, "command": command, "cost": COSTS[command]}
        _log.warning("a command is not available to the account", extra=fields)


async def missing_commands(config: ConnectionConfig, store: str, namespace: Namespace) -> tuple[MissingCommand, ...]:
    """Return what the account of a store lacks: each command runs once, over a connection of its own.

    It changes no data. Raise one of DIAL_FAILED.
    """
    channel = namespace.session_revocations if store == "sessions" else namespace.rate_clearings
    login = await config.locator.login().current()
    deadline_s = asyncio.get_running_loop().time() + config.timing.connect_s
    async with asyncio.timeout_at(deadline_s):
        connection, _ = await config.dialer.dial(await config.locator.locate(), on_lost=lambda: None)
        try:
            await connection.send(login.hello(f"tollhouse-{store}-check"), deadline_s)
            missing = [
                MissingCommand(command=command, cost=COSTS[command])
                for command, frame in _frames(channel, config.database.number).items()
                if _uses(store, command, replicated=config.locator.health() is not None)
                and not await _may_run(connection, frame, deadline_s)
            ]
        finally:
            await connection.aclose()
    return tuple(missing)


def _uses(store: str, command: str, *, replicated: bool) -> bool:
    """Return True if a store uses the command: some serve only those with replicas, some only those without."""
    return store in _USERS.get(command, (store,)) and command not in (_ALONE if replicated else _REPLICATED)


def _frames(channel: str, database: int) -> dict[str, bytes]:
    return {
        # The first one, because an account may have its rights in one database only.
        "SELECT": encode("SELECT", database),
        "INFO": encode("INFO", "replication", "persistence"),
        "ROLE": encode("ROLE"),
        "SCRIPT LOAD": encode("SCRIPT", "LOAD", "return 1"),
        "EVALSHA": encode("EVALSHA", "0" * 40, 0),
        "EVAL": encode("EVAL", "return 1", 0),
        "SCAN": encode("SCAN", 0, "COUNT", 1),
        "REPLCONF": encode("REPLCONF"),
        "CLIENT CAPA": encode("CLIENT", "CAPA", "redirect"),
        "CONFIG GET": encode("CONFIG", "GET", "appendfsync"),
        "WAIT": encode("WAIT", 0, 1),
        "WAITAOF": encode("WAITAOF", 0, 0, 1),
        "PUBLISH": encode("PUBLISH", f"{channel}:check", ""),
        # The last one, because in RESP3 its reply is a push: if it is refused, that of PING has no call.
        "SUBSCRIBE": encode("SUBSCRIBE", channel) + encode("PING"),
    }


async def _may_run(connection: Connection, frame: bytes, deadline_s: float) -> bool:
    try:
        await connection.send(frame, deadline_s)
    except ServerError as error:
        return not is_lacking(error)
    return True
