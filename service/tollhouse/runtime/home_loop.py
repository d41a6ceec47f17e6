"""The event loop that an object belongs to: its connections, queues and tasks cannot be used from another one.

A foreign loop shows itself as a running loop that is not the object's, trio as none at all, and a closed object has
none that could run. One comparison in the place of asyncio's own look-up finds all three, before anything is touched:

    if (loop := running_loop()) is not self._home.loop:
        loop = self._home.enter()
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from tollhouse.errors import ConfigurationError

running_loop: Final = cast(
    "Callable[[], asyncio.AbstractEventLoop]",
    asyncio._get_running_loop,  # pyright: ignore[reportPrivateUsage] - exported for libraries that work without a loop
)
"""Return the running event loop; None, against its type, if asyncio runs none. Compare before any other use."""

_UNKNOWN: Final = object()
_CLOSED: Final = object()


class HomeLoop:
    """The loop of the first use of an object, which its errors call `what`."""

    __slots__ = ("_what", "loop")

    def __init__(self, what: str) -> None:
        self.loop: object = _UNKNOWN
        self._what = what

    def enter(self) -> asyncio.AbstractEventLoop:
        """Return the running loop, which becomes the object's at its first use.

        Raises ConfigurationError if the object is closed, or belongs to another loop, or if asyncio runs no loop here.
        """
        if self.loop is _CLOSED:
            raise closed(self._what)
        loop = asyncio_loop()
        if self.loop is _UNKNOWN:
            self.loop = loop
        if self.loop is not loop:
            remedy = "open one in each event loop, or give a URL or settings in its place: then that is done for you"
            raise ConfigurationError(self._what, "used in another event loop than before", remedy)
        return loop

    def close(self) -> None:
        """Refuse every use from now on. Raises ConfigurationError in another loop, which cannot end what this began."""
        if self.loop is not _UNKNOWN and self.loop is not _CLOSED:
            self.enter()
        self.loop = _CLOSED


def closed(what: str) -> ConfigurationError:
    """Return what to raise for a use of what is closed."""
    return ConfigurationError(what, "closed", "open another one: `async with tollhouse.open(...)`")


def asyncio_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop; raise ConfigurationError if asyncio runs none, as under trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        remedy = "run the application on asyncio; without any event loop, put `@tollhouse.limit` on a plain function"
        raise ConfigurationError("event loop", "none of asyncio runs here", remedy) from None
