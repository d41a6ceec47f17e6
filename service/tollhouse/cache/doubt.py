"""Doubt: after an invalidation that could not be sent, the cache is cleared before this process reads it again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from tollhouse.errors import StoreError, StoreUnavailable
from tollhouse.logs import Log
from tollhouse.runtime.background import BackgroundTasks

T = TypeVar("T")

_log: Final = Log("tollhouse.cache")


class Doubt:
    """Whether entries may be older than an invalidation of this process; `clear` hides all that were stored before."""

    def __init__(self, clear: Callable[[], Awaitable[None]]) -> None:
        self._clear = clear
        self._causes = 0
        self._clearing: asyncio.Task[bool] | None = None
        self._background = BackgroundTasks()

    @property
    def is_open(self) -> bool:
        """Whether the cache is to be cleared before it is read."""
        return self._causes > 0

    def add(self, cause: StoreError | None = None) -> None:
        """Note that an invalidation could not be sent; the first of an outage is logged."""
        if not self._causes:
            reason = "the application distrusts the cache" if cause is None else str(cause)
            _log.warning("cache not invalidated", extra={"reason": reason})
        self._causes += 1

    async def make_up_for(self, invalidation: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of an invalidation; note it and return None if it could not be sent.

        It goes on if the caller is cancelled.
        """
        return await asyncio.shield(self._background.start(self._noted(invalidation), "tollhouse-cache-invalidation"))

    async def settle(self) -> None:
        """Clear the cache, once for all concurrent callers; raises StoreUnavailable if that could not be sent."""
        while self._causes:
            if self._clearing is None or self._clearing.done():
                self._clearing = self._background.start(self._attempt(), "tollhouse-cache-doubt")
            clearing = self._clearing
            await asyncio.wait({clearing})
            if not clearing.result():
                raise StoreUnavailable("cache", "not-sent", "an earlier invalidation could not be sent")

    async def is_settled(self) -> bool:
        """Return False if the cache is still to be cleared, because the store did not answer."""
        try:
            await self.settle()
        except StoreError:
            return False
        return True

    async def aclose(self) -> None:
        """Wait for the invalidations in progress; the store bounds each."""
        await self._background.aclose()

    async def _noted(self, invalidation: Coroutine[Any, Any, T]) -> T | None:
        try:
            return await invalidation
        except StoreError as error:
            self.add(error)
            return None

    async def _attempt(self) -> bool:
        causes = self._causes
        try:
            await self._clear()
        except StoreError:
            return False
        if self._causes == causes:
            self._causes = 0
        return True
