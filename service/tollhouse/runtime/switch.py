"""A switch of this process: overrides whether a feature is enabled, for the tests of apps.

It is set by code in the process alone: no request, signal or reload reaches it.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet


class _Switchable(Protocol):
    def switch(self, *, on: bool | None) -> None: ...


T = TypeVar("T", bound=_Switchable)


class Switch(Generic[T]):
    """Overrides whether a feature is enabled, for all that is open in this process and all that opens meanwhile."""

    def __init__(self) -> None:
        self._on: bool | None = None
        self._members: WeakSet[T] = WeakSet()
        self._lock = threading.Lock()

    def add(self, member: T) -> None:
        """Add a limiter or a cache, which follows the switch for as long as it is used."""
        with self._lock:
            self._members.add(member)
        if self._on is not None:
            member.switch(on=self._on)

    def members(self) -> list[T]:
        """Return those that are open, in any event loop and thread."""
        with self._lock:
            return list(self._members)

    @contextmanager
    def turned(self, *, on: bool) -> Generator[None]:
        """Override the settings while the block runs; the inner of two blocks decides."""
        before = self._on
        self._set(on)
        try:
            yield
        finally:
            self._set(before)

    def _set(self, on: bool | None) -> None:  # noqa: FBT001 - the value itself
        self._on = on
        for member in self.members():
            member.switch(on=on)
