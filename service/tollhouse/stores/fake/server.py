"""What the fake stores of one name share: their data, their time, and the faults that a test injects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from importlib.metadata import version as metadata_version
from importlib.util import find_spec
from typing import Any, Final
from weakref import WeakSet

from msgspec import Struct

from tollhouse.clock import ProcessTime
from tollhouse.errors import ConfigurationError
from tollhouse.extras import pip_line
from tollhouse.stores.fake.clock import FakeClock
from tollhouse.stores.fake.subscription import Subscription

_SERVERS: Final[dict[str, FakeServer]] = {}
"""Those of this process, by name: every event loop and thread that uses a name finds the same data."""


class StoreFault(Struct, frozen=True, kw_only=True):
    """A store that does not answer, or answers after `delay_s`."""

    is_down: bool = False
    delay_s: float = 0.0


NO_FAULT: Final = StoreFault()


class FakeServer:
    """A fakeredis whose keys expire by `clock`; faults apply to all stores of a name, in every event loop."""

    def __init__(self) -> None:
        import fakeredis

        self.version = metadata_version("fakeredis")
        self.clock = FakeClock()
        self.time = ProcessTime(monotonic_ms=self.clock.now_ms, sleep=self.clock.sleep)
        self.is_in_use = False
        self.redis: Any = fakeredis.FakeServer(version=(8,), server_type="redis")
        database = _with_clock(type(self.redis.dbs[0]), self.clock)
        self.redis.dbs = defaultdict(lambda: database(self.redis.lock))
        self._databases: dict[str, set[int]] = defaultdict(set)
        self._subscriptions: dict[str, WeakSet[Subscription]] = defaultdict(WeakSet)
        self._faults: dict[str, list[StoreFault]] = defaultdict(list)

    def add(self, store: str, database: int) -> None:
        """Add a database to those in which a store keeps its keys."""
        self._databases[store].add(database)

    def subscribe(self, store: str, subscription: Subscription) -> None:
        """Report gaps to a subscription, for as long as it is used."""
        self._subscriptions[store].add(subscription)

    def fault(self, store: str) -> StoreFault:
        """Return what is wrong with a store: the worst of the faults that were injected."""
        faults = self._faults.get(store)
        if not faults:
            return NO_FAULT
        return StoreFault(is_down=any(one.is_down for one in faults), delay_s=max(one.delay_s for one in faults))

    @contextmanager
    def injected(self, fault: StoreFault, stores: Iterable[str]) -> Generator[None]:
        """Inject a fault while the block runs; stores that are down lose their subscriptions."""
        names = tuple(stores)
        for name in names:
            self._faults[name].append(fault)
        self._report(names)
        try:
            yield
        finally:
            for name in names:
                self._faults[name].remove(fault)
            self._report(names)

    def flush(self, stores: Iterable[str]) -> None:
        """Lose the data of some stores, and their subscriptions for a moment, as a restart without a file does."""
        names = tuple(stores)
        with self.redis.lock:
            for number in {number for name in names for number in self._databases.get(name, ())}:
                self.redis.dbs[number].clear()
        for one in self._subscriptions_of(names):
            one.lose()
        self._report(names)

    def flush_all(self) -> None:
        """Lose all data."""
        self.flush(tuple(self._databases))

    def _report(self, names: Iterable[str]) -> None:
        for name in names:
            is_down = self.fault(name).is_down
            for one in self._subscriptions_of([name]):
                one.lose() if is_down else one.resume()

    def _subscriptions_of(self, names: Iterable[str]) -> list[Subscription]:
        return [one for name in names for one in list(self._subscriptions.get(name, ()))]


def fake_server(name: str, place: str, find: Callable[[str], object] = find_spec) -> FakeServer:
    """Return the server of a name, which lives as long as the process; `place` is what an error calls it."""
    for package in ("fakeredis", "lupa"):  # without lupa it runs no script
        if find(package) is None:
            raise ConfigurationError("fake://", place, f"it needs {package}: {pip_line('tollhouse[test]')}")
    return _SERVERS.get(name) or _SERVERS.setdefault(name, FakeServer())


def forget_server(name: str) -> None:
    """Drop a server and its data; who opens the name later gets a new one."""
    _SERVERS.pop(name, None)


def _with_clock(database: Any, clock: FakeClock) -> type[Any]:
    """Return fakeredis's class of a database with another clock: it assigns the time at each command, and reads it."""

    def now_s(_: object) -> float:
        return clock.now_ms() / 1000

    def leave(_: object, __: float) -> None:
        return

    return type("Database", (database,), {"time": property(now_s, leave)})
