"""Warming from a list of keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Final, TypeVar, cast

from tollhouse.cache.commands import CacheStore
from tollhouse.cache.reading.query import Query
from tollhouse.cache.reading.read_many import LoadMany, ManyOutcome
from tollhouse.cache.reading.reads import Reads, Tags, Without
from tollhouse.cache.ttl import JITTER_DEFAULT
from tollhouse.cache.warming.bounded import Positions, in_portions, warm_items
from tollhouse.cache.warming.report import WarmReport
from tollhouse.errors import InvalidInput, StoreUnavailable, brief, require_type

T = TypeVar("T")

PORTION: Final = 100
"""How many keys are loaded by one call."""
LOOK_UPS_MAX: Final = 400
"""How many keys are looked up at the same time: of many more the store's answers would come too late."""
_ANY_KEY: Final = "warm:list"


class KeyList:
    """Loads what is not stored of a list of keys; `without` says why nothing can be stored, None if it can."""

    def __init__(self, reads: Reads, store: CacheStore, without: Callable[[], Awaitable[Without | None]]) -> None:
        self._reads = reads
        self._store = store
        self._without = without

    async def warm(
        self,
        keys: Iterable[str] | AsyncIterable[str],
        load_many: Callable[[list[str]], Awaitable[Mapping[str, T]]],
        *,
        ttl_s: int | None = None,
        none_ttl_s: int | None = None,
        jitter: float = JITTER_DEFAULT,
        tags: Tags[T] = (),
        type: type[T] | None = None,  # noqa: A002 - as in msgspec
        at_once: int = 4,
    ) -> WarmReport:
        """Load and store the values of keys that are not stored; return how many were there, loaded and failed.

        `load_many` and the other arguments are those of `get_many`. It gets a hundred keys at a time, and at most
        `at_once` calls of it run at the same time. What another caller or process loads is not loaded again. An error
        of one call is that of its keys, and the others go on. While the store is down nothing is loaded.
        """
        if isinstance(keys, str | bytes):
            raise InvalidInput("keys", keys.__class__.__name__, "give a list of keys")
        require_type("load_many", load_many, Callable, "give an async function that returns a mapping")
        load = cast("Callable[[], Awaitable[Any]]", load_many)
        template = self._reads.query(
            _ANY_KEY, load, ttl_s=ttl_s, none_ttl_s=none_ttl_s, jitter=jitter, tags=tags, family=None, type=type
        )

        places = asyncio.Semaphore(LOOK_UPS_MAX // PORTION)

        async def warm(portion: list[tuple[int, str]]) -> Positions:
            if not self._store.is_available or await self._without() is not None:
                return [(position, not_stored()) for position, _ in portion]
            try:
                unique = {key: position for position, key in reversed(portion)}
            except TypeError as error:
                raise InvalidInput("keys", "no text", f"give a list of texts ({brief(error)})") from error
            outcomes = await self._read(template, list(unique), load_many, places)
            return [(unique[key], outcome) for key, outcome in outcomes.items()]

        return await warm_items(in_portions(keys, PORTION), warm, at_once)

    async def _read(
        self, template: Query, keys: list[str], load_many: LoadMany, places: asyncio.Semaphore
    ) -> dict[str, ManyOutcome]:
        """Read keys in a place, and leave it when the first load begins: the store has answered for all by then."""
        await places.acquire()
        with ExitStack() as place:
            place.callback(places.release)

            def load(missing: list[str]) -> Awaitable[Mapping[str, Any]]:
                place.close()
                return load_many(missing)

            return await self._reads.each(template, keys, load, None)


def not_stored() -> StoreUnavailable:
    """Return the error of an item that is not loaded, because it could not be stored."""
    return StoreUnavailable("cache", "not-sent", "the cache is off, or its store is down: nothing was loaded")
