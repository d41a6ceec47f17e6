"""Leases of this process: those that its callers and loads use, and the release of those that none uses any more.

A caller that runs out of time or is cancelled may be granted a lease that it never learns of. Its token says which
process sent it, and the process knows the tokens that are in use: every other lease of its own was left behind. The
next reader takes that over, under a token of its own, so that nothing that was sent with the first can be stored.

A lease that was granted is named by the token of the call and what the server adds to it; here the token alone counts.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from tollhouse.cache.key_names import EntryKeys
from tollhouse.errors import ConfigurationError, StoreError
from tollhouse.runtime.background import BackgroundTasks

_CALL_BYTES: Final = 8
"""The part of a token that differs from call to call; it comes first, because a lost clock takes some for its epoch."""
_PROCESS_BYTES: Final = 4
_TOKEN_DIGITS: Final = 2 * (_CALL_BYTES + _PROCESS_BYTES)


class OwnLeases:
    """The tokens that this process uses. `release` ends a lease on the server, within the deadline of the store."""

    def __init__(self, release: Callable[[EntryKeys, str], Awaitable[None]]) -> None:
        self._release = release
        self._process = ""
        self._used_by: dict[str, asyncio.Task[Any] | None] = {}
        self._background = BackgroundTasks()

    def requested(self, entry: EntryKeys) -> LeaseRequest:
        """Return a block for the calls that ask for a lease of an entry; its token is in use at least until its end."""
        return LeaseRequest(self, entry)

    def new_token(self) -> str:
        """Return a token that is in use until `end` or `abandon`."""
        # Made at the first use, because forked children share what was made before.
        self._process = self._process or secrets.token_hex(_PROCESS_BYTES)
        token = secrets.token_hex(_CALL_BYTES) + self._process
        self._used_by[token] = None
        return token

    def is_abandoned(self, holder: str) -> bool:
        """Return whether a lease belongs to this process, and no caller or load of it uses the lease any more."""
        token = holder[:_TOKEN_DIGITS]
        return token not in self._used_by and token.endswith(self._process)

    def end(self, token: str) -> None:
        """Forget a token whose lease was not granted, or has ended."""
        self._used_by.pop(token[:_TOKEN_DIGITS], None)

    def abandon(self, entry: EntryKeys, token: str, error: BaseException | None = None) -> None:
        """Forget a token and release its lease in the background, unless `error` says that none was granted."""
        self.end(token)
        happened = error.outcome if isinstance(error, StoreError) else "ambiguous"
        if happened == "ambiguous" and not isinstance(error, ConfigurationError):  # a closed store has sent nothing
            self._background.start(self._release_quietly(entry, token), "tollhouse-cache-release")

    def hold(self, entry: EntryKeys, token: str, task: asyncio.Task[Any]) -> None:
        """Keep a lease until a task is done, in place of an earlier one; then abandon it if it has not ended."""
        self._used_by[token[:_TOKEN_DIGITS]] = task
        task.add_done_callback(lambda _: self._on_done(entry, token, task))

    async def aclose(self) -> None:
        """Wait for the releases in progress; the store bounds each."""
        await self._background.aclose()

    def _on_done(self, entry: EntryKeys, token: str, task: asyncio.Task[Any]) -> None:
        if self._used_by.get(token[:_TOKEN_DIGITS]) is task:
            self.abandon(entry, token)

    async def _release_quietly(self, entry: EntryKeys, token: str) -> None:
        with suppress(StoreError, ConfigurationError):  # of a store that was closed in the meantime
            await self._release(entry, token)


class LeaseRequest:
    """One request for a lease, under `token`. The caller sets `is_granted`; a lease may be left behind if it raises."""

    __slots__ = ("_entry", "_leases", "is_granted", "token")

    def __init__(self, leases: OwnLeases, entry: EntryKeys) -> None:
        self._leases = leases
        self._entry = entry
        self.token = leases.new_token()
        self.is_granted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error is not None:
            self._leases.abandon(self._entry, self.token, error)
        elif not self.is_granted:
            self._leases.end(self.token)
