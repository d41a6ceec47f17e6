"""Store URLs: the grammar, and which store gets which logical database.

embedded://                                      a Valkey of this process, gone with it
embedded-sentinel://                             a primary, two replicas and three Sentinels, for drills and tests;
                                                 with ?min_replicas=1 it refuses writes that no replica follows
embedded:///path                                 a Valkey that keeps its data in /path, shared under a file lock
redis://user:password@host:6379/0                also rediss:// (TLS), valkey://, valkeys://
redis://user:password@h1,h2:6380,h3/0            several servers, the one that is a primary is used; also rediss://, …
unix:///run/valkey.sock?db=0                     also unix://user:password@/run/valkey.sock
redis+sentinel://user:password@h1,h2:26379/SERVICE/0?sentinel_user=…&sentinel_password=…
redis+cluster://…                                refused until a later version
fake://name                                      fakeredis inside this process, for tests of apps

docs/connecting.md has the options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import ConfigurationError
from tollhouse.settings.model import DatabaseMode
from tollhouse.stores.urls.hosts import Host, is_port, parse_host_port
from tollhouse.stores.urls.targets import (
    STORES,
    EmbeddedClusterTarget,
    EmbeddedTarget,
    FakeTarget,
    SentinelService,
    ServerList,
    Sharing,
    StoreName,
    StoreUrl,
    Target,
    TcpAddress,
    UnixAddress,
)
from tollhouse.stores.urls.tls import TLS_OPTIONS, read_tls
from tollhouse.suggest import one_of

_REDIS_PORT = 6379
_SENTINEL_PORT = 26379
_TCP = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_SENTINEL = {f"{scheme}+sentinel": tls for scheme, tls in _TCP.items()}
_CLUSTER = tuple(f"{scheme}+cluster" for scheme in _TCP)
_ENOUGH = (EmbeddedTarget, EmbeddedClusterTarget, FakeTarget)
"""Servers of our own, which have databases for all stores."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")
_ADDRESS_END = re.compile(r"[/?#]")
_ESCAPE = "a password is written with %2F, %3F, %23 and %40 for / ? # and @, or stands in a file: ?password_file="
_SERVED = ("embedded", "embedded-sentinel", "fake", "unix", *_TCP, *_SENTINEL)
_FILES = ("username_file", "password_file")
_SENTINEL_LOGIN = ("sentinel_user", "sentinel_password", "sentinel_user_file", "sentinel_password_file")

_OPTIONS: dict[type[Struct], frozenset[str]] = {
    TcpAddress: frozenset({"db", *_FILES, *TLS_OPTIONS}),
    ServerList: frozenset({"db", *_FILES, *TLS_OPTIONS}),
    UnixAddress: frozenset({"db", *_FILES}),
    EmbeddedTarget: frozenset(),
    EmbeddedClusterTarget: frozenset({"min_replicas"}),
    FakeTarget: frozenset({"db"}),
    SentinelService: frozenset({"db", "address_map", *_FILES, *_SENTINEL_LOGIN, *TLS_OPTIONS}),
}


def parse(setting: str, url: str) -> StoreUrl:
    """Read one URL, or raise ConfigurationError naming `setting` and the remedy; passwords are never quoted."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in (*_SERVED, *_CLUSTER):
        shown = scheme if separator and _SCHEME.fullmatch(scheme) else "…"  # without one it may begin with a password
        raise ConfigurationError(setting, shown, f"begin with a scheme and ://; {one_of(scheme, _SERVED)}")
    try:
        return _parse(setting, scheme, url)
    except ConfigurationError:
        # A password with one of these ends the address early: what the error would quote is a part of the password.
        if "@" in rest and "@" not in _ADDRESS_END.split(rest, maxsplit=1)[0]:
            raise ConfigurationError(setting, f"{scheme}://…", _ESCAPE) from None
        raise


def _parse(setting: str, scheme: str, url: str) -> StoreUrl:
    if scheme in _CLUSTER:
        remedy = "Cluster comes with a later version; name one server with redis:// until then"
        raise ConfigurationError(setting, f"{scheme}://…", remedy)
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ConfigurationError(setting, f"{scheme}://…", "the address or the options cannot be read") from None
    options = _options(setting, pairs)
    if parts.fragment:
        raise ConfigurationError(setting, f"{scheme}://…", _ESCAPE)
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = (unquote(part) for part in login.partition(":"))
    target, path_db = _target(setting, scheme, hosts, parts.path, options)
    known = sorted(_OPTIONS[type(target)])
    if unknown := sorted(set(options).difference(known)):
        raise ConfigurationError(setting, unknown[0], f"it is no option of {scheme}://: {one_of(unknown[0], known)}")
    _refuse_both(setting, "a user name before the @", username, "username_file", options)
    _refuse_both(setting, "a password before the @", password, "password_file", options)
    return StoreUrl(
        target=target,
        db=_database(setting, options.get("db") or path_db or "0"),
        username=username or None,
        password=password or None,
        username_file=options.get("username_file"),
        password_file=options.get("password_file"),
    )


def _options(setting: str, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the options; one that is empty, as of a variable that is not set, or that is given twice is an error."""
    options: dict[str, str] = {}
    for name, value in pairs:
        if not value:
            raise ConfigurationError(setting, f"{name}=", "the option is empty; give it a value or leave it out")
        if name in options:
            raise ConfigurationError(setting, name, "the option is given twice; give it once")
        options[name] = value
    return options


def urls_by_store(
    url: str,
    overrides: Mapping[str, str | None],
    *,
    address_map: Sequence[str] = (),
    databases: DatabaseMode = "auto",
) -> dict[StoreName, StoreUrl]:
    """Return the URL of each store: its override, or the common one with the next database.

    The database in the common URL, 0 by default, is that of the first store; stores that share one have it too. The map
    of addresses applies to URLs of Sentinels that have none. Errors name settings, such as `cache_url`.
    """
    common = parse("url", url)
    pairs = _address_map("address_map", address_map)
    last = max((offset for offset, name in enumerate(STORES) if overrides.get(name) is None), default=0)
    urls: dict[StoreName, StoreUrl] = {}
    for offset, name in enumerate(STORES):
        own = overrides.get(name)
        chosen = _following(common, offset, last, databases) if own is None else parse(f"{name}_url", own)
        if isinstance(chosen.target, SentinelService) and not chosen.target.address_map:
            chosen = replace(chosen, target=replace(chosen.target, address_map=pairs))
        urls[name] = chosen
    if pairs and not any(isinstance(url.target, SentinelService) for url in urls.values()):
        remedy = "only Sentinels announce addresses: name them in a URL, or leave it out"
        raise ConfigurationError("address_map", ", ".join(address_map), remedy)
    return urls


def _following(common: StoreUrl, offset: int, last: int, databases: DatabaseMode) -> StoreUrl:
    """Return the URL of a store that follows from the common one; those up to `last` do."""
    own = replace(common, db=common.db + offset)
    if databases == "separate" or not last or isinstance(common.target, _ENOUGH):
        return own
    sharing = Sharing(db=common.db, last=common.db + last, always=databases == "shared")
    return replace(common if sharing.always else own, sharing=sharing)


def _target(setting: str, scheme: str, hosts: str, path: str, options: Mapping[str, str]) -> tuple[Target, str]:
    """Return the target, and the text of the database that its path names; empty when it names none."""
    if scheme == "embedded":
        return EmbeddedTarget(path=path or None), ""
    if scheme == "embedded-sentinel":
        return EmbeddedClusterTarget(min_replicas=_min_replicas(setting, options)), ""
    if scheme == "fake":
        return FakeTarget(name=hosts), path.strip("/")
    if scheme == "unix":
        if not path:
            raise ConfigurationError(setting, "unix://", "name the socket: unix:///run/valkey.sock")
        return UnixAddress(path=unquote(path)), ""
    if scheme in _TCP:
        return _tcp(setting, scheme, hosts, options), path.strip("/")
    service, _, database = path.strip("/").partition("/")
    return _sentinel(setting, scheme, hosts, unquote(service), options), database


def _min_replicas(setting: str, options: Mapping[str, str]) -> int:
    text = options.get("min_replicas", "0")
    if text not in ("0", "1", "2"):
        raise ConfigurationError(setting, f"min_replicas={text}", "it is 0, 1 or 2: there are two replicas")
    return int(text)


def _tcp(setting: str, scheme: str, hosts: str, options: Mapping[str, str]) -> TcpAddress | ServerList:
    first, *others = dict.fromkeys(_hosts(setting, hosts or "localhost", _REDIS_PORT))
    tls = read_tls(setting, scheme, options, tls=_TCP[scheme])
    if others:
        return ServerList(hosts=(first, *others), tls=tls)
    return TcpAddress(host=first[0], port=first[1], tls=tls)


def _sentinel(setting: str, scheme: str, hosts: str, service: str, options: Mapping[str, str]) -> SentinelService:
    if not service:
        raise ConfigurationError(setting, f"{scheme}://…", "name the service: redis+sentinel://h1,h2/SERVICE/0")
    for each in ("sentinel_user", "sentinel_password"):
        _refuse_both(setting, each, options.get(each), f"{each}_file", options)
    return SentinelService(
        hosts=_hosts(setting, hosts, _SENTINEL_PORT),
        service=service,
        tls=read_tls(setting, scheme, options, tls=_SENTINEL[scheme]),
        address_map=_address_map(setting, options.get("address_map", "").split(",")),
        username=options.get("sentinel_user"),
        password=options.get("sentinel_password"),
        username_file=options.get("sentinel_user_file"),
        password_file=options.get("sentinel_password_file"),
    )


def _refuse_both(setting: str, what: str, value: str | None, file: str, options: Mapping[str, str]) -> None:
    """Raise if a URL has both a value and a file for it."""
    if value and options.get(file):
        raise ConfigurationError(setting, file, f"{what} is set too; set one of them")


def _address_map(setting: str, entries: Sequence[str]) -> tuple[tuple[Host, Host], ...]:
    pairs: list[tuple[Host, Host]] = []
    for entry in filter(None, map(str.strip, entries)):
        announced, _, reached = entry.partition("=")
        known, via = parse_host_port(announced), parse_host_port(reached)
        if known is None or via is None:
            raise ConfigurationError(setting, entry, "map an announced address, as 172.18.0.3:6379=127.0.0.1:16379")
        pairs.append((known, via))
    return tuple(pairs)


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
    if not is_port(port_text):
        shown = text if port_text.isdigit() else f"{host}:…"  # a login without its host looks the same
        raise ConfigurationError(setting, shown, "a port is a number from 1 to 65535")
    return unquote(host), int(port_text)


def _database(setting: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise ConfigurationError(setting, text, "a database is a number such as 0")
    return int(text)
