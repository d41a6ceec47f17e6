"""A world for tests of an app: a `fake://` server with a clock that only the test moves, and with faults."""

from __future__ import annotations

import secrets
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from tollhouse.errors import ConfigurationError
from tollhouse.stores.fake.server import FakeServer, StoreFault, fake_server, forget_server
from tollhouse.stores.urls import STORES, FakeTarget, StoreName, parse
from tollhouse.suggest import one_of
from tollhouse.wiring.features import LIMITS, THROTTLES

_MS = {"days": 86_400_000, "hours": 3_600_000, "minutes": 60_000, "seconds": 1_000, "milliseconds": 1}


class World:
    """The server behind `url`, which begins and ends empty: `with World() as world: app = create_app(world.url)`.

    Without a URL the world has a name of its own. Give `fake://NAME` for an app that is made once, with that URL. The
    clock is that of everything on the server: limits, sessions, lifetimes of cached values, and what the process itself
    remembers of them. It stands still until `advance`. All methods may be called from a test with or without an event
    loop, whichever loops and threads the app runs in. No request to the app can reach them.
    """

    def __init__(self, url: str | None = None) -> None:
        self._is_own = url is None
        self.url = f"fake://{secrets.token_hex(8)}" if url is None else url
        parsed = parse("url", self.url)
        target = parsed.target
        if not isinstance(target, FakeTarget):
            raise ConfigurationError("url", parsed.server, "give fake://NAME: no other clock can be moved")
        self._name = target.name
        self._server: FakeServer = fake_server(target.name, self.url)

    @property
    def now_ms(self) -> int:
        """The time of the world, in milliseconds since 1970."""
        return self._server.clock.now_ms()

    def advance(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0, milliseconds: float = 0
    ) -> None:
        """Move the clock, so that keys expire. What waits inside the library goes on if it is due."""
        given = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds, "milliseconds": milliseconds}
        ms = round(sum(number * _MS[unit] for unit, number in given.items()))
        if ms < 1:
            raise ConfigurationError("advance", f"{ms} ms", "give a time to come, such as seconds=61")
        self._check_open()
        self._server.clock.advance(ms)

    def reset(self) -> None:
        """Empty all stores, and what processes remember of limits. The clock stays, and faults go on."""
        self._server.flush_all()
        for limiter in LIMITS.members():
            limiter.forget()
        for throttle in list(THROTTLES):
            throttle.forget()

    def flush(self, store: StoreName | None = None) -> None:
        """Lose the data of a store, or of all, as a server does that restarts without a file."""
        self._server.flush(_names(store))

    def down(self, store: StoreName | None = None) -> AbstractContextManager[None]:
        """Take a store down, or all, while the block runs: the app meets an outage."""
        return self._server.injected(StoreFault(is_down=True), _names(store))

    def slow(self, store: StoreName | None = None, *, seconds: float) -> AbstractContextManager[None]:
        """Slow a store down, or all, while the block runs, by so many seconds of real time.

        Beyond the deadline of a call (`deadline_ms`) the call fails after that, and may have run.
        """
        if not seconds > 0:
            raise ConfigurationError("seconds", seconds, "give a time above 0")
        return self._server.injected(StoreFault(delay_s=seconds), _names(store))

    def __enter__(self) -> Self:
        if self._server.is_in_use:
            raise ConfigurationError("url", self.url, "another world has this name now; end that one first")
        self._server.is_in_use = True
        self._server.clock.stop()
        self.reset()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._check_open()
        self.reset()
        self._server.clock.start()
        self._server.is_in_use = False
        if self._is_own:
            forget_server(self._name)

    def _check_open(self) -> None:
        if not self._server.is_in_use:
            raise ConfigurationError("world", self.url, "it is not open: `with World() as world:`")


def _names(store: StoreName | None) -> tuple[StoreName, ...]:
    """Return the stores that are meant; raise ConfigurationError for one that does not exist."""
    if store is None:
        return STORES
    if store not in STORES:
        raise ConfigurationError("store", store, one_of(store, STORES))
    return (store,)
