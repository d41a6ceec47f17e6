"""The client's address, read from forwarding headers only as far as trusted proxies vouch for them.

Only the peer of the connection is certain. If it is trusted, its forwarding header is read hop by hop from the
right: each trusted proxy vouches for the address to the left of its own. The first address that is not trusted
is the client; everything further left was written by that client. A proxy appends to one header and passes a
client's copy of the other one through, so if both `X-Forwarded-For` and `Forwarded` are present they are believed
only if they agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from tollhouse.limits.policy.access_list import CLIENT_PREFIX_BITS
from tollhouse.settings.networks import Network

Address = IPv4Address | IPv6Address

NO_ADDRESS: Final = "local"
"""The client of a connection without an address, such as a unix socket."""

_LOOPBACK = IPv4Address("127.0.0.1")
_HOPS_MAX = 64
_HOP_CHARACTERS_MAX = 64
_REMEMBERED = 4096
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")
_PAIR = re.compile(r"""[ \t]*([\w!#$%&'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^",; \t]*)[ \t]*([;,]|\Z)""")


def client_address(scope: Mapping[str, Any], trusted: Sequence[Network] = ()) -> str:
    """Return the client of an ASGI scope as a rate-limit key; never raises.

    An IPv4 address is its own key; an IPv6 address is counted by its /64 (`2001:db8::/64`), the smallest network that
    a provider assigns. A peer without an address is trusted if 127.0.0.1 is.
    """
    client = scope.get("client")
    host = client[0] if client else ""
    if not trusted:
        return _named(host)
    peer = _parsed(str(host))
    if _is_trusted(peer or _LOOPBACK, trusted):
        peer = _vouched_for(scope.get("headers", ()), trusted) or peer
    return _subject(peer)


def _vouched_for(headers: Iterable[tuple[bytes, bytes]], trusted: Sequence[Network]) -> Address | None:
    """Return the client that trusted proxies name; None if they name none, or contradict each other."""
    listed: list[str] = []
    forwarded: list[str] = []
    for name, value in headers:
        if name.lower() == b"x-forwarded-for":
            listed.append(value.decode("latin-1"))
        elif name.lower() == b"forwarded":
            forwarded.append(value.decode("latin-1"))
    claims: set[Address | None] = set()
    if listed:
        claims.add(_first_untrusted(",".join(listed).rsplit(",", _HOPS_MAX), trusted))
    if forwarded:
        claims.add(_first_untrusted(_forwarded_for(",".join(forwarded)), trusted))
    return claims.pop() if len(claims) == 1 else None


def _first_untrusted(hops: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """Walk from the right; if all hops are trusted, the client is the leftmost."""
    address = None
    for hop in reversed(hops):
        address = _parsed(hop)
        if address is None or not _is_trusted(address, trusted):
            return address
    return address


def _forwarded_for(text: str) -> list[str]:
    """Return the `for` of every element (RFC 7239); a header that cannot be read is one hop without an address."""
    hops = [""]
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            return [""]
        name, value, end = match.groups()
        if name.lower() == "for":
            hops[-1] = value.strip('"')
        if end == ",":
            hops.append("")
        position = match.end()
    return hops[-_HOPS_MAX:]


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _parsed(text: str) -> Address | None:
    return _parse(text.strip()) if len(text) <= _HOP_CHARACTERS_MAX else None


@lru_cache(maxsize=_REMEMBERED)
def _parse(text: str) -> Address | None:
    """Parse an address with or without a port; drop the zone, unwrap IPv4 inside IPv6."""
    match = _WITH_PORT.fullmatch(text)
    bare = text if match is None else match[match.lastindex or 0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=_REMEMBERED)
def _named(host: object) -> str:
    """Return the key of a peer from one cache: most applications trust no proxy, and see few peers."""
    return _subject(_parsed(str(host)))


def _subject(address: Address | None) -> str:
    if address is None:
        return NO_ADDRESS
    if address.version == 4:
        return str(address)
    return str(IPv6Network((int(address), CLIENT_PREFIX_BITS[6]), strict=False))
