"""The client's address as a rate-limit key, read from forwarding fields only as far as trusted proxies vouch for them.

Only the peer of the connection is certain. `forwarding` says how the fields of a trusted peer are read, and
`forwarding_notices` what is said about fields that are not used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from ipaddress import IPv4Address, ip_network
from typing import Any, Final

from tollhouse.asgi.forwarding import Address, is_trusted, parsed, vouched_for
from tollhouse.asgi.forwarding_notices import PROCESS, ForwardingNotices
from tollhouse.settings import Settings
from tollhouse.settings.networks import IPV6_PREFIX_BITS, Network, as_ipv4, check_ipv6_prefix, trusted_networks

NO_ADDRESS: Final = "local"
"""The client of a connection without an address, such as a unix socket."""

_FIRST_SEARCHES: Final = 32
_EACH: Final = 64
"""The first requests are searched for fields that decide nothing, and then each of so many: a search costs 0.7 µs."""
_REMEMBERED: Final = 4096


class ClientAddresses:
    """Finds the client of each request of an application.

    An IPv4 address is its own key. An IPv6 address is counted by the network of `ipv6_prefix_bits`, since a client can
    have any address in it; the default is a /64 (`2001:db8::/64`), the smallest that a provider assigns. Translated
    addresses that contain an IPv4 address are counted by that. A peer without an address is trusted if 127.0.0.1 is.
    """

    def __init__(
        self,
        trusted: Sequence[Network] = (),
        *,
        ipv6_prefix_bits: int = IPV6_PREFIX_BITS,
        notices: ForwardingNotices = PROCESS,
    ) -> None:
        check_ipv6_prefix(ipv6_prefix_bits)
        self.trusted = tuple(trusted)
        self._key_of_peer, self._key_of_address = _keys(ipv6_prefix_bits)
        self._notices = notices
        self._searched = self._unsearched = 0

    def client_of(self, scope: Mapping[str, Any]) -> str:
        """Return the client of an ASGI scope; never raises."""
        client = scope.get("client")
        host = client[0] if client else ""
        if self.trusted:
            return self._client_behind(parsed(str(host)), scope)
        self._unsearched = left = self._unsearched - 1
        if left < 0:
            self._search(parsed(str(host)), scope)
        return self._key_of_peer(host)

    def _client_behind(self, peer: Address | None, scope: Mapping[str, Any]) -> str:
        named = vouched_for(scope.get("headers", ()), self.trusted) if is_trusted(peer, self.trusted) else None
        if named is None:
            self._unsearched = left = self._unsearched - 1
            if left < 0:
                self._search(peer, scope)
        return self._key_of_address(named or peer)

    def _search(self, peer: Address | None, scope: Mapping[str, Any]) -> None:
        """Search a request for fields that decide nothing, and say when the next one is searched."""
        self._searched += 1
        if self._searched >= _FIRST_SEARCHES:
            self._unsearched = _EACH - 1
        headers = scope.get("headers", ())
        if is_trusted(peer, self.trusted):
            self._notices.unclear(peer, headers)
        else:
            self._notices.untrusted(peer, headers, self.trusted)


def clients_of(settings: Settings) -> ClientAddresses:
    """Return what finds the clients of an application with these settings."""
    trusted = trusted_networks(settings.trusted_proxies)
    return ClientAddresses(trusted, ipv6_prefix_bits=settings.ipv6_prefix_bits)


@cache
def _keys(ipv6_prefix_bits: int) -> tuple[Callable[[object], str], Callable[[Address | None], str]]:
    """Return what gives the key of a peer as the server names it, and of an address.

    Keys of peers are remembered: most applications trust no proxy, and see few peers.
    """

    def key_of_address(address: Address | None) -> str:
        if address is None:
            return NO_ADDRESS
        if isinstance(address, IPv4Address):
            return str(address)
        inner = as_ipv4(ip_network(address))
        if inner is not None:
            return str(inner.network_address)
        return str(ip_network((int(address), ipv6_prefix_bits), strict=False))

    @lru_cache(maxsize=_REMEMBERED)
    def key_of_peer(host: object) -> str:
        return key_of_address(parsed(str(host)))

    return key_of_peer, key_of_address
