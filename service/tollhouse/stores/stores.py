"""The four stores together: each on its own logical database, connected when first used."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tollhouse.clock import ServerClock, server_time
from tollhouse.errors import ConfigurationError
from tollhouse.metrics import Metrics
from tollhouse.scripts import Scripts
from tollhouse.stores.fake import FakeStore
from tollhouse.stores.link import Address, Locate
from tollhouse.stores.store import DEADLINE_S, Store
from tollhouse.stores.urls import Cluster, Embedded, Fake, Sentinel, StoreName, StoreUrl, Tcp, Unix

if TYPE_CHECKING:
    from tollhouse.stores.embedded import EmbeddedServer

_log = logging.getLogger("tollhouse.stores")

AnyStore = Store | FakeStore

_FEATURES: Mapping[StoreName, str] = {
    "sessions": "sessions/",
    "limits": "limits/",
    "cache": "cache/",
    "accounts": "accounts/",
}


class Stores:
    """One store per kind of state, and the embedded servers that this process started for them."""

    def __init__(
        self,
        *,
        sessions: AnyStore,
        limits: AnyStore,
        cache: AnyStore,
        accounts: AnyStore,
        hosts: Iterable[EmbeddedHost],
    ) -> None:
        self.sessions = sessions
        self.limits = limits
        self.cache = cache
        self.accounts = accounts
        self._hosts = tuple(hosts)

    def all(self) -> tuple[AnyStore, ...]:
        """Give the stores in the order of their databases."""
        return (self.sessions, self.limits, self.cache, self.accounts)

    async def aclose(self) -> None:
        """End the connections, then the servers."""
        for store in self.all():
            await store.aclose()
        for host in self._hosts:
            await host.aclose()


class EmbeddedHost:
    """An embedded server that starts when the first store asks where it is."""

    def __init__(self, target: Embedded, binary: Path | None) -> None:
        self._path = None if target.path is None else Path(target.path)
        self._binary = binary
        self._server: EmbeddedServer | None = None
        self._lock = asyncio.Lock()

    async def locate(self) -> Address:
        """Start the server if need be, and name its socket; a server that died is not started again."""
        async with self._lock:
            if self._server is None:
                self._server = await asyncio.to_thread(self._start)
        return Unix(path=str(self._server.socket_path))

    async def aclose(self) -> None:
        """Stop the server if this process started it."""
        async with self._lock:
            if self._server is not None:
                await asyncio.to_thread(self._server.stop)

    def _start(self) -> EmbeddedServer:
        from tollhouse.stores.embedded import EmbeddedServer

        if self._path is None and multiprocessing.parent_process() is not None:
            _log.warning("each worker has an embedded server of its own: set TOLLHOUSE_URL to share one")
        return EmbeddedServer.start(self._path, self._binary)


def open_stores(
    places: Mapping[StoreName, StoreUrl],
    scripts: Scripts,
    metrics: Metrics,
    *,
    clock: ServerClock = server_time,
    deadline_s: float = DEADLINE_S,
    embedded_binary: Path | None = None,
) -> Stores:
    """Make the four stores; nothing connects before it is used.

    Raises ConfigurationError for a place that this version cannot use.
    """
    hosts: dict[Embedded, EmbeddedHost] = {}

    def opened(name: StoreName) -> AnyStore:
        url = places[name]
        own = {key: script for key, script in scripts.items() if key.startswith(_FEATURES[name])}
        if isinstance(url.target, Fake):
            return FakeStore(name, url, own, metrics, clock=clock)
        locate = _locate(name, url, hosts, embedded_binary)
        return Store(name, url, locate, own, metrics, clock=clock, deadline_s=deadline_s)

    return Stores(
        sessions=opened("sessions"),
        limits=opened("limits"),
        cache=opened("cache"),
        accounts=opened("accounts"),
        hosts=hosts.values(),
    )


def _locate(name: StoreName, url: StoreUrl, hosts: dict[Embedded, EmbeddedHost], binary: Path | None) -> Locate:
    match url.target:
        case Tcp() | Unix() as address:
            return _fixed(address)
        case Embedded() as target:
            return hosts.setdefault(target, EmbeddedHost(target, binary)).locate
        case Sentinel():
            remedy = "Sentinel comes with the next version; name the primary with redis:// until then"
        case Cluster():
            remedy = "Cluster comes with a later version; name one server with redis:// until then"
        case Fake():
            raise AssertionError("fake stores have no address")
    raise ConfigurationError(f"TOLLHOUSE_{name.upper()}_URL", url.shown(), remedy)


def _fixed(address: Address) -> Locate:
    async def locate() -> Address:
        return address

    return locate
