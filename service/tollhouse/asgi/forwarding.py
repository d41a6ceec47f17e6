"""Forwarding fields: the client that trusted proxies name in `X-Forwarded-For` or `Forwarded`.

A field is read hop by hop from the right: each trusted proxy vouches for the address to the left of its own. The first
address that is not trusted is the client; everything further left was written by that client. A proxy appends to one
field and passes a client's copy of the other one through, so if both are present they are believed only if they agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from tollhouse.settings.networks import Network

Address = IPv4Address | IPv6Address
Headers = Iterable[tuple[bytes, bytes]]

LISTED: Final = b"x-forwarded-for"
FORWARDED: Final = b"forwarded"

_LOOPBACK = IPv4Address("127.0.0.1")
_HOPS_MAX = 64
_HOP_CHARACTERS_MAX = 64
_FORWARDED_CHARACTERS_MAX = _HOPS_MAX * _HOP_CHARACTERS_MAX
"""`Forwarded` is read from its beginning, because of its quotes: at 60 KB that took 20 ms for each request."""
_REMEMBERED = 4096
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")
_PAIR = re.compile(r"""[ \t]*([\w!#$%&'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^",; \t]*)[ \t]*([;,]|\Z)""")


def vouched_for(headers: Headers, trusted: Sequence[Network]) -> Address | None:
    """Return the client that trusted proxies name; None if they name none, or contradict each other."""
    listed: list[str] = []
    forwarded: list[str] = []
    for name, value in headers:
        if name.lower() == LISTED:
            listed.append(value.decode("latin-1"))
        elif name.lower() == FORWARDED:
            forwarded.append(value.decode("latin-1"))
    claims: set[Address | None] = set()
    if listed:
        claims.add(_first_untrusted(_listed_hops(listed), trusted))
    if forwarded:
        claims.add(_first_untrusted(_forwarded_hops(",".join(forwarded)), trusted))
    return claims.pop() if len(claims) == 1 else None


def is_listed(address: Address, headers: Headers) -> bool:
    """Return True if the address is a hop of `X-Forwarded-For`."""
    listed = [value.decode("latin-1") for name, value in headers if name.lower() == LISTED]
    return any(parsed(hop) == address for hop in _listed_hops(listed))


def is_trusted(peer: Address | None, trusted: Sequence[Network]) -> bool:
    """Return True if a peer is one of the trusted proxies; one without an address is if 127.0.0.1 is."""
    address = _LOOPBACK if peer is None else peer
    return any(address in network for network in trusted)


def parsed(text: str) -> Address | None:
    """Return an address that is written with or without a port and a zone; IPv4 inside IPv6 is unwrapped (RFC 4291)."""
    return _parse(text.strip()) if len(text) <= _HOP_CHARACTERS_MAX else None


def _first_untrusted(hops: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """Walk from the right; if all hops are trusted, the client is the leftmost."""
    address = None
    for hop in reversed(hops):
        address = parsed(hop)
        if address is None or not is_trusted(address, trusted):
            return address
    return address


def _listed_hops(fields: Iterable[str]) -> list[str]:
    return ",".join(fields).rsplit(",", _HOPS_MAX)


def _forwarded_hops(text: str) -> list[str]:
    """Return the `for` of every element (RFC 7239); a field that cannot be read is one hop without an address.

    So is one that is too long.
    """
    if len(text) > _FORWARDED_CHARACTERS_MAX:
        return [""]
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


@lru_cache(maxsize=_REMEMBERED)
def _parse(text: str) -> Address | None:
    match = _WITH_PORT.fullmatch(text)
    bare = text if match is None else match[match.lastindex or 0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
