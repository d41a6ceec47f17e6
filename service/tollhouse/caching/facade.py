"""CacheManager: get, set and delete as hand-written caches have them, made safe.

While the store is down a `get` misses and a `set` is False; nothing raises but bad input. An invalidation that could
not be sent is False as well, and the cache is cleared before this process reads it again. One whose caller is cancelled
goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from tollhouse.cache.cache import Cache
from tollhouse.cache.codec import CodecName
from tollhouse.cache.ttl import lifetime_ms
from tollhouse.caching.serializers import Serializer, Serializers, StoredAs
from tollhouse.errors import ConfigurationError, InvalidInput, StoreError
from tollhouse.settings import Settings
from tollhouse.wiring import Tollhouse, settings_for


class CacheManager:
    """Values by key, on a Tollhouse, a Cache, settings or a URL; without any, on those of `load_settings`.

    `prefix` and `ttl` (seconds, 1 to 30 days) are those of the settings unless given. Values are stored as JSON, which
    can be read on the server, or with `codec="msgpack"`, which is smaller. JSON has no bytes, no keys of dicts but text
    and no infinity: without a `type`, bytes come back as base64, keys as text, NaN as None. `serializers` has a pair of
    functions for each class that msgspec does not know: one returns plain values, the other makes the object of them.

    While the store is down `get` misses, `set` and `delete` are False, and counts are 0. An invalidation that could not
    be sent is logged, and this process clears the cache before it reads it again. Only a mistake raises: InvalidInput
    for an argument, ConfigurationError for an option, after `aclose`, and in another event loop than before.

    `aclose` closes what the manager has opened: nothing of a Tollhouse or Cache that it was given.
    """

    def __init__(
        self,
        target: Tollhouse | Cache | Settings | str | None = None,
        *,
        prefix: str | None = None,
        ttl: int | None = None,
        codec: CodecName = "json",
        serializers: Mapping[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] | None = None,
    ) -> None:
        if codec not in ("json", "msgpack"):
            raise ConfigurationError("codec", codec, "give 'json' or 'msgpack'")
        pairs = (serializers or {}).items()
        self.stored_as = StoredAs(
            ttl_s=None if ttl is None else _seconds(ttl),
            codec=codec,
            serializers=Serializers({kind: Serializer(encode=pair[0], decode=pair[1]) for kind, pair in pairs}),
        )
        """How values are stored, those of functions with `cache=` this manager too."""
        self._opened: Tollhouse | None = None
        self.cache = self._cache_of(target, prefix)
        """The cache below: read through it with `get_or_load`."""

    async def get(self, key: str, default: Any = None, *, type: Any = None) -> Any:  # noqa: A002 - as in msgspec
        """Return the value of a key, as `type` if it is given; `default` if there is none or the store is down.

        A `set` of the key that follows in this task is refused if the key or one of its tags was invalidated since.
        """
        missing = object()
        try:
            found = await self.cache.get(key, missing, type=type)
        except StoreError:
            return default
        return default if found is missing else self.stored_as.serializers.unpack(found, default)

    async def set(self, key: str, value: Any, ttl: int | None = None, *, tags: Iterable[str] = ()) -> bool:
        """Store a value; return False if it was refused as outdated, is above the bound, or the store is down."""
        ttl_s = self.stored_as.ttl_s if ttl is None else _seconds(ttl)
        packed = self.stored_as.serializers.pack(value)
        try:
            return await self.cache.set(key, packed, ttl_s=ttl_s, tags=tags, codec=self.stored_as.codec)
        except StoreError:
            return False

    async def delete(self, key: str) -> bool:
        """Remove a value, and refuse what is being loaded for it; return whether there was one."""
        return bool(await self.cache.make_up_for(self.cache.invalidate(key)))

    async def invalidate_tags(self, *tags: str) -> bool:
        """Remove every value that has one of the tags; return False if the store is down."""
        return await self.cache.make_up_for(self.cache.invalidate_tags(*tags)) is not None

    async def delete_pattern(self, pattern: str) -> int:
        """Remove the values whose keys match a pattern such as `model:metrics:*`; return how many there were.

        A pattern has whole words, and `*` for a word, at the end for one or more.
        """
        return await self.cache.make_up_for(self.cache.delete_pattern(pattern)) or 0

    async def clear_all(self) -> int:
        """Remove every value of this cache, at once for readers; return how many there were."""
        return await self.cache.make_up_for(self.cache.clear_all()) or 0

    invalidate = delete
    invalidate_pattern = delete_pattern

    async def get_stats(self) -> dict[str, Any]:
        """Return the state of the cache in the shape that dashboards read; `hit_rate` is text such as "88.9%"."""
        found = msgspec.to_builtins(await self.cache.stats())
        stats, detail = found["stats"], found["detail"]
        lookups = stats["hits"] + stats["misses"]
        detail["hit_rate"] = stats["hit_rate"]
        stats["hit_rate"] = f"{100 * stats['hits'] / lookups if lookups else 0:.1f}%"
        return found

    def is_available(self) -> bool:
        """Return False if the cache is disabled, or its store was down at the last call; nothing is sent."""
        return self.cache.is_available

    async def aclose(self) -> None:
        """Close what this manager has opened."""
        if self._opened is not None:
            await self._opened.aclose()

    def _cache_of(self, target: Tollhouse | Cache | Settings | str | None, prefix: str | None) -> Cache:
        if isinstance(target, Cache):
            if prefix is not None:
                raise ConfigurationError("prefix", prefix, "a Cache has one; give a Tollhouse, settings or a URL")
            return target
        if isinstance(target, Tollhouse):
            return target.cache if prefix is None else target.cache_with(prefix)
        if not isinstance(cast("object", target), Settings | str | None):
            raise ConfigurationError("target", target, "give a Tollhouse, a Cache, settings or a URL")
        settings = settings_for(target)
        if prefix is not None:
            settings = replace(settings, cache=replace(settings.cache, key_prefix=prefix))
        self._opened = Tollhouse(settings)
        return self._opened.cache


CacheService = CacheManager
"""The same class under its other name."""


def _seconds(ttl: int) -> int:
    try:
        return lifetime_ms(ttl) // 1000
    except InvalidInput as error:
        raise InvalidInput("ttl", error.value, error.remedy) from error
