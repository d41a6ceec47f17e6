"""What a URL names: the servers of a store, their database, and the login there."""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct

from tollhouse.stores.urls.hosts import Host, format_host
from tollhouse.stores.urls.tls import Tls

StoreName = Literal["sessions", "limits", "cache", "accounts"]
STORES: tuple[StoreName, ...] = get_args(StoreName)
"""The four stores, in the order of their logical databases."""


class TcpAddress(Struct, frozen=True, kw_only=True):
    """A server at a host and port; behind NAT it is reached `via` another one, which TLS checks as well."""

    host: str
    port: int
    tls: Tls | None = None
    via: Host | None = None

    @property
    def dialed(self) -> Host:
        """Return the host and port to connect to."""
        return self.via or (self.host, self.port)


class ServerList(Struct, frozen=True, kw_only=True):
    """A primary and its replicas in any order, without Sentinels that say which is which."""

    hosts: tuple[Host, ...]
    tls: Tls | None = None


class UnixAddress(Struct, frozen=True, kw_only=True):
    """A server behind a unix socket."""

    path: str


class EmbeddedTarget(Struct, frozen=True, kw_only=True):
    """A server that Tollhouse starts; without a path nothing is kept on disk."""

    path: str | None = None


class FakeTarget(Struct, frozen=True, kw_only=True):
    """A fakeredis in this process; the same name means the same data."""

    name: str = ""


class SentinelService(Struct, frozen=True, kw_only=True):
    """A service that Sentinels monitor; the login is the one at the Sentinels. Its repr hides the password.

    `address_map` has the hosts as Sentinels announce them, each with the one that reaches it from here.
    """

    hosts: tuple[Host, ...]
    service: str
    tls: Tls | None = None
    address_map: tuple[tuple[Host, Host], ...] = ()
    username: str | None = None
    password: str | None = None
    username_file: str | None = None
    password_file: str | None = None

    def __repr__(self) -> str:
        return f"SentinelService(hosts={self.hosts!r}, service={self.service!r}, tls={self.tls})"


class EmbeddedClusterTarget(Struct, frozen=True, kw_only=True):
    """Six processes that Tollhouse starts: a primary, two replicas and three Sentinels.

    A primary refuses writes while fewer than `min_replicas` replicas follow it.
    """

    min_replicas: int = 0


Replicated = ServerList | SentinelService
Target = TcpAddress | UnixAddress | Replicated | EmbeddedTarget | EmbeddedClusterTarget | FakeTarget


class Sharing(Struct, frozen=True, kw_only=True):
    """The database `db` that stores of one URL share: `always`, or if the server has none with the number `last`."""

    db: int
    last: int
    always: bool = False


class StoreUrl(Struct, frozen=True, kw_only=True):
    """The target and database of one store, and the login there. Its repr hides passwords.

    A store that follows from the common URL may be `sharing` a database with others.
    """

    target: Target
    db: int = 0
    sharing: Sharing | None = None
    username: str | None = None
    password: str | None = None
    username_file: str | None = None
    password_file: str | None = None

    def __repr__(self) -> str:
        return f"StoreUrl({self.redacted()!r})"

    def redacted(self) -> str:
        """Return the URL for operators and logs, without credentials."""
        match self.target:
            case UnixAddress() | FakeTarget():
                return f"{self.server}?db={self.db}"
            case EmbeddedTarget() | EmbeddedClusterTarget():
                return f"{self.server} (database {self.db})"
            case _:
                return f"{self.server}/{self.db}"

    @property
    def server(self) -> str:
        """The same without the database."""
        match self.target:
            case TcpAddress(host=host, port=port, tls=tls):
                return f"{'rediss' if tls else 'redis'}://{format_host((host, port))}"
            case ServerList(hosts=hosts, tls=tls):
                return f"{'rediss' if tls else 'redis'}://{_joined(hosts)}"
            case UnixAddress(path=path):
                return f"unix://{path}"
            case EmbeddedTarget(path=path):
                return f"embedded://{path or ''}"
            case EmbeddedClusterTarget(min_replicas=least):
                return f"embedded-sentinel://{f'?min_replicas={least}' if least else ''}"
            case SentinelService(hosts=hosts, service=service, tls=tls):
                return f"{'rediss' if tls else 'redis'}+sentinel://{_joined(hosts)}/{service}"
            case _:
                return f"fake://{self.target.name}"


def address_of(target: Replicated, host: Host) -> TcpAddress:
    """Return the address of a server or Sentinel that is known as `host`; every map of addresses is applied here."""
    via = dict(target.address_map).get(host) if isinstance(target, SentinelService) else None
    return TcpAddress(host=host[0], port=host[1], tls=target.tls, via=via)


def _joined(hosts: tuple[Host, ...]) -> str:
    return ",".join(map(format_host, hosts))
