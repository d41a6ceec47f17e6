"""Invalidations that wait for the end of a block, such as a transaction."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from tollhouse.cache.commands import CacheStore, Commands
from tollhouse.cache.doubt import Doubt
from tollhouse.cache.key_names import KeyNames, KeyPattern, Names
from tollhouse.cache.management.removal import delete


class PendingInvalidations:
    """The tags, keys and patterns that are invalidated when the block ends; none are if it raises.

    What the block has done is done by then. So an invalidation that cannot be sent is no error of the block: `doubt`
    makes up for it. It goes on in the background if the caller is cancelled meanwhile. A block that is cancelled may
    have committed, so what it named until then is invalidated.
    """

    def __init__(self, store: CacheStore, commands: Commands, key_names: KeyNames, doubt: Doubt) -> None:
        self._store = store
        self._commands = commands
        self._key_names = key_names
        self._doubt = doubt
        self._tags: dict[str, None] = {}
        self._names: dict[Names, None] = {}
        self._patterns: dict[KeyPattern, None] = {}

    def tags(self, *tags: str) -> None:
        """Invalidate every value that has one of the tags, at the end."""
        self._tags |= dict.fromkeys(digest for tag in tags for digest in self._key_names.tag_digests(tag))

    def keys(self, *keys: str) -> None:
        """Invalidate the values of the keys, at the end."""
        self._names |= dict.fromkeys(entry.names for key in keys for entry in self._key_names.entries(key))

    def patterns(self, *patterns: str) -> None:
        """Invalidate the values whose keys match one of the patterns, at the end; that looks at every key."""
        for pattern in patterns:
            found = self._key_names.patterns(pattern)
            self._patterns |= dict.fromkeys(found)
            if not found:
                self.keys(pattern)

    async def send(self) -> None:
        """Invalidate what was named, as the end of the block does."""
        if self._tags or self._names or self._patterns:
            await self._doubt.make_up_for(self._send())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, asyncio.CancelledError):
            await self.send()

    async def _send(self) -> None:
        if self._tags:
            await self._commands.invalidate_tags(list(self._tags))
        if self._names:
            await self._commands.invalidate(self._names)
        if self._patterns:
            await delete(self._commands, self._store, self._patterns)
