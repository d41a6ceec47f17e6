"""Group commit: calls that meet share one confirmation of what they wrote.

When all of their scripts were answered, one marker is written and confirmed, on the same connection. Without the marker
a script that found nothing left to do would be confirmed falsely: `WAIT` counts only what its own connection wrote, and
what such a script relies on was written over another. While one confirmation is under way, the next one gathers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Protocol

from tollhouse.stores.arguments import marker_write
from tollhouse.stores.transport.connection import Connection
from tollhouse.stores.transport.errors import CALL_FAILED


class Confirmation(Protocol):
    """Confirms what one connection has written until now."""

    connection: Connection

    @property
    def hopeless(self) -> bool:
        """Return whether asking is of no use at present."""
        ...

    async def ask(self, marker: bytes, deadline_s: float) -> bool:
        """Write the marker; return whether all is confirmed up to it. Raise one of CALL_FAILED when that is unknown."""
        ...


class GroupCommit:
    """Shares the confirmations of one connection; `on_failure` gets the error of each one that failed."""

    def __init__(
        self, confirmation: Confirmation, marker: str, on_failure: Callable[[Exception], None] = lambda _: None
    ) -> None:
        self._on_failure = on_failure
        self.connection = confirmation.connection
        self._marker = marker_write(marker)
        self._confirmation = confirmation
        self._gathering: asyncio.Task[bool] | None = None
        self._under_way: asyncio.Task[bool] | None = None
        self._until_s = 0.0

    async def confirm(self, deadline_s: float) -> bool:
        """Return whether all that the connection has answered until now is confirmed; False when that is unknown.

        A cancelled caller leaves the confirmation to the others, and so does one whose deadline passes: calls that meet
        have different ones, and the confirmation has the latest of them.
        """
        if self._confirmation.hopeless:
            return False
        loop = asyncio.get_running_loop()
        if self._gathering is None:
            self._until_s = 0.0
            self._gathering = loop.create_task(
                self._confirm(self._under_way), name="tollhouse-confirm", context=Context()
            )
        self._until_s = max(self._until_s, deadline_s)
        shared = self._gathering
        await asyncio.wait({shared}, timeout=max(deadline_s - loop.time(), 0))
        # Only `aclose` cancels the shared task; its waiters were not cancelled themselves, and learn: not confirmed.
        return shared.done() and not shared.cancelled() and shared.result()

    async def aclose(self) -> None:
        """Cancel what is under way."""
        for task in (self._gathering, self._under_way):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    async def _confirm(self, previous: asyncio.Task[bool] | None) -> bool:
        if previous is not None:
            await asyncio.wait({previous})
        # A call that comes from here on may have written after the marker, and joins the next confirmation.
        self._under_way, self._gathering = self._gathering, None
        try:
            confirmed = await self._confirmation.ask(self._marker, self._until_s)
        except CALL_FAILED as error:
            self._on_failure(error)
            return False
        # Another primary may have been named since the server answered: what counts now is whether that one has it.
        return confirmed and self.connection.alive
