"""Trusted proxies: networks whose forwarding headers are believed."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from tollhouse.errors import ConfigurationError

Network = IPv4Network | IPv6Network

_WORDS: Final = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
}


def trusted_networks(texts: Iterable[str], setting: str = "trusted_proxies") -> tuple[Network, ...]:
    """Parse addresses, networks in CIDR notation, and the words `loopback` and `private`."""
    return tuple(_network(part, setting) for text in texts for part in _WORDS.get(text, (text,)))


def is_loopback(host: str) -> bool:
    """Return True if the text of `host` is a loopback address or localhost; no name is resolved."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _network(text: str, setting: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        remedy = f"give a network such as 10.0.0.0/8, or the words loopback and private ({error})"
        raise ConfigurationError(setting, text, remedy) from error
