"""Role checks: a server that calls only read from is asked once a second whether it is the primary still.

A demoted server refuses to write, and by that it is found out. But what only reads it runs, also a script, from data
that are the former primary's own until it has followed the new one. When Sentinel demotes a server, it closes its
connections; an operator's REPLICAOF leaves them open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.errors import ConnectionFull, ServerError
from tollhouse.stores.transport.redial import ConnectionTiming

_ROLE: Final = encode("ROLE")


class RoleCheck:
    """The checks of one connection at a time; `on_demoted` gets the error that a write would have had."""

    def __init__(self, on_demoted: Callable[[Connection, Exception], None], timing: ConnectionTiming) -> None:
        self._on_demoted = on_demoted
        self._timing = timing
        self._due_s = 0.0

    def restart(self) -> None:
        """Begin to count the time: the handshake of a connection has just shown that it leads to a primary."""
        self._due_s = asyncio.get_running_loop().time() + self._timing.role_check_s

    def run(self, connection: Connection) -> None:
        """Send a check if one is due; no caller waits for it."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._due_s:
            return
        self._due_s = now_s + self._timing.role_check_s
        with suppress(ConnectionFull):
            connection.send(_ROLE, now_s + self._timing.connect_s).add_done_callback(partial(self._on_role, connection))

    def _on_role(self, connection: Connection, role: asyncio.Future[Any]) -> None:
        """Draw the conclusion from a reply; a lost connection and an account that may not ask say nothing."""
        if role.exception() is None and role.result()[0] != b"master":
            self._on_demoted(connection, ServerError("READONLY the server is a replica now"))
