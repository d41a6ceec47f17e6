"""The four stores together: each on its own logical database, connected when first used."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args

from tollhouse.clock import PROCESS_TIME, ProcessTime, ServerClock, server_time
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import Scripts
from tollhouse.settings.credentials import CredentialsFunction, Place
from tollhouse.stores.discovery.locator import Address, Locator, StaticLocator
from tollhouse.stores.discovery.sentinel_resolver import SentinelResolver
from tollhouse.stores.discovery.static_resolver import StaticResolver
from tollhouse.stores.discovery.timing import ResolverTiming
from tollhouse.stores.embedded.locators import EmbeddedClusterLocator, EmbeddedLocator
from tollhouse.stores.embedded.shared_servers import SharedServer
from tollhouse.stores.replica_shortage import WAIT_S, ReplicaShortage
from tollhouse.stores.replication.watch import require_replicas
from tollhouse.stores.store import DEADLINE_S, Store
from tollhouse.stores.transport.credentials import CredentialsSource
from tollhouse.stores.transport.databases import DatabaseChoice
from tollhouse.stores.transport.dialer import Dialer, Login, login_of
from tollhouse.stores.transport.redial import TIMING, ConnectionTiming, Jitter
from tollhouse.stores.transport.refusals import RefusalLog
from tollhouse.stores.urls import (
    STORES,
    EmbeddedClusterTarget,
    EmbeddedTarget,
    FakeTarget,
    Replicated,
    SentinelService,
    ServerList,
    StoreName,
    StoreUrl,
    Target,
    TcpAddress,
    UnixAddress,
)

if TYPE_CHECKING:
    from tollhouse.stores.fake.store import FakeStore

AnyStore: TypeAlias = "Store | FakeStore"

IMPATIENT: Final = frozenset(
    f"cache/{name}"
    for name in (
        *("confirm", "fill", "get", "get_or_lease", "release", "renew", "set", "take_lease", "take_permit"),
        *("add_counts", "inspect", "lease_early", "look_up", "write"),
    )
)
"""Scripts whose callers would rather do without a reply than wait for a replica: they have the value, or load it."""

_Embedded = EmbeddedLocator | EmbeddedClusterLocator
SharedResource = SentinelResolver | StaticResolver | EmbeddedLocator | EmbeddedClusterLocator
"""What stores share; it is closed after them."""


class Stores:
    """One store per kind of state, and what they share: resolvers, and servers that this process started.

    `times` is how this process measures time beside each: that of a fake server moves as the test of an app says.
    """

    def __init__(
        self,
        stores: Mapping[StoreName, AnyStore],
        shared: Iterable[SharedResource],
        times: Mapping[StoreName, ProcessTime],
    ) -> None:
        self.sessions = stores["sessions"]
        self.limits = stores["limits"]
        self.cache = stores["cache"]
        self.accounts = stores["accounts"]
        self.times = times
        self._shared = tuple(shared)

    def all(self) -> tuple[AnyStore, ...]:
        """Return the stores in the order of their databases."""
        return (self.sessions, self.limits, self.cache, self.accounts)

    def own_servers(self) -> tuple[SharedServer[Any], ...]:
        """Return the servers of this process that the stores use; more than these stores may use them."""
        return tuple(each.server for each in self._shared if isinstance(each, _Embedded))

    async def aclose(self) -> None:
        """Close the connections, then the resolvers, and the servers that nothing else in this process uses."""
        for store in self.all():
            await store.aclose()
        for owned in self._shared:
            await owned.aclose()


def open_stores(
    urls: Mapping[StoreName, StoreUrl],
    scripts: Scripts,
    metrics: Metrics,
    *,
    namespace: Namespace = UNNAMED,
    clock: ServerClock = server_time,
    deadline_s: float = DEADLINE_S,
    embedded_binary: Path | None = None,
    timing: ConnectionTiming = TIMING,
    resolver_timing: ResolverTiming | None = None,
    credentials: CredentialsFunction | None = None,
    dialer: Dialer | None = None,
    monotonic_s: Callable[[], float] = time.monotonic,
    jitter: Jitter = random.uniform,
    strict: bool = False,
) -> Stores:
    """Return the four stores, which connect at first use. Raise ConfigurationError as `require_replicas` does."""
    require_replicas(timing.max_unreplicated_s, urls.values())
    dialer = Dialer() if dialer is None else dialer
    locators = _Locators(embedded_binary, dialer, credentials, timing=resolver_timing, clock=monotonic_s, jitter=jitter)
    common = partial(Store, metrics=metrics, namespace=namespace, dialer=dialer, clock=clock, deadline_s=deadline_s)
    choice, refusals = DatabaseChoice(), RefusalLog(metrics, strict=strict)
    make_store = partial(common, timing=timing, jitter=jitter, database_choice=choice, refusals=refusals)

    def open_store(name: StoreName) -> AnyStore:
        url, own = urls[name], {key: each for key, each in scripts.items() if key.startswith(f"{name}/")}
        if isinstance(url.target, FakeTarget):
            return _open_fake(name, url, own, clock, deadline_s)
        locator, start = locators.locator(url), locators.first_start(url, timing.start_s)
        return make_store(name, url, locator, own, first_start=start, shortage=_shortage(name, deadline_s, jitter))

    return Stores({name: open_store(name) for name in STORES}, locators.shared.values(), times_beside(urls))


def times_beside(urls: Mapping[StoreName, StoreUrl]) -> dict[StoreName, ProcessTime]:
    """Return the time of this process as far as it is about each store."""
    return {name: _time_beside(url) for name, url in urls.items()}


def _time_beside(url: StoreUrl) -> ProcessTime:
    if not isinstance(url.target, FakeTarget):
        return PROCESS_TIME
    from tollhouse.stores.fake.server import fake_server

    return fake_server(url.target.name, url.server).time


def wall_clock_beside(url: StoreUrl) -> Callable[[], float]:
    """Return the clock that tells the time of a store in seconds since 1970: outside of fake servers, the process's."""
    if not isinstance(url.target, FakeTarget):
        return time.time
    name, place = url.target.name, url.server

    def now_s() -> float:
        from tollhouse.stores.fake.server import fake_server

        return fake_server(name, place).clock.now_ms() / 1000

    return now_s


def _open_fake(name: StoreName, url: StoreUrl, scripts: Scripts, clock: ServerClock, deadline_s: float) -> AnyStore:
    from tollhouse.stores.fake.store import FakeStore  # it loads redis-py, which takes as long as most of this package

    return FakeStore(name, url, scripts, clock=clock, deadline_s=deadline_s)


def _shortage(name: StoreName, deadline_s: float, jitter: Jitter) -> ReplicaShortage:
    """Return how long a store waits for a replica: long without an alternative, else inside the deadline of a call.

    Takes queue behind takes that wait, and all of them have a deadline; they follow their outage rule instead.
    """
    wait_s = WAIT_S if name in ("sessions", "accounts") else 0.9 * deadline_s
    return ReplicaShortage(wait_s=wait_s, impatient=IMPATIENT, jitter=jitter)


class _Locators:
    """Makes the locator of each store. Stores share an embedded server, and one resolver for each target and login."""

    def __init__(
        self, binary: Path | None, dialer: Dialer, credentials: CredentialsFunction | None, **resolver: Any
    ) -> None:
        self._dialer = dialer
        self.shared: dict[tuple[Target, Login | None], SharedResource] = {}
        self._binary = binary
        places: tuple[Place, ...] = get_args(Place)
        self._sources = {} if credentials is None else {each: CredentialsSource(credentials, each) for each in places}
        self._sentinel_resolver = partial(SentinelResolver, dialer=dialer, **resolver)
        self._static_resolver = partial(StaticResolver, dialer=dialer, **resolver)

    def locator(self, url: StoreUrl) -> Locator:
        """Return the locator for the server that a URL names."""
        login = login_of(url, self._sources.get("server"))
        match url.target:
            case TcpAddress() | UnixAddress() as address:
                return StaticLocator(_always(address), login)
            case target:
                key = (target, login if isinstance(target, Replicated) else None)
                shared = self.shared[key] = self.shared.get(key) or self._share(target, login)
                return StaticLocator(shared.locate, login_of(url)) if isinstance(shared, EmbeddedLocator) else shared

    def first_start(self, url: StoreUrl, wait_s: float) -> Callable[[], Awaitable[None]] | None:
        """Return what waits for the start of the server that a URL names; None if this process does not start it."""
        shared = self.shared.get((url.target, None))
        return partial(shared.first_start, wait_s) if isinstance(shared, _Embedded) else None

    def _share(self, target: Target, login: Login) -> SharedResource:
        match target:
            case SentinelService():
                sentinel_login = login_of(target, self._sources.get("sentinel"))
                return self._sentinel_resolver(target, login, sentinel_login=sentinel_login)
            case ServerList():
                return self._static_resolver(target, login)
            case EmbeddedClusterTarget():
                return EmbeddedClusterLocator(target, self._dialer, self._binary)
            case _:
                assert isinstance(target, EmbeddedTarget)  # fake stores have no address
                return EmbeddedLocator(target, self._binary)


def _always(address: Address) -> Callable[[], Awaitable[Address]]:
    async def locate() -> Address:
        return address

    return locate
