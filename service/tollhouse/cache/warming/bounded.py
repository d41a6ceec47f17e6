"""Work on the items of a list that may be long: some at a time, and no more of it read than is worked on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Final, TypeVar

from tollhouse.cache.reading.read_many import ManyOutcome
from tollhouse.cache.warming.report import OnFailure, WarmReport, WarmTally
from tollhouse.errors import InvalidInput

T = TypeVar("T")

AT_ONCE_MAX: Final = 256
"""The most items that are worked on at the same time."""

Items = Iterable[T] | AsyncIterable[T]
"""A list, or whatever yields its items one after the other."""

Positions = list[tuple[int, ManyOutcome]]
"""Outcomes with the positions of their items."""


async def warm_items(
    items: Items[T], warm: Callable[[T], Awaitable[Positions]], at_once: int, on_failure: OnFailure | None = None
) -> WarmReport:
    """Await `warm` on each item, on at most `at_once` at the same time; return what it came to.

    The next item is taken when there is a place for it. An error that `warm` raises ends the others.
    """
    places, tally = asyncio.Semaphore(require_at_once(at_once)), WarmTally(on_failure)

    async def warm_one(item: T) -> None:
        try:
            for position, outcome in await warm(item):
                tally.note(position, outcome)
        finally:
            places.release()

    try:
        async with asyncio.TaskGroup() as group:
            async for item in in_turn(items):
                await places.acquire()
                group.create_task(warm_one(item))
    except ExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__
    return tally.report()


async def in_turn(items: Items[T]) -> AsyncIterator[T]:
    """Yield each item."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def in_portions(items: Items[T], size: int) -> AsyncIterator[list[tuple[int, T]]]:
    """Yield the items with their positions, some at a time."""
    portion: list[tuple[int, T]] = []
    position = 0
    async for item in in_turn(items):
        portion.append((position, item))
        position += 1
        if len(portion) == size:
            yield portion
            portion = []
    if portion:
        yield portion


def require_at_once(at_once: int) -> int:
    """Return how many items are worked on at the same time; raise InvalidInput if that is out of bounds."""
    if type(at_once) is not int or not 1 <= at_once <= AT_ONCE_MAX:
        raise InvalidInput("at_once", at_once, f"give a number from 1 to {AT_ONCE_MAX}")
    return at_once
