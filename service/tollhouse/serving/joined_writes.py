"""Joined writes: the head of a response leaves with the first bytes of its body, in one call of the system.

uvicorn writes them apart, and uvloop sends each write at once: 3 µs of the kernel and a segment more for each response.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

_BEGINS: Final = b"HTTP/1.1 "
_ENDS: Final = b"\r\n\r\n"


class JoinedWrites:
    """The transport of a connection, as far as uvicorn uses one, which holds the head of a response back.

    The head waits for the next write, but no longer than one turn of the event loop: that of a stream leaves before
    there is anything to stream. A part of a body that looks like a head waits as long, which changes nothing.
    """

    __slots__ = ("_call_soon", "_head", "_is_scheduled", "_transport", "get_write_buffer_size", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._head = b""
        self._is_scheduled = False
        self.is_closing = transport.is_closing
        self.get_write_buffer_size = transport.get_write_buffer_size

    def write(self, data: bytes) -> None:
        """Write what was held back, and then this; or hold it back if it is a head."""
        head = self._head
        if data.endswith(_ENDS) and data.startswith(_BEGINS):
            if head:
                self._transport.write(head)
            self._head = data
            if not self._is_scheduled:
                self._is_scheduled = True
                self._call_soon(self._turn)
        elif head:
            self._head = b""
            self._transport.write(head + data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Write what was held back, and close when all is sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self.discard()
        self._transport.abort()

    def discard(self) -> None:
        """Drop what was held back: the connection is gone."""
        self._head = b""

    def pause_reading(self) -> None:
        """Receive nothing until `resume_reading`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport knows of the connection."""
        return self._transport.get_extra_info(name, default)

    def _turn(self) -> None:
        self._is_scheduled = False
        self._flush()

    def _flush(self) -> None:
        head, self._head = self._head, b""
        if head:  # a transport that is closing sends it while it has bytes to send, and then a body needs its head
            self._transport.write(head)
