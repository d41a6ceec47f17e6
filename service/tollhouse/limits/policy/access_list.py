"""Who is never counted and who is always refused: the allow and deny lists of policies.

An entry is a network (`10.0.0.0/8`, `2001:db8::/32`, one address) or a whole key (`user:ada`). A network holds
every key that is an address or a network within it, with or without `address:` in front, as our own service has
it. Clients with IPv6 are keys of their /64, so an entry with a longer prefix holds none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Literal

from msgspec import Struct

from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.policy import Policy

AccessRule = Literal["allow", "deny"]
Network = IPv4Network | IPv6Network

_PREFIX: Final = "address:"
_NETWORK_CHARACTERS_MAX: Final = 49
_COMPILED_MAX: Final = 256
_REMEMBERED: Final = 4096
_LIKE_A_NETWORK: Final = re.compile(
    r"\d+(?:\.\d+){3} | \d+(?:\.\d+)+/.* | [0-9a-f:]*::[0-9a-f:.]*(?:/.*)?", re.VERBOSE | re.IGNORECASE
)


class AccessMatch(Struct, frozen=True, kw_only=True):
    """What a list says of a key, and by which of its entries."""

    rule: AccessRule
    entry: str


class _List(Struct, frozen=True, kw_only=True):
    """One list, ready to be asked: networks by their first bits, for each version and length of prefix."""

    standing: AccessRule
    networks: dict[tuple[int, int], dict[int, str]]
    keys: dict[str, str]


_compiled: Final[dict[int, tuple[Policy, tuple[_List, _List]]]] = {}
"""By identity: to compare two policies would cost as much as their lists are long."""


def access_rule(policy: Policy, key: str) -> AccessRule | None:
    """Tell whether the policy never counts the key, always refuses it, or, with None, counts it.

    A lookup takes as many steps as there are lengths of prefix in the lists, however long they are. Raises
    InvalidInput where an entry cannot be used.
    """
    if not policy.deny and not policy.allow:
        return None
    found = match_access(policy, key)
    return None if found is None else found.rule


def match_access(policy: Policy, key: str) -> AccessMatch | None:
    """Give the entry that decides about the key: the deny list is asked first."""
    network = _network_of(key)
    for one in _lists(policy):
        entry = one.keys.get(key)
        if entry is None and network is not None:
            entry = _around(one, network)
        if entry is not None:
            return AccessMatch(rule=one.standing, entry=entry)
    return None


def check_access_lists(policy: Policy) -> None:
    """Raise InvalidInput for an entry that cannot be used; what passes will not fail when it is asked."""
    _lists(policy)


def networks(entries: Iterable[str]) -> tuple[tuple[str, Network], ...]:
    """Give those of some usable entries that are networks, each with its text."""
    read = ((entry, _network_of(entry)) for entry in entries)
    return tuple((entry, network) for entry, network in read if network is not None)


def _lists(policy: Policy) -> tuple[_List, _List]:
    known = _compiled.get(id(policy))
    if known is not None and known[0] is policy:
        return known[1]
    field = f"policies.{policy.name}"
    lists = _compile("deny", policy.deny, field), _compile("allow", policy.allow, field)
    if len(_compiled) >= _COMPILED_MAX:
        _compiled.clear()
    _compiled[id(policy)] = policy, lists
    return lists


def _compile(standing: AccessRule, entries: tuple[str, ...], policy: str) -> _List:
    made = _List(standing=standing, networks={}, keys={})
    for entry in entries:
        network = _network_of(entry)
        if network is None:
            _check_key(entry, f"{policy}.{standing}")
            made.keys[entry] = entry
        else:
            kind = network.version, network.prefixlen
            made.networks.setdefault(kind, {})[_first_bits(network, network.prefixlen)] = entry
    return made


def _check_key(entry: str, field: str) -> None:
    """Refuse what would never match: it would stand in a list and do nothing."""
    bare = entry.removeprefix(_PREFIX)
    if not bare or bare != bare.strip():
        raise InvalidInput(field, entry, "give a network such as 10.0.0.0/8, or a whole key such as user:ada")
    if "*" in entry:
        raise InvalidInput(
            field, entry, "`*` stands for nothing here; give a network such as 10.0.0.0/8, or whole keys"
        )
    if _LIKE_A_NETWORK.fullmatch(bare):
        raise InvalidInput(field, entry, _remedy(bare))


def _remedy(text: str) -> str:
    try:
        return f"did you mean {ip_network(text, strict=False)}? The bits behind the prefix have to be 0"
    except ValueError:
        return "give an address, or a network such as 10.0.0.0/8 or 2001:db8::/32"


@lru_cache(maxsize=_REMEMBERED)
def _network_of(key: str) -> Network | None:
    """Read a key that is an address or a network; IPv4 inside IPv6 counts as what it is."""
    text = key.removeprefix(_PREFIX)
    if len(text) > _NETWORK_CHARACTERS_MAX or not (text[:1].isdigit() or ":" in text):
        return None
    try:
        network = ip_network(text)
    except ValueError:
        return None
    inside = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if inside is None or network.prefixlen < 96:
        return network
    return IPv4Network((int(inside), network.prefixlen - 96))


def _around(one: _List, network: Network) -> str | None:
    for (version, prefix_bits), entries in one.networks.items():
        if version == network.version and prefix_bits <= network.prefixlen:
            entry = entries.get(_first_bits(network, prefix_bits))
            if entry is not None:
                return entry
    return None


def _first_bits(network: Network, many: int) -> int:
    return int(network.network_address) >> (network.max_prefixlen - many)
