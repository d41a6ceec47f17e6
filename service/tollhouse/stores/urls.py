"""Store URLs: the grammar, the targets that it names, and which store gets which logical database.

embedded://                                      a Valkey of this process, gone with it
embedded-sentinel://                             a primary, two replicas and three Sentinels, for drills and tests
embedded:///path                                 a Valkey that keeps its data in /path, shared under a file lock
redis://user:password@host:6379/0                also rediss:// (TLS; ?ca=FILE names the authority), valkey://, valkeys://
redis://user:password@h1,h2:6380,h3/0            several servers, the one that is a primary is used; also rediss://, …
unix:///run/valkey.sock?db=0                     also unix://user:password@/run/valkey.sock
redis+sentinel://user:password@h1,h2:26379/SERVICE/0?sentinel_user=…&sentinel_password=…
redis+cluster://…                                refused until a later version
fake://name                                      fakeredis inside this process, for tests of apps
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import ConfigurationError

StoreName = Literal["sessions", "limits", "cache", "accounts"]
STORES: tuple[StoreName, ...] = get_args(StoreName)
"""The four stores, in the order of their logical databases."""

Host = tuple[str, int]
"""A host name or IP address, and a port."""

_REDIS_PORT = 6379
_SENTINEL_PORT = 26379
_TCP = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_SENTINEL = {f"{scheme}+sentinel": tls for scheme, tls in _TCP.items()}
_CLUSTER = tuple(f"{scheme}+cluster" for scheme in _TCP)
_SCHEMES = ("embedded", "embedded-sentinel", "fake", "unix", *_TCP, *_SENTINEL, *_CLUSTER)
_HOST_MAX: Final = 253
_HOST: Final = re.compile(r"(?:[\w%:-]{1,63}\.){0,126}[\w%:-]{1,63}\.?", re.ASCII)


class TcpAddress(Struct, frozen=True, kw_only=True):
    """A server at a host and port; `ca` is a file of certificate authorities for TLS."""

    host: str
    port: int
    tls: bool = False
    ca: str | None = None


class ServerList(Struct, frozen=True, kw_only=True):
    """A primary and its replicas in any order, without Sentinels that say which is which."""

    hosts: tuple[Host, ...]
    tls: bool = False
    ca: str | None = None


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
    """A service that Sentinels monitor; the login is the one at the Sentinels. Its repr hides the password."""

    hosts: tuple[Host, ...]
    service: str
    tls: bool = False
    ca: str | None = None
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"SentinelService(hosts={self.hosts!r}, service={self.service!r}, tls={self.tls})"


class EmbeddedClusterTarget(Struct, frozen=True, kw_only=True):
    """Six processes that Tollhouse starts: a primary, two replicas and three Sentinels."""


Replicated = ServerList | SentinelService
Target = TcpAddress | UnixAddress | Replicated | EmbeddedTarget | EmbeddedClusterTarget | FakeTarget

_OPTIONS: dict[type[Struct], frozenset[str]] = {
    TcpAddress: frozenset({"db", "ca"}),
    ServerList: frozenset({"db", "ca"}),
    UnixAddress: frozenset({"db"}),
    EmbeddedTarget: frozenset(),
    EmbeddedClusterTarget: frozenset(),
    FakeTarget: frozenset({"db"}),
    SentinelService: frozenset({"db", "ca", "sentinel_user", "sentinel_password"}),
}


class StoreUrl(Struct, frozen=True, kw_only=True):
    """The target and database of one store, and the login there. Its repr hides passwords."""

    target: Target
    db: int = 0
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"StoreUrl({self.redacted()!r})"

    def redacted(self) -> str:
        """Return the URL for operators and logs, without credentials."""
        match self.target:
            case TcpAddress(host=host, port=port, tls=tls):
                return f"{'rediss' if tls else 'redis'}://{format_host((host, port))}/{self.db}"
            case ServerList(hosts=hosts, tls=tls):
                return f"{'rediss' if tls else 'redis'}://{_joined(hosts)}/{self.db}"
            case UnixAddress(path=path):
                return f"unix://{path}?db={self.db}"
            case EmbeddedTarget(path=path):
                return f"embedded://{path or ''} (database {self.db})"
            case EmbeddedClusterTarget():
                return f"embedded-sentinel:// (database {self.db})"
            case SentinelService(hosts=hosts, service=service, tls=tls):
                return f"{'rediss' if tls else 'redis'}+sentinel://{_joined(hosts)}/{service}/{self.db}"
            case _ as fake:
                return f"fake://{fake.name}?db={self.db}"


def parse(setting: str, url: str) -> StoreUrl:
    """Read one URL, or raise ConfigurationError naming `setting` and the remedy; passwords are never quoted."""
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ConfigurationError(setting, scheme or url[:20], f"begin with one of {', '.join(_SCHEMES)} and ://")
    if scheme in _CLUSTER:
        remedy = "Cluster comes with a later version; name one server with redis:// until then"
        raise ConfigurationError(setting, f"{scheme}://…", remedy)
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ConfigurationError(setting, f"{scheme}://…", "the address or the options cannot be read") from None
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = (unquote(part) for part in login.partition(":"))
    target, path_db = _target(setting, scheme, hosts, parts.path, options)
    unknown = sorted(set(options) - _OPTIONS[type(target)])
    if unknown:
        known = ", ".join(sorted(_OPTIONS[type(target)])) or "none"
        raise ConfigurationError(setting, unknown[0], f"not an option of {scheme}://; known: {known}")
    return StoreUrl(
        target=target,
        db=_database(setting, options.get("db") or path_db or "0"),
        username=username or None,
        password=password or None,
    )


def urls_by_store(url: str, overrides: Mapping[str, str | None]) -> dict[StoreName, StoreUrl]:
    """Return the URL of each store: its override, or the common one with the next database.

    The database in the common URL, 0 by default, is that of the first store.
    """
    common = parse("TOLLHOUSE_URL", url)
    urls: dict[StoreName, StoreUrl] = {}
    for offset, name in enumerate(STORES):
        own = overrides.get(name)
        setting = f"TOLLHOUSE_{name.upper()}_URL"
        urls[name] = replace(common, db=common.db + offset) if own is None else parse(setting, own)
    return urls


def read_host(name: str, port: str) -> Host | None:
    """Return a host and port that a server sent; None if no client could connect to them."""
    if len(name) > _HOST_MAX or not _HOST.fullmatch(name):
        return None
    return (name, int(port)) if _is_port(port) else None


def parse_host_port(text: str) -> Host | None:
    """Read `host:port`. The port follows the last colon, because IPv6 addresses have others."""
    name, _, port = text.rpartition(":")
    return read_host(name.removeprefix("[").removesuffix("]"), port)


def format_host(host: Host) -> str:
    """Return `host:port`, with an IPv6 address in brackets."""
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _target(setting: str, scheme: str, hosts: str, path: str, options: Mapping[str, str]) -> tuple[Target, str]:
    """Return the target, and the text of the database that its path names; empty when it names none."""
    if scheme == "embedded":
        return EmbeddedTarget(path=path or None), ""
    if scheme == "embedded-sentinel":
        return EmbeddedClusterTarget(), ""
    if scheme == "fake":
        return FakeTarget(name=hosts), path.strip("/")
    if scheme == "unix":
        if not path:
            raise ConfigurationError(setting, "unix://", "name the socket: unix:///run/valkey.sock")
        return UnixAddress(path=unquote(path)), ""
    if scheme in _TCP:
        return _tcp(setting, scheme, hosts, options.get("ca")), path.strip("/")
    service, _, database = path.strip("/").partition("/")
    return _sentinel(setting, scheme, hosts, unquote(service), options), database


def _tcp(setting: str, scheme: str, hosts: str, ca: str | None) -> TcpAddress | ServerList:
    first, *others = dict.fromkeys(_hosts(setting, hosts or "localhost", _REDIS_PORT))
    if others:
        return ServerList(hosts=(first, *others), tls=_TCP[scheme], ca=ca)
    return TcpAddress(host=first[0], port=first[1], tls=_TCP[scheme], ca=ca)


def _sentinel(setting: str, scheme: str, hosts: str, service: str, options: Mapping[str, str]) -> SentinelService:
    if not service:
        raise ConfigurationError(setting, f"{scheme}://…", "name the service: redis+sentinel://h1,h2/SERVICE/0")
    return SentinelService(
        hosts=_hosts(setting, hosts, _SENTINEL_PORT),
        service=service,
        tls=_SENTINEL[scheme],
        ca=options.get("ca"),
        username=options.get("sentinel_user"),
        password=options.get("sentinel_password"),
    )


def _hosts(setting: str, text: str, default_port: int) -> tuple[Host, ...]:
    hosts = tuple(_host(setting, part.strip(), default_port) for part in text.split(","))
    if not all(host for host, _ in hosts):
        raise ConfigurationError(setting, text, "name a host")
    return hosts


def _host(setting: str, text: str, default_port: int) -> Host:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port_text = rest.removeprefix(":") if bracket and rest[:1] in ("", ":") else "?"
    else:
        host, _, port_text = text.partition(":")
    if not port_text:
        return unquote(host), default_port
    if not _is_port(port_text):
        raise ConfigurationError(setting, text, "a port is a number from 1 to 65535")
    return unquote(host), int(port_text)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536


def _database(setting: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise ConfigurationError(setting, text, "a database is a number such as 0")
    return int(text)


def _joined(hosts: tuple[Host, ...]) -> str:
    return ",".join(map(format_host, hosts))
