"""Invalidations that wait for the end of a block, such as a transaction."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from tollhouse.cache.commands import Commands
from tollhouse.cache.key_names import KeyNames, Names
from tollhouse.errors import Steps


class PendingInvalidations:
    """The tags and keys that are invalidated when the block ends; none are if it raises."""

    def __init__(self, commands: Commands, key_names: KeyNames) -> None:
        self._commands = commands
        self._key_names = key_names
        self._tags: dict[str, None] = {}
        self._names: dict[Names, None] = {}

    def tags(self, *tags: str) -> None:
        """Invalidate every value that has one of the tags, at the end."""
        self._tags |= dict.fromkeys(digest for tag in tags for digest in self._key_names.tag_digests(tag))

    def keys(self, *keys: str) -> None:
        """Invalidate the values of the keys, at the end."""
        self._names |= dict.fromkeys(entry.names for key in keys for entry in self._key_names.entries(key))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        with Steps() as steps:
            if self._tags:
                await self._commands.invalidate_tags(list(self._tags))
                steps.begun = True
            if self._names:
                await self._commands.invalidate(self._names)
