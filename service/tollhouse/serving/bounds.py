"""Bounds: what a worker gives to its connections, and what each may take; the size of a message as it arrives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from tollhouse.serving.deadlines import Timeouts
from tollhouse.serving.overload import connections_bound, descriptors
from tollhouse.settings import Settings

WAITING_MAX: Final = 32
"""How many requests of a connection may wait for the one before them."""
_LINE_BYTES: Final = 4
"""The colon, the space and the end of a line."""
_CHUNKING: Final = 8
"""The most bytes on the wire per byte of body; small chunks have that much overhead."""


class HttpBounds(Struct, frozen=True, kw_only=True):
    """The bounds of one worker."""

    head_bytes: int
    message_bytes: int
    connections_max: int
    timeouts: Timeouts


def http_bounds(settings: Settings) -> HttpBounds:
    """Return the bounds of the settings, as far as this process may open descriptors."""
    return HttpBounds(
        head_bytes=settings.head_bytes,
        message_bytes=settings.head_bytes + _CHUNKING * settings.body_bytes,
        connections_max=connections_bound(settings.connections_max, descriptors()),
        timeouts=Timeouts(
            head_ms=settings.head_timeout_ms, body_ms=settings.body_timeout_ms, idle_ms=settings.idle_timeout_ms
        ),
    )


class MessageSize:
    """Counts the bytes of one message after the other of a connection, by segment; one by one only if they are many."""

    __slots__ = ("_head_bytes", "_head_bytes_max", "_head_bytes_most", "_segment_bytes", "_trailer_bytes", "bytes")

    def __init__(self, head_bytes_max: int) -> None:
        self._head_bytes_max = head_bytes_max
        self._segment_bytes = self._trailer_bytes = self._head_bytes = self._head_bytes_most = self.bytes = 0

    def on_segment(self, count: int) -> None:
        """Note that so many bytes are about to be parsed."""
        self._segment_bytes = count
        self._head_bytes_most += count

    def on_message_begin(self) -> None:
        """Begin with the next message, whose head cannot be longer than the segments in which it comes."""
        self._head_bytes_most = self._segment_bytes
        self._head_bytes = self._trailer_bytes = self.bytes = 0

    def is_head_too_long(self, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Return True if a whole head is above the bound; its parts are added up only if it may be."""
        if self._head_bytes_most <= self._head_bytes_max:
            return False
        lines = sum([len(name) + len(value) + _LINE_BYTES for name, value in headers])
        return len(target) + lines > self._head_bytes_max

    def is_part_too_long(self, target: bytes, *, all_of_it_is_head: bool) -> bool:
        """Return True if a head that does not end in this segment is above the bound."""
        if all_of_it_is_head:
            self._head_bytes += self._segment_bytes
        return max(self._head_bytes, len(target)) > self._head_bytes_max

    def is_trailer_too_long(self, name: bytes, value: bytes) -> bool:
        """Count a trailer, and return True if all of them are above the bound of a head."""
        self._trailer_bytes += len(name) + len(value) + _LINE_BYTES
        return self._trailer_bytes > self._head_bytes_max
