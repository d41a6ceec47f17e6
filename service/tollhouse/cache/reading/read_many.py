"""Reads of many keys: one round trip to the store, and one call for those that this caller may load.

Each key is read as any other, so that leases, flights and confirmations are the same. Only its load differs: it joins
a batch. The first batch begins when the store has answered for every key. A key whose load is due later, because the
process that loaded it stored nothing, joins a later batch, which waits for the keys of which the store is asked just
then: those whose load failed at one time are due at one time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from inspect import isawaitable
from itertools import islice
from typing import Any, Final, cast

from tollhouse.cache.reading.query import Query
from tollhouse.cache.reading.result import CacheResult
from tollhouse.cache.reading.single_flight import Flight, NoValue, SingleFlight
from tollhouse.cache.reading.wait_graph import RunningLoad
from tollhouse.errors import InvalidInput, LoadFailed, brief

KEYS_MAX: Final = 1_000
"""The most keys of one call."""
_GIVEN_MAX: Final = 10 * KEYS_MAX
"""How many keys are looked at, those that are given twice too."""

LoadMany = Callable[[list[str]], Awaitable[Mapping[str, Any]]]
"""The caller's function that computes the values of keys; keys that are not in its answer have none."""

ReadOne = Callable[[Query, Callable[[], None]], Awaitable[CacheResult[Any]]]
"""Reads one key, and calls the function when the store has answered for it."""

ManyOutcome = CacheResult[Any] | BaseException | None
"""The outcome of one of many keys: its result, the error of its load, or None if it has no value."""

_NEXT: Final = "next"


def require_keys(keys: Iterable[str]) -> list[str]:
    """Return each key once, in their order; raises InvalidInput for one text in their place, and for too many."""
    if isinstance(keys, str | bytes):
        raise InvalidInput("keys", type(keys).__name__, "give a list of keys")
    try:
        given = list(islice(keys, _GIVEN_MAX + 1))
        unique = list(dict.fromkeys(given))
    except TypeError as error:
        raise InvalidInput("keys", type(keys).__name__, f"give a list of keys ({brief(error)})") from error
    if len(unique) > KEYS_MAX or len(given) > _GIVEN_MAX:
        raise InvalidInput("keys", len(unique), f"give at most {KEYS_MAX} at a time")
    return unique


async def read_many(
    read: ReadOne, queries: Mapping[str, Query], batches: Batches
) -> dict[str, CacheResult[Any] | None]:
    """Return the result of each key, None for one without a value; raise the first error of any."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {key: group.create_task(_read(read, query, batches, key)) for key, query in queries.items()}
    except ExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__
    return {key: task.result() for key, task in tasks.items()}


async def read_each(read: ReadOne, queries: Mapping[str, Query], batches: Batches) -> dict[str, ManyOutcome]:
    """Return the outcome of each key: errors are outcomes as well, and none ends the other reads."""
    reads = (_read(read, query, batches, key) for key, query in queries.items())
    return dict(zip(queries, await asyncio.gather(*reads, return_exceptions=True), strict=True))


async def _read(read: ReadOne, query: Query, batches: Batches, key: str) -> CacheResult[Any] | None:
    try:
        return await read(query, lambda: batches.answered(key))
    except NoValue:
        return None
    finally:
        batches.answered(key)


class Batches:
    """The loads of the keys of one call."""

    def __init__(self, load_many: LoadMany, keys: Iterable[str], family: str) -> None:
        self._load_many = load_many
        self._family = family
        self._unanswered = set(keys)
        self._all_answered = asyncio.Event()
        self._questions: set[asyncio.Future[None]] = set()
        self._flights: SingleFlight[Mapping[str, Any]] = SingleFlight()
        self._next: list[str] = []

    def answered(self, key: str) -> None:
        """Note that the store has answered for a key, or that its read has ended."""
        self._unanswered.discard(key)
        if not self._unanswered:
            self._all_answered.set()

    @contextmanager
    def asking(self) -> Generator[None]:
        """Delay a batch that is about to begin until the block ends: the store says whether one more key is due."""
        question: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._questions.add(question)
        try:
            yield
        finally:
            self._questions.discard(question)
            question.set_result(None)

    async def load(self, key: str) -> Any:
        """Return the value of a key from the batch that begins next; raise NoValue if there is none."""
        flight = self._flights.find(_NEXT)
        if flight is None:
            keys = self._next = []
            load = RunningLoad(self, _NEXT, self._family)
            flight = self._flights.start(_NEXT, lambda flight: self._run(flight, keys), load)
        self._next.append(key)
        await flight.ended()
        values = flight.result()
        if key not in values:
            raise NoValue
        return values[key]

    async def _run(self, flight: Flight[Mapping[str, Any]], keys: list[str]) -> Mapping[str, Any]:
        await self._all_answered.wait()
        if self._questions:
            await asyncio.wait(tuple(self._questions))
        await asyncio.sleep(0)  # loads of the last answers begin in this step of the loop
        flight.close()
        loading = cast("object", self._load_many(keys))
        if not isawaitable(loading):
            raise InvalidInput("load_many", type(loading).__name__, "give an async function that returns a mapping")
        values: object = await loading
        if not isinstance(values, Mapping):
            raise LoadFailed(f"load_many returned {type(values).__name__}; return a mapping of keys to values")
        return cast("Mapping[str, Any]", values)
