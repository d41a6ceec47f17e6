"""Confirmation of writes: by every replica that could become the primary, or by the server's own file.

Calls that meet share one confirmation (group commit): after all of their scripts were answered, one marker is
written and one `WAIT` sent, on the same connection. Without the marker a script that found nothing left to do
would be confirmed falsely: `WAIT` only counts what its own connection wrote, and what such a script relies on
was written by another. While one confirmation is under way, the next one gathers.
"""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import Struct

from tollhouse.stores.transport.connection import Lane, encode
from tollhouse.stores.transport.errors import CALL_FAILED

WAIT_MS: Final = 50
"""How long replicas, or the file, may take to confirm."""
_MARKER_MS: Final = 60_000


class Wanted(Struct, frozen=True, kw_only=True):
    """Who has to confirm: so many replicas, or else the server's own file; nobody can where both are missing."""

    replicas: int
    file: bool

    @property
    def possible(self) -> bool:
        """Tell whether anybody could confirm."""
        return self.replicas > 0 or self.file


class Confirmations:
    """Gathers the writes of one connection, and has them confirmed together."""

    def __init__(self, lane: Lane, marker: str) -> None:
        self.lane = lane
        self._marker = marker
        self._gathering: asyncio.Task[bool] | None = None
        self._asked: asyncio.Task[bool] | None = None

    async def confirm(self, wanted: Wanted, deadline_s: float) -> bool:
        """Tell whether what the lane has answered until now is confirmed; False where that cannot be known.

        A caller that is cancelled leaves the confirmation to the others.
        """
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().create_task(
                self._ask(self._asked, wanted, deadline_s), name="tollhouse-confirm"
            )
        shared = self._gathering
        await asyncio.wait({shared})
        # Only `aclose` cancels it; whoever waits for it then was not cancelled, and is told that nobody knows.
        return not shared.cancelled() and shared.result()

    async def aclose(self) -> None:
        """Leave nothing under way."""
        for task in (self._gathering, self._asked):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    async def _ask(self, before: asyncio.Task[bool] | None, wanted: Wanted, deadline_s: float) -> bool:
        if before is not None:
            await asyncio.wait({before})
        # Whoever comes from here on may have written behind the marker, and belongs to the next one.
        self._asked, self._gathering = self._gathering, None
        try:
            marked = self.lane.send(encode("SET", self._marker, "1", "PX", _MARKER_MS), deadline_s)
            counted = self.lane.send(_wait(wanted), deadline_s)
            await asyncio.gather(marked, counted)
        except CALL_FAILED:
            return False
        confirmed = counted.result()
        return confirmed >= wanted.replicas if wanted.replicas else confirmed[0] >= 1


def _wait(wanted: Wanted) -> bytes:
    if wanted.replicas:
        return encode("WAIT", wanted.replicas, WAIT_MS)
    return encode("WAITAOF", 1, 0, WAIT_MS)
