"""Networks: those whose forwarding fields are believed, and those by which clients are counted."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, cast

from tollhouse.errors import ConfigurationError

Network = IPv4Network | IPv6Network

IPV6_PREFIX_BITS: Final = 64
"""The network by which an IPv6 client is counted, unless the settings say otherwise."""

_IPV6_PREFIX_BITS_MIN: Final = 32
_CHARACTERS_MAX: Final = 64
"""More than any network has."""
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_TRANSLATED: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16"))
_WORDS: Final = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
}


def trusted_networks(texts: Iterable[str], setting: str = "trusted_proxies") -> tuple[Network, ...]:
    """Parse addresses, networks in CIDR notation, and the words `loopback` and `private`."""
    if isinstance(texts, str) or not isinstance(cast("object", texts), Iterable):
        raise ConfigurationError(setting, texts, 'give a list of networks, such as ["loopback", "10.0.0.0/8"]')
    return tuple(_network(part, setting) for text in texts for part in _WORDS.get(text, (text,)))


def check_ipv6_prefix(bits: int, setting: str = "ipv6_prefix_bits") -> None:
    """Raise ConfigurationError for a prefix that is no network of one client."""
    if type(bits) is not int or not _IPV6_PREFIX_BITS_MIN <= bits <= IPV6_PREFIX_BITS:
        remedy = f"give {_IPV6_PREFIX_BITS_MIN} to {IPV6_PREFIX_BITS}: a client can have any address of its /64"
        raise ConfigurationError(setting, bits, remedy)


def as_ipv4(network: Network) -> IPv4Network | None:
    """Return the IPv4 network that an IPv6 network stands for; None if it stands for none, or is IPv4 itself.

    These are IPv4-mapped addresses (RFC 4291, 2.5.5.2), the well-known prefix of translators such as NAT64 (RFC 6052,
    2.1) and 6to4 (RFC 3056, 2). By its /64 all of IPv4 behind a translator would be one client, and a site with 6to4
    has 65,536 of them. The two latter stand for global addresses only (RFC 6052, 3.1; RFC 3056, 2): anything else was
    made up, and never becomes an address of a private network.
    """
    mapped = _inner(network, _MAPPED)
    if mapped is not None:
        return mapped
    found = (_inner(network, prefix) for prefix in _TRANSLATED)
    return next((inner for inner in found if inner is not None and inner.is_global), None)


def is_loopback(host: str) -> bool:
    """Return True if the text of `host` is a loopback address or localhost; no name is resolved."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _network(text: str, setting: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        why = f" ({error})" if len(text) <= _CHARACTERS_MAX else ""  # the error repeats the text
        remedy = f"give a network such as 10.0.0.0/8, or the words loopback and private{why}"
        raise ConfigurationError(setting, text, remedy) from error
    return _inner(network, _MAPPED) or network


def _inner(network: Network, prefix: IPv6Network) -> IPv4Network | None:
    """Return the IPv4 network in the 32 bits behind a prefix; None if the network is not below it."""
    if not isinstance(network, IPv6Network) or not network.subnet_of(prefix):
        return None
    bits = min(network.prefixlen - prefix.prefixlen, 32)
    address = int(network.network_address) >> (96 - prefix.prefixlen) & 0xFFFF_FFFF
    return IPv4Network((address, bits), strict=False)
