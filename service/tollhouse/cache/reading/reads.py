"""The reads of a cache: queries from the arguments of callers, and results that are counted and logged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from types import UnionType
from typing import Any, Final, Literal, TypeVar

from msgspec.structs import replace

from tollhouse.cache.codec import CodecName, decoder, require_codec
from tollhouse.cache.key_names import KeyNames, checked_tags
from tollhouse.cache.management.families import FamilyCounters
from tollhouse.cache.reading.query import EntryTags, Query
from tollhouse.cache.reading.read_many import Batches, LoadMany, ManyOutcome, read_each, read_many
from tollhouse.cache.reading.read_through import Reader
from tollhouse.cache.reading.result import CacheResult
from tollhouse.cache.ttl import jitter_share, lifetime_ms, none_lifetime_ms
from tollhouse.errors import InvalidInput, LoadFailed, brief, require_type

T = TypeVar("T")

Tags = Iterable[str] | Callable[[T], Iterable[str]]
"""Tags of a value, or a function of the value that returns them."""

ValueType = type[T] | UnionType
"""The type of a value; a union, such as `User | None`, too."""

Without = Literal["DISABLED", "BYPASS", "DOUBT"]
"""Why a read goes on without the store: the cache is off · the caller bypasses it · the store may have what is old."""

_UNREAD: Final = LoadFailed("the read failed")


class Reads:
    """Answers reads, by whatever key names and lifetimes the cache has."""

    def __init__(self, key_names: KeyNames, reader: Reader, counters: FamilyCounters, ttl_ms: int) -> None:
        self._key_names = key_names
        self._reader = reader
        self._counters = counters
        self._ttl_ms = ttl_ms
        self.watched: dict[str, Callable[[Query, CacheResult[Any]], None]] = {}
        """What is told of each result of a family."""

    def query(
        self,
        key: str,
        load: Callable[[], Awaitable[Any]],
        ttl_s: int | None,
        none_ttl_s: int | None,
        jitter: float,
        tags: Tags[Any],
        *,
        family: str | None,
        type: Any,  # noqa: A002 - as in msgspec
        codec: CodecName | None = None,
    ) -> Query:
        """Return the query for these arguments; raises InvalidInput for a wrong one, before anything is loaded."""
        if not callable(load):
            remedy = "give the function itself, such as load or lambda: load(7): it is called if the value is missing"
            require_type("load", load, Callable, remedy)
        require_type("family", family, str | None, "give text")
        entry, *others = self._key_names.entries(key)
        return Query(
            entry=entry,
            others=tuple(each.names for each in others),
            family=family or entry.family,
            load=load,
            tags_of=self._entry_tags(tags),
            ttl_ms=self._ttl_ms if ttl_s is None else lifetime_ms(ttl_s),
            none_ttl_ms=none_lifetime_ms(none_ttl_s),
            jitter=jitter_share(jitter),
            type=decodable(type),
            codec=require_codec(codec),
        )

    async def one(self, query: Query, without: Without | None, *, fresh: bool) -> CacheResult[Any]:
        """Return the value and its source."""
        result: CacheResult[Any] | None = None
        try:
            result = await self._result(query, without, fresh=fresh)
            return result
        finally:
            self._count(query, _UNREAD if result is None else result)

    async def many(
        self, template: Query, keys: list[str], load_many: LoadMany, without: Without | None
    ) -> dict[str, Any]:
        """Return the values of these keys, read as `template` says; those that `load_many` has not are left out."""
        batches = Batches(load_many, keys, template.family)
        queries = self._queries(template, keys, batches)
        results: Mapping[str, CacheResult[Any] | None] = {}
        try:
            results = await read_many(partial(self._read_or_load, without), queries, batches)
        finally:
            self._count_many(queries, results)
        return {key: result.value for key, result in results.items() if result is not None}

    async def each(
        self, template: Query, keys: list[str], load_many: LoadMany, without: Without | None
    ) -> dict[str, ManyOutcome]:
        """Return the outcome of each of these keys, read as `template` says; an error is that of its key alone."""
        wrong = {key: error for key in keys if (error := self._error_of(key)) is not None}
        right = [key for key in keys if key not in wrong]
        batches = Batches(load_many, right, template.family)
        queries = self._queries(template, right, batches)
        outcomes = await read_each(partial(self._read_or_load, without), queries, batches)
        self._count_many(queries, outcomes)
        return {**outcomes, **wrong}

    def _queries(self, template: Query, keys: Iterable[str], batches: Batches) -> dict[str, Query]:
        entries = {key: self._key_names.entries(key)[0] for key in keys}
        return {
            key: replace(
                template,
                entry=entry,
                others=(),
                family=entry.family,
                load=partial(batches.load, key),
                asking=batches.asking,
            )
            for key, entry in entries.items()
        }

    def _error_of(self, key: str) -> InvalidInput | None:
        """Return why a key cannot be used; None if it can."""
        try:
            self._key_names.entries(key)
        except InvalidInput as error:
            return error
        return None

    async def _read_or_load(
        self, without: Without | None, query: Query, answered: Callable[[], None]
    ) -> CacheResult[Any]:
        if without is None:
            return await self._reader.read(query, answered)
        answered()
        return await self._result(query, without, fresh=False)

    async def _result(self, query: Query, without: Without | None, *, fresh: bool) -> CacheResult[Any]:
        match without:
            case None:
                return await (self._reader.refresh(query) if fresh else self._reader.read(query))
            case "DOUBT" if not fresh:
                return await self._reader.bypass(query)
            case _:
                return await self._reader.load_unleased(query, "DISABLED" if without == "DISABLED" else "BYPASS")

    def _entry_tags(self, tags: Tags[Any]) -> EntryTags:
        if callable(tags):
            return lambda value: self._key_names.entry_tags(tags(value))
        return _OwnTags(self._key_names, checked_tags(tags))

    def _count_many(self, queries: Mapping[str, Query], outcomes: Mapping[str, ManyOutcome]) -> None:
        for key, query in queries.items():
            self._count(query, outcomes.get(key, _UNREAD))

    def _count(self, query: Query, outcome: ManyOutcome) -> None:
        family, entry = query.family, query.entry.entry
        match outcome:
            case CacheResult():
                self._counters.read(family, entry, outcome.status.lower(), outcome.load_ms)
                if self.watched and (watch := self.watched.get(family)) is not None:
                    watch(query, outcome)
            case None:
                self._counters.read(family, entry, "miss")
            case _:
                self._counters.read(family, entry, "error")


class _OwnTags:
    """The tags that a call names: their digests are computed once, for the first value that it loads."""

    __slots__ = ("_digests", "_key_names", "_tags")

    def __init__(self, key_names: KeyNames, tags: tuple[str, ...]) -> None:
        self._key_names = key_names
        self._tags = tags
        self._digests: tuple[str, ...] | None = None

    def __call__(self, _: object) -> tuple[str, ...]:
        if self._digests is None:
            self._digests = self._key_names.entry_tags(self._tags)
        return self._digests


def decodable(type: Any) -> Any:  # noqa: A002 - as in msgspec
    """Return the type that values are decoded as, Any for None; raise InvalidInput if no value can have it."""
    if type is None:
        return Any
    try:
        decoder(b"m", type)
    except (TypeError, ValueError) as error:
        raise InvalidInput("type", type, f"give a type that msgspec can decode ({brief(error)})") from error
    return type
