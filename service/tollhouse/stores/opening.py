"""The four stores together: each on its own logical database, connected when first used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from tollhouse.clock import ServerClock, server_time
from tollhouse.errors import ConfigurationError
from tollhouse.metrics import Metrics
from tollhouse.scripts import Scripts
from tollhouse.stores.discovery.locator import Address, Locator, StaticLocator, Watched
from tollhouse.stores.discovery.sentinel_resolver import SentinelResolver
from tollhouse.stores.discovery.static_resolver import StaticResolver
from tollhouse.stores.embedded.locators import EmbeddedClusterLocator, EmbeddedLocator
from tollhouse.stores.fake import FakeStore
from tollhouse.stores.store import DEADLINE_S, Store
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.redial import TIMING, ConnectionTiming
from tollhouse.stores.urls import (
    ClusterTarget,
    EmbeddedClusterTarget,
    EmbeddedTarget,
    FakeTarget,
    SentinelService,
    ServerList,
    StoreName,
    StoreUrl,
    Target,
    TcpAddress,
    UnixAddress,
)

AnyStore = Store | FakeStore

SharedResource = SentinelResolver | StaticResolver | EmbeddedLocator | EmbeddedClusterLocator
"""What stores share, and what ends with them."""


class Stores:
    """One store per kind of state, and the embedded servers that this process started for them."""

    def __init__(
        self,
        *,
        sessions: AnyStore,
        limits: AnyStore,
        cache: AnyStore,
        accounts: AnyStore,
        owned: Iterable[SharedResource],
    ) -> None:
        self.sessions = sessions
        self.limits = limits
        self.cache = cache
        self.accounts = accounts
        self._owned = tuple(owned)

    def all(self) -> tuple[AnyStore, ...]:
        """Give the stores in the order of their databases."""
        return (self.sessions, self.limits, self.cache, self.accounts)

    async def aclose(self) -> None:
        """End the connections, then the servers."""
        for store in self.all():
            await store.aclose()
        for owned in self._owned:
            await owned.aclose()


def open_stores(
    places: Mapping[StoreName, StoreUrl],
    scripts: Scripts,
    metrics: Metrics,
    *,
    clock: ServerClock = server_time,
    deadline_s: float = DEADLINE_S,
    timing: ConnectionTiming = TIMING,
    embedded_binary: Path | None = None,
) -> Stores:
    """Make the four stores; nothing connects before it is used.

    Raises ConfigurationError for a place that this version cannot use.
    """
    found = _Locators(embedded_binary)

    def opened(name: StoreName) -> AnyStore:
        url = places[name]
        own = {key: script for key, script in scripts.items() if key.startswith(f"{name}/")}
        if isinstance(url.target, FakeTarget):
            return FakeStore(name, url, own, metrics, clock=clock)
        return Store(
            name,
            url,
            found.locator(name, url),
            own,
            metrics,
            dialer=found.dialer,
            clock=clock,
            deadline_s=deadline_s,
            timing=timing,
        )

    return Stores(
        sessions=opened("sessions"),
        limits=opened("limits"),
        cache=opened("cache"),
        accounts=opened("accounts"),
        owned=found.owned,
    )


class _Locators:
    """Makes one finder for each store, over one resolver or server for each place."""

    def __init__(self, binary: Path | None) -> None:
        self.dialer = Dialer()
        self._binary = binary
        self._hosts: dict[Target, EmbeddedLocator | EmbeddedClusterLocator] = {}
        self._resolvers: dict[Target, SentinelResolver] = {}
        self._endpoints: dict[tuple[Target, Login], StaticResolver] = {}

    @property
    def owned(self) -> tuple[SharedResource, ...]:
        """Give what has to be closed after the stores."""
        return (*self._resolvers.values(), *self._endpoints.values(), *self._hosts.values())

    def locator(self, name: StoreName, url: StoreUrl) -> Locator:
        """Give the finder of a store; raises ConfigurationError for a place that this version cannot use."""
        login = Login(username=url.username, password=url.password)
        match url.target:
            case TcpAddress() | UnixAddress() as address:
                return StaticLocator(_always(address), login)
            case ServerList() as target:
                return self._listed(target, login)
            case EmbeddedTarget() as target:
                host = self._hosts.setdefault(target, EmbeddedLocator(target, self._binary))
                return StaticLocator(host.locate, login)
            case EmbeddedClusterTarget() as target:
                topology = self._hosts.setdefault(target, EmbeddedClusterLocator(self.dialer, self._binary))
                assert isinstance(topology, EmbeddedClusterLocator)
                return topology
            case SentinelService() as target:
                return Watched(self._resolver(target, login), login)
            case _ as target:
                assert isinstance(target, ClusterTarget)  # fake stores have no address
                remedy = "Cluster comes with a later version; name one server with redis:// until then"
                raise ConfigurationError(f"TOLLHOUSE_{name.upper()}_URL", url.redacted(), remedy)

    def _listed(self, target: ServerList, login: Login) -> StaticResolver:
        if (target, login) not in self._endpoints:
            self._endpoints[target, login] = StaticResolver(target, login, self.dialer)
        return self._endpoints[target, login]

    def _resolver(self, target: SentinelService, login: Login) -> SentinelResolver:
        if target not in self._resolvers:
            self._resolvers[target] = SentinelResolver(target, login, self.dialer)
        return self._resolvers[target]


def _always(address: Address) -> Callable[[], Awaitable[Address]]:
    async def locate() -> Address:
        return address

    return locate
