"""Store URLs: what is accepted, what is refused, and how the four stores share a server."""

from __future__ import annotations

import pytest

from tollhouse.errors import ConfigurationError
from tollhouse.settings.model import DatabaseMode
from tollhouse.stores.urls import (
    EmbeddedClusterTarget,
    EmbeddedTarget,
    FakeTarget,
    Host,
    SentinelService,
    ServerList,
    Sharing,
    StoreUrl,
    Target,
    TcpAddress,
    Tls,
    UnixAddress,
    address_of,
    format_host,
    parse,
    parse_host_port,
    read_host,
    urls_by_store,
)

#   url, target, database, user name, password
ACCEPTED: list[tuple[str, Target, int, str | None, str | None]] = [
    ("embedded://", EmbeddedTarget(), 0, None, None),
    ("embedded:///var/lib/t", EmbeddedTarget(path="/var/lib/t"), 0, None, None),
    ("redis://", TcpAddress(host="localhost", port=6379), 0, None, None),
    ("redis://h:1234/5", TcpAddress(host="h", port=1234), 5, None, None),
    ("redis://h?db=7", TcpAddress(host="h", port=6379), 7, None, None),
    ("valkey://[::1]:7000", TcpAddress(host="::1", port=7000), 0, None, None),
    ("valkey://[::1]", TcpAddress(host="::1", port=6379), 0, None, None),
    ("rediss://ada:p%40ss@h/1?ca=/ca.pem", TcpAddress(host="h", port=6379, tls=Tls(ca="/ca.pem")), 1, "ada", "p@ss"),
    ("valkeys://:only@h", TcpAddress(host="h", port=6379, tls=Tls()), 0, None, "only"),
    ("unix:///run/v.sock?db=2", UnixAddress(path="/run/v.sock"), 2, None, None),
    ("unix://ada:pw@/run/v.sock", UnixAddress(path="/run/v.sock"), 0, "ada", "pw"),
    ("fake://tests/3", FakeTarget(name="tests"), 3, None, None),
    ("fake://", FakeTarget(), 0, None, None),
    (
        "redis+sentinel://u:p@h1,h2:26380,[::1]/main/2?sentinel_user=s&sentinel_password=t",
        SentinelService(
            hosts=(("h1", 26379), ("h2", 26380), ("::1", 26379)), service="main", username="s", password="t"
        ),
        2,
        "u",
        "p",
    ),
    ("rediss+sentinel://h/main", SentinelService(hosts=(("h", 26379),), service="main", tls=Tls()), 0, None, None),
    ("redis://a,b:1,[::1]/3", ServerList(hosts=(("a", 6379), ("b", 1), ("::1", 6379))), 3, None, None),
    ("valkeys://u:p@a,b?ca=/c", ServerList(hosts=(("a", 6379), ("b", 6379)), tls=Tls(ca="/c")), 0, "u", "p"),
    ("redis://a,a:6379", TcpAddress(host="a", port=6379), 0, None, None),
    ("embedded-sentinel://", EmbeddedClusterTarget(), 0, None, None),
    ("embedded-sentinel://?min_replicas=1", EmbeddedClusterTarget(min_replicas=1), 0, None, None),
    (
        "rediss://h?ssl_ca_certs=/ca&ssl_certfile=/c&ssl_keyfile=/k&ssl_password=p",
        TcpAddress(host="h", port=6379, tls=Tls(ca="/ca", certificate="/c", key="/k", key_password="p")),
        0,
        None,
        None,
    ),
    ("rediss://h?ssl_cert_reqs=none", TcpAddress(host="h", port=6379, tls=Tls(verified=False)), 0, None, None),
    ("rediss://h?ssl_cert_reqs=CERT_REQUIRED", TcpAddress(host="h", port=6379, tls=Tls()), 0, None, None),
    (
        "rediss+sentinel://h/main?ssl_certfile=/c",
        SentinelService(hosts=(("h", 26379),), service="main", tls=Tls(certificate="/c")),
        0,
        None,
        None,
    ),
    (
        "redis+sentinel://h/main?address_map=172.18.0.3:6379=127.0.0.1:16379,[::1]:6379=db.example:1",
        SentinelService(
            hosts=(("h", 26379),),
            service="main",
            address_map=((("172.18.0.3", 6379), ("127.0.0.1", 16379)), (("::1", 6379), ("db.example", 1))),
        ),
        0,
        None,
        None,
    ),
]

#   url, part of the remedy
REFUSED = [
    ("localhost:6379", "begin with a scheme"),
    ("http://h", "begin with a scheme"),
    ("redis://a,,b", "name a host"),
    ("redis://a,b?service=c", "no option of redis://"),
    ("redis://h:port", "a port is a number"),
    ("redis://h:70000", "a port is a number"),
    ("redis://[::1]x", "a port is a number"),
    ("redis://h/one", "a database is a number"),
    ("redis://h?dB=1", "did you mean 'db'?"),
    ("embedded-sentinel://?min_replicas=3", "it is 0, 1 or 2"),
    ("embedded://?db=1", "no option of embedded://: known are none"),
    ("redis://h?db", "cannot be read"),
    ("redis://h?ca=/ca", "redis:// has no TLS; begin with rediss://"),
    ("valkey+sentinel://h/main?ssl_certfile=/c", "begin with valkeys+sentinel://"),
    ("rediss://h?ca=/a&ssl_ca_certs=/b", "means the same"),
    ("redis://:p@h?password_file=/p", "a password before the @ is set too"),
    ("unix://ada@/s?username_file=/u", "a user name before the @ is set too"),
    ("redis+sentinel://h/main?sentinel_password=p&sentinel_password_file=/p", "sentinel_password is set too"),
    ("redis://h?passwordfile=/p", "did you mean 'password_file'? Known are ca, db, password_file"),
    ("rediss://h?ssl_keyfile=/k", "ssl_certfile=FILE"),
    ("rediss://h?ssl_cert_reqs=maybe", "known are required, optional, none"),
    ("rediss://h?ssl_cert_reqs=requierd", "did you mean 'required'?"),
    ("rediss://h?ssl_ca_cert=/ca", "did you mean 'ssl_ca_certs'?"),
    ("reddis://h", "did you mean 'redis'?"),
    ("REDISS://h", "did you mean 'rediss'?"),
    ("embeded://", "did you mean 'embedded'?"),
    ("valky+sentinal://h/main", "did you mean 'valkey+sentinel'?"),
    ("redis+sentinel://h/main?address_map=10.0.0.1=h:1", "172.18.0.3:6379=127.0.0.1:16379"),
    ("redis+sentinel://h/main?address_map=10.0.0.1:1", "172.18.0.3:6379=127.0.0.1:16379"),
    ("rediss://h?ca=", "the option is empty"),
    ("redis://h?db=1&db=2", "give it once"),
    ("redis://h/0#part", "%23"),
    ("redis://[::1", "cannot be read"),
    ("unix://", "name the socket"),
    ("redis+sentinel://h", "name the service"),
    ("redis+sentinel://,h/main", "name a host"),
    ("redis+cluster://h", "name one server with redis://"),
    ("valkeys+cluster://a,b:1", "name one server with redis://"),
]


@pytest.mark.parametrize(("url", "target", "db", "username", "password"), ACCEPTED)
def test_a_url_names_place_database_and_login(
    url: str, target: Target, db: int, username: str | None, password: str | None
) -> None:
    """Every scheme of the grammar is read into its target, database and credentials."""
    assert parse("TOLLHOUSE_URL", url) == StoreUrl(target=target, db=db, username=username, password=password)


def test_a_scheme_that_is_not_served_yet_is_not_offered() -> None:
    """The schemes of Cluster have an error of their own, and no other error offers them."""
    with pytest.raises(ConfigurationError) as raised:
        parse("TOLLHOUSE_URL", "http://h")

    assert "rediss+sentinel" in raised.value.remedy
    assert "cluster" not in raised.value.remedy


SECRET = "S3cr3tW0rd"
UNREADABLE = [
    "ada:{}@host:6379",
    "redis:/ada:{}@host/0",
    "redis://ada:{}/x@host/0",
    "redis://ada:x/{}@host/0",
    "redis://ada:x#{}@host/0",
    "redis://ada:{}#x@host/0",
    "redis://ada:x?{}@host/0",
    "redis://ada:1?{}=x@host/0",
    "redis://ada:1/{}@host/0",
    "redis://1/{}@host",
    "redis+sentinel://ada:{}/x@h1,h2/main/0",
    "redis+sentinel://ada:1/{}@h1,h2/main/0",
    "redis://ada:{}:6379/0",
    "ada@{}://host",
]


@pytest.mark.parametrize("url", UNREADABLE)
def test_a_password_that_is_not_escaped_is_not_quoted(url: str) -> None:
    """Whatever a password does to the reading of its URL, no error repeats a part of it."""
    with pytest.raises(ConfigurationError) as raised:
        parse("TOLLHOUSE_URL", url.format(SECRET))

    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(("url", "remedy"), REFUSED)
def test_a_bad_url_is_refused_with_its_remedy(url: str, remedy: str) -> None:
    """A URL that cannot be used raises ConfigurationError naming the setting and what to do."""
    with pytest.raises(ConfigurationError) as raised:
        parse("TOLLHOUSE_CACHE_URL", url)

    assert raised.value.setting == "TOLLHOUSE_CACHE_URL"
    assert remedy in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://ada:sesame@h/2", "redis://h:6379/2"),
        ("rediss://:sesame@[::1]", "rediss://[::1]:6379/0"),
        ("rediss://:sesame@a,[::1]/1", "rediss://a:6379,[::1]:6379/1"),
        ("embedded-sentinel://", "embedded-sentinel:// (database 0)"),
        ("embedded-sentinel://?min_replicas=1", "embedded-sentinel://?min_replicas=1 (database 0)"),
        ("unix://ada:sesame@/s?db=1", "unix:///s?db=1"),
        ("embedded:///data", "embedded:///data (database 0)"),
        ("fake://x", "fake://x?db=0"),
        ("rediss://h?ssl_certfile=/c&ssl_password=sesame", "rediss://h:6379/0"),
        ("rediss+sentinel://ada:sesame@a,b/main?sentinel_password=sesame", "rediss+sentinel://a:26379,b:26379/main/0"),
    ],
)
def test_a_place_is_shown_without_credentials(url: str, shown: str) -> None:
    """Neither the description nor the repr of a URL holds a password."""
    place = parse("TOLLHOUSE_URL", url)

    assert place.redacted() == shown
    assert "sesame" not in repr(place)
    assert "sesame" not in repr(place.target)


@pytest.mark.parametrize(
    "url", ["redis://u:sesame@h:port", "sesame", "redis://u:sesame@[::1", "redis+cluster://u:sesame@h"]
)
def test_an_error_does_not_quote_a_password(url: str) -> None:
    """What is wrong with a URL is told without its credentials."""
    with pytest.raises(ConfigurationError) as raised:
        parse("TOLLHOUSE_URL", url)

    assert "u:sesame" not in str(raised.value)


def test_four_stores_get_four_databases() -> None:
    """C-5, S2-13: without overrides the four stores take consecutive databases, from the one in the URL on."""
    places = urls_by_store("redis://h/4", {})

    assert {name: place.db for name, place in places.items()} == {
        "sessions": 4,
        "limits": 5,
        "cache": 6,
        "accounts": 7,
    }


#    the setting, overrides, and of each store: its database, and which one it may share, up to which it needs its own
DATABASES: list[tuple[DatabaseMode, dict[str, str | None], list[tuple[int, Sharing | None]]]] = [
    ("separate", {}, [(4, None), (5, None), (6, None), (7, None)]),
    ("auto", {}, [(db, Sharing(db=4, last=7)) for db in (4, 5, 6, 7)]),
    ("shared", {}, [(4, Sharing(db=4, last=7, always=True))] * 4),
    ("auto", {"accounts": "redis://h/0"}, [*[(db, Sharing(db=4, last=6)) for db in (4, 5, 6)], (0, None)]),
    ("shared", {"sessions": "redis://h/9"}, [(9, None), *[(4, Sharing(db=4, last=7, always=True))] * 3]),
    ("auto", dict.fromkeys(("limits", "cache", "accounts"), "redis://h/9"), [(4, None), *[(9, None)] * 3]),
]


@pytest.mark.parametrize(("mode", "overrides", "expected"), DATABASES)
def test_stores_of_the_common_url_may_share_its_database(
    mode: DatabaseMode, overrides: dict[str, str | None], expected: list[tuple[int, Sharing | None]]
) -> None:
    """Those that follow from the common URL may, if there are several; one with a URL of its own never does."""
    urls = urls_by_store("redis://h/4", overrides, databases=mode)
    assert [(url.db, url.sharing) for url in urls.values()] == expected


@pytest.mark.parametrize("url", ["embedded://", "embedded:///here", "embedded-sentinel://", "fake://x"])
@pytest.mark.parametrize("mode", ["auto", "shared"])
def test_servers_of_our_own_have_enough_databases(url: str, mode: DatabaseMode) -> None:
    """There each store has its own."""
    assert {one.sharing for one in urls_by_store(url, {}, databases=mode).values()} == {None}


def test_one_store_can_have_a_server_of_its_own() -> None:
    """S4-57: an override moves one store to another server and database, and leaves the others."""
    places = urls_by_store("embedded://", {"cache": "redis://elsewhere/9"})

    assert places["cache"] == StoreUrl(target=TcpAddress(host="elsewhere", port=6379), db=9)
    assert places["limits"] == StoreUrl(target=EmbeddedTarget(), db=1)


def test_a_map_of_addresses_applies_to_sentinels_without_one() -> None:
    """The common map of addresses is that of each Sentinel URL, unless the URL has its own; other URLs have none."""
    own = "redis+sentinel://h/main?address_map=a:1=b:2"
    overrides = {"cache": own, "accounts": "redis://elsewhere"}
    places = urls_by_store("redis+sentinel://h/main", overrides, address_map=("c:3=d:4",))

    assert [address_of(places[name].target, ("c", 3)).dialed for name in ("sessions", "limits")] == [("d", 4)] * 2  # type: ignore[arg-type] - a Sentinel service
    assert places["cache"] == parse("TOLLHOUSE_CACHE_URL", own)
    assert places["accounts"] == parse("TOLLHOUSE_ACCOUNTS_URL", "redis://elsewhere")
    with pytest.raises(ConfigurationError, match=r"^address_map:"):
        urls_by_store("embedded://", {}, address_map=("here",))


def test_addresses_are_mapped_for_sentinels_only() -> None:
    """A map of addresses without Sentinels, which alone announce some, is refused: it would have no effect."""
    with pytest.raises(ConfigurationError) as refused:
        urls_by_store("redis://h", {"cache": "unix:///s"}, address_map=("a:1=b:2",))

    assert (refused.value.setting, refused.value.value) == ("address_map", "a:1=b:2")
    assert "Sentinels" in refused.value.remedy


def test_an_address_that_is_not_mapped_is_used_as_it_is() -> None:
    """The map changes the destination of a connection, and not the name by which a server is known."""
    target = SentinelService(hosts=(("h", 1),), service="main", address_map=((A, ("127.0.0.1", 2)),))

    assert (address_of(target, A).host, address_of(target, A).dialed) == (A[0], ("127.0.0.1", 2))
    assert address_of(target, ("other", 3)).dialed == ("other", 3)
    assert address_of(ServerList(hosts=(A,), tls=Tls()), A) == TcpAddress(host=A[0], port=A[1], tls=Tls())


def test_a_bad_override_names_its_own_setting() -> None:
    """The error of an override names the store's setting, not the common one."""
    with pytest.raises(ConfigurationError, match=r"^sessions_url:"):
        urls_by_store("embedded://", {"sessions": "nonsense"})


A: Host = ("10.0.0.1", 6379)

HOSTS: list[tuple[str, str, Host | None]] = [
    ("10.0.0.1", "6379", A),
    ("valkey-0.valkey.svc", "6379", ("valkey-0.valkey.svc", 6379)),
    ("fe80::1%eth0", "1", ("fe80::1%eth0", 1)),
    ("host.", "65535", ("host.", 65535)),
    ("", "6379", None),
    ("a..b", "6379", None),
    ("x" * 64, "6379", None),
    (".".join(["x" * 60] * 5), "6379", None),
    ("a b", "6379", None),
    ("häst", "6379", None),
    ("h", "0", None),
    ("h", "65536", None),
    ("h", "-1", None),
    ("h", "\u0661", None),
    ("h", "123456", None),
]


@pytest.mark.parametrize(("name", "port", "host"), HOSTS)
def test_only_addresses_that_can_be_connected_to_are_read(name: str, port: str, host: Host | None) -> None:
    """A name that no resolver could take, or a port out of range, is no address."""
    assert read_host(name, port) == host


def test_addresses_are_formatted_and_read_back() -> None:
    """IPv6 addresses are formatted in brackets, and both forms are read."""
    assert (format_host(A), format_host(("::1", 6379))) == ("10.0.0.1:6379", "[::1]:6379")
    assert parse_host_port("[::1]:6379") == parse_host_port("::1:6379") == ("::1", 6379)
