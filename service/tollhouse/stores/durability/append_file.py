"""Confirmation by the server's append-only file: a write is durable once the file was synced.

With `appendfsync always` that is before the server replies, and WAITAOF says so at once. With any other policy the file
is synced once a second or by the operating system; no call waits for that, and the answer is an honest no. An account
that may not read the policy asks, and after a no for the next time a minute later.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.errors import ServerError

WAIT_MS: Final = 50
"""Time for the file to be synced."""
AGAIN_S: Final = 60.0
"""How long the answer is no after the file was not synced in time, while its policy is unknown."""


class FileConfirmation:
    """Confirms what one connection wrote to a server with an append-only file."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._policy: str | None = None
        self._again_s = 0.0

    @property
    def hopeless(self) -> bool:
        """Return whether the file is known to be synced later than calls are answered."""
        if self._policy:
            return self._policy != "always"
        return asyncio.get_running_loop().time() < self._again_s

    async def ask(self, marker: bytes, deadline_s: float) -> bool:
        """Return whether the file has all that the connection wrote."""
        if self._policy is None:
            self._policy = await self._read_policy(deadline_s)
            if self.hopeless:
                return False
        written = self.connection.send(marker, deadline_s)
        synced = self.connection.send(encode("WAITAOF", 1, 0, WAIT_MS), deadline_s)
        _, (local, _) = await asyncio.gather(written, synced)
        if not local:
            self._again_s = asyncio.get_running_loop().time() + AGAIN_S
        return local >= 1

    async def _read_policy(self, deadline_s: float) -> str:
        """Return when the file is synced; empty if the account may not read that."""
        try:
            reply = await self.connection.send(encode("CONFIG", "GET", "appendfsync"), deadline_s)
        except ServerError:
            return ""
        return _value(reply)


def _value(reply: Any) -> str:
    """Read the only value of a map."""
    match reply:
        case {b"appendfsync": bytes(policy)}:
            return policy.decode(errors="replace")
        case _:
            return ""
