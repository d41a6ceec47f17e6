"""Removal of many values, for administrators: readers do not get them any more, then memory is given back in steps."""

from __future__ import annotations

from collections.abc import Iterable

from tollhouse.cache.commands import CacheStore, Commands
from tollhouse.cache.key_names import ALL, IN_PROGRESS, KeyNames, KeyPattern
from tollhouse.cache.management.walks import walk
from tollhouse.errors import Steps


class Removal:
    """Removes many values of one cache; raises StoreError as the store does."""

    def __init__(self, commands: Commands, store: CacheStore, key_names: KeyNames) -> None:
        self._commands = commands
        self._store = store
        self._key_names = key_names

    async def clear_all(self) -> int:
        """Remove every value, as `clear` does, then give memory back in small steps; return how many there were."""
        with Steps() as steps:
            await self._commands.invalidate_tags((ALL,))
            steps.begun = True
            return await walk(self._store, self._key_names.everything, self._commands.sweep)

    async def delete_pattern(self, pattern: str) -> int:
        """Remove the values whose keys match a pattern such as `model:metrics:*`; return how many there were.

        A pattern has whole words of keys, and `*` for one word, at the end for one or more; alone it is every key.
        Loads in progress at its start are not stored. For administrators: it scans every key in small steps; in code
        use tags. Raises InvalidInput for a part of a word, such as `model:met*`, because words are stored as digests.
        """
        patterns = self._key_names.patterns(pattern)
        if not patterns:
            return int(await self._commands.invalidate([each.names for each in self._key_names.entries(pattern)]) > 0)
        return await delete(self._commands, self._store, patterns)


async def delete(commands: Commands, store: CacheStore, patterns: Iterable[KeyPattern]) -> int:
    """Remove the entries that match one of the patterns, refuse every load in progress; return how many there were."""
    with Steps() as steps:
        await commands.invalidate_tags((IN_PROGRESS,))
        steps.begun = True
        return sum([await walk(store, each, commands.invalidate) for each in patterns])
