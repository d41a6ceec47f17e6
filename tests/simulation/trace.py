"""The trace of a run: a digest of every byte that was delivered and when, and lines for people."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

LINES_MAX: Final = 20_000


class Trace:
    """What happened, in order. Two runs with one digest delivered the same bytes at the same times."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.lines: list[str] = []
        self._loop = loop
        self._hash = hashlib.blake2b(digest_size=16)

    @property
    def digest(self) -> str:
        """Return the digest of everything so far."""
        return self._hash.hexdigest()

    def note(self, text: str) -> None:
        """Add a line for people; it is part of the digest."""
        line = f"{self._loop.time() * 1000:9.1f} ms  {text}"
        self._hash.update(line.encode())
        if len(self.lines) < LINES_MAX:
            self.lines.append(line)

    def delivered(self, src: str, dst: str, data: bytes) -> None:
        """Add the bytes that a connection delivered to the digest."""
        self._hash.update(f"{self._loop.time():.9f} {src} {dst} {len(data)} ".encode())
        self._hash.update(data)
