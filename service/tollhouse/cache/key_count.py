"""The number of a cache's entries in a database that other stores use as well.

The server counts the keys of a whole database only, so the entries among them are counted by a walk over it. It has a
bound: of a large database a part is walked, and the rest is taken to be like it.
"""

from __future__ import annotations

from typing import Final

from tollhouse.cache.commands import CacheStore
from tollhouse.cache.key_names import KeyNames

WALKED_MAX: Final = 20_000
"""How many keys are looked at."""
_STEP: Final = 1_000


async def count_entries(store: CacheStore, names: KeyNames, keys: int, *, walked_max: int = WALKED_MAX) -> int:
    """Return how many of the `keys` of a database are entries of this cache; an estimate if they are too many."""
    match, cursor, walked, entries = names.scan_pattern("*"), -1, 0, 0
    while cursor and walked < walked_max:
        cursor, found = await store.scan(max(cursor, 0), match, _STEP)
        entries += len(names.entries_among(found))
        walked += _STEP
    return round(entries * max(keys / walked, 1)) if cursor else entries
