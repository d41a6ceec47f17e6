"""Allow and deny lists of policies: keys that are never counted, and keys that are always refused.

An entry is a network (`10.0.0.0/8`, `2001:db8::/32`, one address) or a whole key (`user:ada`). A network matches every
key that is an address or a network within it, with or without the prefix `address:` that our service writes. The key of
an IPv6 client is its /64, or what `ipv6_prefix_bits` says, so an entry with a longer prefix matches no client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_network
from typing import Final, Literal

from msgspec import Struct

from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.policy import Policy
from tollhouse.settings.networks import Network, as_ipv4

AccessRule = Literal["allow", "deny", "off"]
_PREFIX: Final = "address:"
_NETWORK_CHARACTERS_MAX: Final = 49
_PARSED_KEYS_MAX: Final = 4096
_LIKE_A_NETWORK: Final = re.compile(
    r"\d+(?:\.\d+){3} | \d+(?:\.\d+)+/.* | [0-9a-f:]*::[0-9a-f:.]*(?:/.*)?", re.VERBOSE | re.IGNORECASE
)


class AccessMatch(Struct, frozen=True, kw_only=True):
    """The list that a key is on, and the entry that matched it, as it was written; `off` if nothing is limited."""

    rule: AccessRule
    entry: str


class AccessLists(Struct, frozen=True, kw_only=True):
    """The lists of one policy, compiled for lookups."""

    lists: tuple[_List, ...]
    is_off: bool = False

    def match(self, key: str) -> AccessMatch | None:
        """Return the entry that decides about the key, or None if it is on no list; deny wins over allow.

        A lookup costs one step for each prefix length in the lists, whatever their number of entries.
        """
        if self.is_off:
            return _OFF
        network = _network_of(key)
        for one in self.lists:
            entry = one.keys.get(key)
            if entry is None and network is not None:
                entry = _enclosing_entry(one, network)
            if entry is not None:
                return AccessMatch(rule=one.rule, entry=entry)
        return None


class _List(Struct, frozen=True, kw_only=True):
    """One list: whole keys, and for each IP version and prefix length the networks by their leading bits."""

    rule: AccessRule
    networks: dict[tuple[int, int], dict[int, str]]
    keys: dict[str, str]


EVERY_KEY: Final = AccessLists(lists=(), is_off=True)
"""The lists while limits are off."""
_OFF: Final = AccessMatch(rule="off", entry="")


def compile_access_lists(policy: Policy) -> AccessLists | None:
    """Return the lists of the policy, None if it has none; raises InvalidInput for an entry that cannot be used."""
    if not policy.deny and not policy.allow:
        return None
    field = f"policies.{policy.name}"
    return AccessLists(lists=(_compile("deny", policy.deny, field), _compile("allow", policy.allow, field)))


def networks(entries: Iterable[str]) -> tuple[tuple[str, Network], ...]:
    """Return those of some valid entries that are networks, each with its text."""
    parsed = ((entry, _network_of(entry)) for entry in entries)
    return tuple((entry, network) for entry, network in parsed if network is not None)


def _compile(rule: AccessRule, entries: tuple[str, ...], field: str) -> _List:
    compiled = _List(rule=rule, networks={}, keys={})
    for entry in entries:
        network = _network_of(entry)
        if network is None:
            _check_key(entry, f"{field}.{rule}")
            compiled.keys[entry] = entry
        else:
            kind = network.version, network.prefixlen
            compiled.networks.setdefault(kind, {})[_leading_bits(network, network.prefixlen)] = entry
    return compiled


def _check_key(entry: str, field: str) -> None:
    """Raise InvalidInput for an entry that would never match anything."""
    bare = entry.removeprefix(_PREFIX)
    if not bare or bare != bare.strip():
        raise InvalidInput(field, entry, "give a network such as 10.0.0.0/8, or a whole key such as user:ada")
    if "*" in entry:
        raise InvalidInput(field, entry, "`*` is no wildcard here; give a network such as 10.0.0.0/8, or whole keys")
    if _LIKE_A_NETWORK.fullmatch(bare):
        raise InvalidInput(field, entry, _remedy(bare))


def _remedy(text: str) -> str:
    try:
        return f"did you mean {ip_network(text, strict=False)}? The bits behind the prefix have to be 0"
    except ValueError:
        return "give an address, or a network such as 10.0.0.0/8 or 2001:db8::/32"


@lru_cache(maxsize=_PARSED_KEYS_MAX)
def _network_of(key: str) -> Network | None:
    """Return the network that a key or an entry is, None if it is none; IPv4 inside IPv6 becomes IPv4, as in keys."""
    text = key.removeprefix(_PREFIX)
    if len(text) > _NETWORK_CHARACTERS_MAX or not (text[:1].isdigit() or ":" in text):
        return None
    try:
        network = ip_network(text)
    except ValueError:
        return None
    return as_ipv4(network) or network


def _enclosing_entry(one: _List, network: Network) -> str | None:
    for (version, prefix_bits), entries in one.networks.items():
        if version == network.version and prefix_bits <= network.prefixlen:
            entry = entries.get(_leading_bits(network, prefix_bits))
            if entry is not None:
                return entry
    return None


def _leading_bits(network: Network, count: int) -> int:
    return int(network.network_address) >> (network.max_prefixlen - count)
