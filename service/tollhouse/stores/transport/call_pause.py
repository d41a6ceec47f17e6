"""The pause of calls while the primary is replaced: sent to the old one, they would be lost or cut off."""

from __future__ import annotations

import asyncio

from tollhouse.stores.transport.errors import Unreachable


class CallPause:
    """The pause of one connection; calls await its end, for a time that is bounded twice."""

    def __init__(self, wait_max_s: float) -> None:
        self._wait_max_s = wait_max_s
        self.event: asyncio.Event | None = None
        """Set at the end of the pause; None while calls need not wait. Every call looks here."""

    def begin(self, length_s: float) -> None:
        """Pause calls for `length_s`; 0 ends the pause, and one under way is not extended."""
        if not length_s:
            self.end()
        elif self.event is None:
            self.event = event = asyncio.Event()
            asyncio.get_running_loop().call_later(length_s, self._end, event)

    def end(self) -> None:
        """End the pause: the calls go on."""
        if self.event is not None:
            self._end(self.event)

    async def wait(self, deadline_s: float) -> None:
        """Return at the end of the pause; raise Unreachable when it lasts longer than calls wait."""
        if self.event is None:
            return
        give_up_s = asyncio.get_running_loop().time() + self._wait_max_s
        try:
            async with asyncio.timeout_at(min(deadline_s, give_up_s)):
                await self.event.wait()
        except TimeoutError:
            raise Unreachable("the primary is being replaced") from None

    def _end(self, event: asyncio.Event) -> None:
        event.set()
        if self.event is event:
            self.event = None
