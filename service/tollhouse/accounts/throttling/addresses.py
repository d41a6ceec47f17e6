"""The groups of addresses by which guesses count: an IPv4 address, or an IPv6 /64 and the /48 around it.

A provider gives a site a /48 to a /64 (RFC 6177), so a guesser may have 65,536 networks of /64 in one /48.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from msgspec import Struct

from tollhouse.settings.networks import as_ipv4

CLIENT_BITS: Final = 64
SITE_BITS: Final = 48
_REMEMBERED: Final = 4_096


class AddressGroups(Struct, frozen=True, kw_only=True):
    """What counts the guesses of an address: `client`, and the `site` around it if it is IPv6."""

    client: str
    site: str | None = None


@lru_cache(maxsize=_REMEMBERED)
def address_groups(address: str) -> AddressGroups:
    """Return the groups of an address, or of a network such as `2001:db8:1:2::/64`; other text is its own group.

    An IPv6 address that stands for one of IPv4 counts as that.
    """
    text, _, bits = address.partition("/")
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return AddressGroups(client=address)
    if isinstance(found, IPv4Address):
        return AddressGroups(client=str(found))
    return _of_ipv6(found, min(int(bits), CLIENT_BITS) if bits.isdecimal() else CLIENT_BITS)


def _of_ipv6(address: IPv6Address, bits: int) -> AddressGroups:
    inner = as_ipv4(IPv6Network(address)) if bits == CLIENT_BITS else None
    if inner is not None:
        return AddressGroups(client=str(inner.network_address))
    client = str(IPv6Network((int(address), bits), strict=False))
    if bits <= SITE_BITS:
        return AddressGroups(client=client)
    return AddressGroups(client=client, site=str(IPv6Network((int(address), SITE_BITS), strict=False)))
