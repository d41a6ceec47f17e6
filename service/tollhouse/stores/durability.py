"""Durability: writes confirmed by every replica that could become the primary, or by the server's append-only file.

Calls that meet share one confirmation (group commit): when all of their scripts were answered, one marker is written
and one `WAIT` sent, on the same connection. Without the marker a script that found nothing left to do would be
confirmed falsely: `WAIT` counts only what its own connection wrote, and what such a script relies on was written over
another. While one confirmation is under way, the next one gathers.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Final

from tollhouse.stores.discovery.locator import ServiceHealth
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.errors import CALL_FAILED
from tollhouse.stores.transport.handshake import ServerInfo

WAIT_MS: Final = 50
"""Time for the replicas, or the file, to confirm."""
_MARKER_MS: Final = 60_000


class GroupCommit:
    """Confirms the writes of one connection together."""

    def __init__(self, connection: Connection, marker: str) -> None:
        self.connection = connection
        self._marker = marker
        self._gathering: asyncio.Task[bool] | None = None
        self._under_way: asyncio.Task[bool] | None = None

    async def confirm(self, replicas: int, deadline_s: float) -> bool:
        """Return whether all that the connection has answered until now is confirmed; False when that is unknown.

        So many replicas have to confirm it; with 0, the server's append-only file has to. A cancelled caller leaves the
        confirmation to the others.
        """
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().create_task(
                self._confirm(self._under_way, replicas, deadline_s), name="tollhouse-confirm", context=Context()
            )
        shared = self._gathering
        await asyncio.wait({shared})
        # Only `aclose` cancels the shared task; its waiters were not cancelled themselves, and learn: not confirmed.
        return not shared.cancelled() and shared.result()

    async def aclose(self) -> None:
        """Cancel what is under way."""
        for task in (self._gathering, self._under_way):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    async def _confirm(self, previous: asyncio.Task[bool] | None, replicas: int, deadline_s: float) -> bool:
        if previous is not None:
            await asyncio.wait({previous})
        # A call that comes from here on may have written after the marker, and joins the next confirmation.
        self._under_way, self._gathering = self._gathering, None
        wait = encode("WAIT", replicas, WAIT_MS) if replicas else encode("WAITAOF", 1, 0, WAIT_MS)
        try:
            marker = self.connection.send(encode("SET", self._marker, "1", "PX", _MARKER_MS), deadline_s)
            acknowledged = self.connection.send(wait, deadline_s)
            await asyncio.gather(marker, acknowledged)
        except CALL_FAILED:
            return False
        confirmed = acknowledged.result()
        return confirmed >= replicas if replicas else confirmed[0] >= 1


def required_replicas(health: ServiceHealth | None, server: ServerInfo | None) -> int | None:
    """Return how many replicas have to confirm a write; 0 for the server's append-only file, None for neither."""
    if health is not None:
        # Without a promotable replica WAIT cannot reach 1, and the answer is an honest False.
        return max(health.promotable, 1)
    return 0 if server is not None and server.appends else None
