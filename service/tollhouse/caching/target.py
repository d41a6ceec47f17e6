"""What `cache=` of a decorator may be, and the cache that a call uses."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from typing import Final

from tollhouse.cache.cache import Cache
from tollhouse.caching.facade import CacheManager
from tollhouse.caching.serializers import StoredAs
from tollhouse.errors import ConfigurationError
from tollhouse.settings import Settings, naming
from tollhouse.sync.caller_thread import refuse_blocking
from tollhouse.sync.loop_thread import PROCESS
from tollhouse.wiring import Tollhouse, settings_for, store_urls
from tollhouse.wiring.current import served_request
from tollhouse.wiring.per_loop import PerLoop, default_tollhouse, shared_per_loop

CacheTarget = CacheManager | Cache | Tollhouse | Settings | str
"""An open cache, or one to open in each event loop."""

_OPEN: Final = "give its URL: a cache that is open belongs to its event loop, and this function has none"


class CacheSource:
    """The cache of a decorator: an open one, which stays its owner's to close, or one that opens on first use.

    Without any it is that of the request that our middleware or plugin serves, else that of the settings.
    """

    def __init__(self, target: CacheTarget | None, place: str) -> None:
        self._place = place
        self.stored_as = target.stored_as if isinstance(target, CacheManager) else StoredAs()
        """How the values of functions are stored."""
        target = target.cache if isinstance(target, CacheManager) else target
        self._open = target if isinstance(target, Cache | Tollhouse) else None
        self._per_loop: PerLoop | None = None
        if isinstance(target, Settings | str):
            with naming({"url": "cache"} if isinstance(target, str) else {}):
                settings = settings_for(target)
                store_urls(settings)
                self._per_loop = shared_per_loop(settings)
        elif target is not None and self._open is None:
            remedy = "give a CacheManager, a Cache, a Tollhouse, settings or a URL"
            raise ConfigurationError("cache", type(target).__name__, remedy)

    async def cache(self) -> Cache:
        """Return the cache for a call in the running event loop; open it on first use."""
        if self._open is not None:
            return self._open.cache if isinstance(self._open, Tollhouse) else self._open
        if self._per_loop is not None:
            return (await self._per_loop.open()).cache
        request = served_request()
        served = None if request is None else await request.source.tollhouse()
        return (served or await default_tollhouse()).cache

    def loop_for_thread(self) -> AbstractEventLoop:
        """Return the event loop for a function that is not async; raise ConfigurationError if it cannot wait here."""
        refuse_blocking("cache", self._place)
        request = served_request()
        if request is not None:
            return request.loop
        if self._open is not None:
            raise ConfigurationError("cache", self._place, _OPEN)
        return PROCESS.loop
