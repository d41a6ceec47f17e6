"""Walks over the entries of a cache, in bounded steps: each looks at some keys of the database, whatever they are.

The server counts the keys of a whole database only, so entries are counted by a walk over it. That has a bound: of a
large database a part is walked, and the rest is taken to be like it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from tollhouse.cache.commands import CacheStore
from tollhouse.cache.key_names import KeyPattern, Names

WALKED_MAX: Final = 20_000
"""How many keys are looked at to count entries."""
_STEP: Final = 1_000
"""How many keys the server looks at in one call."""


async def walk(store: CacheStore, pattern: KeyPattern, work: Callable[[list[Names]], Awaitable[int]]) -> int:
    """Await `work` on the matching entries of each step that finds some; return the sum of its results."""
    cursor, total = -1, 0
    while cursor:
        cursor, found = await store.scan(max(cursor, 0), pattern.match, _STEP)
        if names := pattern.among(found):
            total += await work(names)
    return total


async def count_entries(store: CacheStore, pattern: KeyPattern, keys: int, *, walked_max: int = WALKED_MAX) -> int:
    """Return how many of the `keys` of a database are entries that match; an estimate if the keys are too many."""
    cursor, walked, entries = -1, 0, 0
    while cursor and walked < walked_max:
        cursor, found = await store.scan(max(cursor, 0), pattern.match, _STEP)
        entries += len(pattern.among(found))
        walked += _STEP
    return round(entries * max(keys / walked, 1)) if cursor else entries
