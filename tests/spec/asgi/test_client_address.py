"""Client addresses: only trusted proxies are believed, and no client can choose its own key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.asgi.client_address import NO_ADDRESS, ClientAddresses
from tollhouse.asgi.forwarding_notices import ForwardingNotices
from tollhouse.errors import ConfigurationError
from tollhouse.settings.networks import Network, trusted_networks

TRUSTED = trusted_networks(("loopback", "private", "2001:db8:ffff::/48"))


def client_address(scope: Mapping[str, object], trusted: Sequence[Network] = (), bits: int = 64) -> str:
    return ClientAddresses(trusted, ipv6_prefix_bits=bits, notices=ForwardingNotices()).client_of(scope)


def scope(peer: str | None, *headers: tuple[str, str]) -> dict[str, object]:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "client": None if peer is None else (peer, 4711), "headers": encoded}


def listed(value: str) -> tuple[str, str]:
    return ("x-forwarded-for", value)


def forwarded(value: str) -> tuple[str, str]:
    return ("forwarded", value)


PEERS = [
    ("192.0.2.1", "192.0.2.1"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("fe80::1%eth0", "fe80::/64"),
    ("::ffff:192.0.2.1", "192.0.2.1"),
    ("::1", "::/64"),
    (None, NO_ADDRESS),
    ("", NO_ADDRESS),
    ("/run/app.sock", NO_ADDRESS),
    ("testclient", NO_ADDRESS),
]


@pytest.mark.parametrize(("peer", "key"), PEERS)
def test_the_peer_is_the_client(peer: str | None, key: str) -> None:
    """Without trust the client is the peer: IPv4 as it is, IPv6 by its /64, IPv4 inside IPv6 unwrapped, no zone."""
    assert client_address(scope(peer, listed("203.0.113.9"), forwarded("for=203.0.113.9"))) == key


PREFIXES = [
    (64, "2001:db8:1:2::/64"),
    (56, "2001:db8:1::/56"),
    (48, "2001:db8:1::/48"),
    (32, "2001:db8::/32"),
]


@pytest.mark.parametrize(("bits", "key"), PREFIXES)
def test_an_ipv6_client_is_counted_by_the_prefix_that_is_set(bits: int, key: str) -> None:
    """A provider that gives each customer a /56 or a /48 is counted by that; IPv4 is not touched."""
    assert client_address(scope("2001:db8:1:2:3:4:5:6"), bits=bits) == key
    assert client_address(scope("10.0.0.1", listed("2001:db8:1:2::7")), TRUSTED, bits=bits) == key
    assert client_address(scope("192.0.2.1"), bits=bits) == "192.0.2.1"


@pytest.mark.parametrize("bits", [0, 31, 65, 128])
def test_a_prefix_that_is_no_network_of_one_client_is_refused(bits: int) -> None:
    """Above 64 bits a client has as many keys as it likes; below 32 providers would share one."""
    with pytest.raises(ConfigurationError) as refused:
        ClientAddresses(ipv6_prefix_bits=bits)

    assert (refused.value.setting, refused.value.value) == ("ipv6_prefix_bits", bits)


#    peer, key
TRANSLATED = [
    ("64:ff9b::8.8.8.8", "8.8.8.8"),  # NAT64 and other translators, RFC 6052
    ("64:ff9b::808:809", "8.8.8.9"),
    ("2002:808:808::1", "8.8.8.8"),  # 6to4, RFC 3056
    ("2002:808:808:7:1:2:3:4", "8.8.8.8"),
    ("::ffff:10.0.0.9", "10.0.0.9"),  # IPv4 on a socket of both families
    ("64:ff9b::10.0.0.9", "64:ff9b::/64"),  # made up: the well-known prefix never stands for a private address
    ("2002:a00:9::1", "2002:a00:9::/64"),
    ("2002:7f00:1::1", "2002:7f00:1::/64"),
    ("64:ff9b:1::8.8.8.8", "64:ff9b:1::/64"),  # an operator's own prefix: its bits are not known
    ("2001:0:4136:e378:8000:63bf:f7f7:f7f7", "2001:0:4136:e378::/64"),
]


@pytest.mark.parametrize(("peer", "key"), TRANSLATED)
def test_an_address_that_contains_a_global_ipv4_address_is_counted_by_it(peer: str, key: str) -> None:
    """All of IPv4 is in one /64 of a translator, and one site with 6to4 in 65,536: both count by IPv4."""
    assert client_address(scope(peer)) == key


@pytest.mark.parametrize("peer", ["2002:7f00:1::1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::1"])
def test_no_translated_address_is_a_trusted_proxy(peer: str) -> None:
    """An address inside another is never trusted for it: who can send from such an address chooses what is inside."""
    assert client_address(scope(peer, listed("192.0.2.1")), TRUSTED) == client_address(scope(peer))


def test_a_mapped_network_of_proxies_is_the_network_inside() -> None:
    """A proxy may be written as sockets of both families show it."""
    assert client_address(scope("10.0.0.7", listed("192.0.2.1")), trusted_networks(["::ffff:10.0.0.7"])) == "192.0.2.1"


WALKS = [
    ("203.0.113.1", [listed("192.0.2.1")], "203.0.113.1"),  # the peer is not trusted, whatever it says
    ("10.0.0.1", [], "10.0.0.1"),
    ("10.0.0.1", [("host", "example.org"), listed("192.0.2.1")], "192.0.2.1"),
    ("10.0.0.1", [listed("198.51.100.7, 192.0.2.1")], "192.0.2.1"),  # what the client wrote stays unread
    ("10.0.0.1", [listed("garbage, 192.0.2.1, 10.0.0.2")], "192.0.2.1"),
    ("10.0.0.1", [listed("198.51.100.7"), listed("192.0.2.1")], "192.0.2.1"),  # one list over two lines
    ("10.0.0.1", [listed("10.0.0.3, 10.0.0.2")], "10.0.0.3"),  # all trusted: the one furthest away
    ("10.0.0.1", [listed("192.0.2.1:443")], "192.0.2.1"),
    ("10.0.0.1", [listed("[2001:db8:1:2::7]:443")], "2001:db8:1:2::/64"),
    ("10.0.0.1", [listed("2001:db8:1:2::7%1")], "2001:db8:1:2::/64"),
    ("::ffff:10.0.0.1", [listed("::ffff:192.0.2.1")], "192.0.2.1"),
    ("2001:db8:ffff::1", [listed("192.0.2.1")], "192.0.2.1"),
    ("10.0.0.1", [listed("")], "10.0.0.1"),
    ("10.0.0.1", [listed("unknown")], "10.0.0.1"),
    ("10.0.0.1", [listed("[]")], "10.0.0.1"),
    ("10.0.0.1", [listed("192.0.2.1, []:80")], "10.0.0.1"),
    ("10.0.0.1", [listed(":80")], "10.0.0.1"),
    ("10.0.0.1", [forwarded('for="[]"')], "10.0.0.1"),
    ("10.0.0.1", [listed("192.0.2.1,")], "10.0.0.1"),
    ("10.0.0.1", [listed("192.0.2.1," + "10.0.0.2," * 40 + "10.0.0.3")], "192.0.2.1"),
    ("10.0.0.1", [listed("192.0.2.1," + "10.0.0.2," * 80 + "10.0.0.3")], "10.0.0.1"),  # beyond every real chain
    ("10.0.0.1", [forwarded("for=192.0.2.1;proto=https;by=10.0.0.1")], "192.0.2.1"),
    ("10.0.0.1", [forwarded('For="[2001:db8:1:2::7]:443", for=10.0.0.2')], "2001:db8:1:2::/64"),
    ("10.0.0.1", [forwarded('for="198.51.100.7, x", for=192.0.2.1')], "192.0.2.1"),
    ("10.0.0.1", [forwarded("for=_hidden")], "10.0.0.1"),
    ("10.0.0.1", [forwarded("proto=https")], "10.0.0.1"),
    ("10.0.0.1", [forwarded('for="192.0.2.1')], "10.0.0.1"),  # an open quote swallows what the proxy appended
    ("10.0.0.1", [forwarded('for=", for=192.0.2.1')], "10.0.0.1"),
    ("10.0.0.1", [forwarded("a=b;" * 1_000 + "for=192.0.2.1")], "192.0.2.1"),
    ("10.0.0.1", [forwarded("a=b;" * 1_100 + "for=192.0.2.1")], "10.0.0.1"),  # longer than every real chain
    ("10.0.0.1", [listed("192.0.2.1"), forwarded("for=192.0.2.1")], "192.0.2.1"),
    ("10.0.0.1", [listed("192.0.2.1"), forwarded("for=198.51.100.7")], "10.0.0.1"),  # one of the two was let through
    ("10.0.0.1", [listed("192.0.2.1"), forwarded("nonsense")], "10.0.0.1"),
    (None, [listed("192.0.2.1")], "192.0.2.1"),  # a unix socket is as near as loopback
]


@pytest.mark.parametrize(("peer", "headers", "key"), WALKS)
def test_trusted_proxies_are_believed_hop_by_hop(peer: str | None, headers: list[tuple[str, str]], key: str) -> None:
    """The client is the first address from the right that is not trusted; what is malformed names the peer."""
    assert client_address(scope(peer, *headers), TRUSTED) == key


def test_a_unix_socket_is_not_trusted_by_default() -> None:
    """A peer without an address is trusted only if loopback is."""
    assert client_address(scope(None, listed("192.0.2.1")), trusted_networks(("10.0.0.0/8",))) == NO_ADDRESS


PUBLIC = st.one_of(st.ip_addresses(network="198.51.100.0/24"), st.ip_addresses(network="2001:db8:1::/48"))
LATIN = st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=80)


@given(real=PUBLIC, claim=LATIN, others=LATIN)
def test_no_header_of_a_client_changes_its_key(real: IPv4Address | IPv6Address, claim: str, others: str) -> None:
    """Behind one proxy that appends to X-Forwarded-For, a client's own headers give its own key or the proxy's."""
    honest = client_address(scope(str(real)))

    with_claim = client_address(scope("10.0.0.1", listed(f"{claim}, {real}")), TRUSTED)
    with_both = client_address(scope("10.0.0.1", forwarded(others), listed(f"{claim}, {real}")), TRUSTED)

    assert with_claim == honest
    assert with_both in (honest, "10.0.0.1")


@given(
    peer=st.one_of(st.none(), LATIN, st.ip_addresses(network="10.0.0.0/8").map(str)),
    names=st.lists(st.sampled_from([b"x-forwarded-for", b"forwarded", b"Forwarded"]), max_size=3),
    value=st.binary(max_size=200),
)
def test_no_bytes_make_it_fail(peer: str | None, names: list[bytes], value: bytes) -> None:
    """Whatever peer and headers hold, there is an answer of bounded length."""
    headers = [(name, value) for name in names]

    key = client_address({"client": None if peer is None else (peer, 1), "headers": headers}, TRUSTED)

    assert 0 < len(key) <= 64
