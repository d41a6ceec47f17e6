"""Permits: what a caller that missed an entry may store later, noted in the caller's context.

The `set` that follows a `get` belongs to the moment of the miss, because the value was read after it. A task that is
started later has the notes of its parent, and its own are its own: so the note of one request never serves another.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from tollhouse.clock import MonotonicClock

NOTES_MAX: Final = 256
"""How many misses of one context are noted; beyond it the eldest is forgotten."""


class Permit(Struct, frozen=True, kw_only=True):
    """A miss and its cause; `epoch` and `sequence` are the clock then.

    Without a token nothing that was loaded may be stored.
    """

    token: str | None
    epoch: str = ""
    sequence: int = 0
    missed_ms: int = 0
    cause: str = "absent"


REFUSED: Final = Permit(token=None)

_Notes = Mapping[tuple[object, str], Permit]
_notes: ContextVar[_Notes] = ContextVar("tollhouse-cache-misses", default=MappingProxyType({}))


class Misses:
    """The misses of one cache that the present context has noted.

    After one was forgotten, no `set` without a note is taken for one of now, until no load of that time can be stored.
    """

    def __init__(self, lifetime_ms: int, monotonic: MonotonicClock) -> None:
        self._cache = object()
        self._lifetime_ms = lifetime_ms
        self._monotonic = monotonic

    def note(self, entry: str, permit: Permit) -> None:
        """Note a miss of an entry, in place of an earlier one."""
        notes = dict(_notes.get())
        if len(notes) >= NOTES_MAX and (self._cache, entry) not in notes:
            owner, _ = place = next(iter(notes))
            del notes[place]
            notes[owner, ""] = Permit(token=None, missed_ms=self._monotonic())
        notes[self._cache, entry] = permit
        _notes.set(notes)

    def take(self, entry: str) -> Permit | None:
        """Return the note of a miss and remove it; None if the entry was not missed."""
        notes = _notes.get()
        noted = notes.get((self._cache, entry))
        if noted is not None:
            _notes.set({place: other for place, other in notes.items() if place != (self._cache, entry)})
            return noted
        forgotten = notes.get((self._cache, ""))
        if forgotten is not None and self._monotonic() - forgotten.missed_ms < self._lifetime_ms:
            return REFUSED
        return None
