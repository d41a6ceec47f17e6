"""One Tollhouse for each event loop, because a connection belongs to the loop that made it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from tollhouse.wiring import Tollhouse


class PerLoop:
    """Opens a Tollhouse on first use, in an application that may have no lifespan and more than one event loop.

    It is closed by `aclose`, or when its loop ends as `asyncio.run` ends it.
    """

    def __init__(self, make: Callable[[], Tollhouse]) -> None:
        self._make = make
        self._by_loop: dict[asyncio.AbstractEventLoop, tuple[Tollhouse, AsyncGenerator[None, None]]] = {}

    def opened(self) -> Tollhouse | None:
        """Return the Tollhouse of the running loop, or None if it has not been opened yet."""
        life = self._by_loop.get(asyncio.get_running_loop())
        return None if life is None else life[0]

    async def open(self) -> Tollhouse:
        """Return the Tollhouse of the running loop; open it on first use."""
        loop = asyncio.get_running_loop()
        if loop not in self._by_loop:
            self._by_loop = {other: life for other, life in self._by_loop.items() if not other.is_closed()}
            tollhouse = self._make()
            self._by_loop[loop] = (tollhouse, self._close_with_loop(loop, tollhouse))
            await anext(self._by_loop[loop][1])
        return self._by_loop[loop][0]

    async def aclose(self) -> None:
        """Close the Tollhouse of the running loop; a later use opens another."""
        life = self._by_loop.get(asyncio.get_running_loop())
        if life is not None:
            await life[1].aclose()

    async def _close_with_loop(
        self, loop: asyncio.AbstractEventLoop, tollhouse: Tollhouse
    ) -> AsyncGenerator[None, None]:
        """Wait until closed: `asyncio.run` closes the asynchronous generators that its loop has started."""
        try:
            yield
        finally:
            del self._by_loop[loop]
            await tollhouse.aclose()
