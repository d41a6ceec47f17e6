"""Deadlines: for how long a connection may be at one thing."""

from __future__ import annotations

import sys
from typing import Final, Literal

from msgspec import Struct

Activity = Literal["head", "body", "response", "idle", "unread"]
"""A request head arrives (also the first, before its first byte); a body does; the application has the request; nothing
does, between two requests; or the client does not read its response."""
Doing = tuple[Activity, int]
"""What a connection does, and a number that is another one when it does the same again, or gets on with it."""

_NEVER: Final = sys.maxsize


class Timeouts(Struct, frozen=True, kw_only=True):
    """The longest times that a client may take; how long the application takes is its own affair."""

    head_ms: int
    body_ms: int
    idle_ms: int

    def of(self, activity: Activity) -> int | None:
        """Return the longest time of an activity; None if it has no bound."""
        match activity:
            case "head":
                return self.head_ms
            case "body":
                return self.body_ms
            case "idle" | "unread":
                return self.idle_ms
            case "response":
                return None


class Stopwatch:
    """Measures what one connection does.

    It reads no clock when requests come: a sweep of all connections tells it what each does, so an activity is measured
    from the first sweep that finds it, and is overdue one sweep late at most.
    """

    __slots__ = ("_doing", "_due_ms", "timeouts")

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self._doing: Doing | None = None
        self._due_ms = _NEVER

    def overdue(self, doing: Doing, now_ms: int) -> bool:
        """Return True if the connection has been doing this for as long as it may."""
        if doing == self._doing:
            return now_ms >= self._due_ms
        bound_ms = self.timeouts.of(doing[0])
        self._doing, self._due_ms = doing, _NEVER if bound_ms is None else now_ms + bound_ms
        return False
