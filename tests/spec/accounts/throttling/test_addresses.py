"""Groups of addresses: who shares the failures of an address."""

from __future__ import annotations

import pytest

from tollhouse.accounts.throttling.addresses import AddressGroups, address_groups

#    address, client, site
GROUPS = [
    ("203.0.113.7", "203.0.113.7", None),
    ("2001:db8:1:2::/64", "2001:db8:1:2::/64", "2001:db8:1::/48"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
    ("2001:0DB8:1:2::9/128", "2001:db8:1:2::/64", "2001:db8:1::/48"),
    ("2001:db8:1:200::/56", "2001:db8:1:200::/56", "2001:db8:1::/48"),
    ("2001:db8:1::/48", "2001:db8:1::/48", None),  # it is the site already
    ("fe80::1%eth0", "fe80::/64", "fe80::/48"),
    ("::ffff:203.0.113.7", "203.0.113.7", None),
    ("64:ff9b::8.8.8.8", "8.8.8.8", None),
    ("local", "local", None),
    ("", "", None),
    ("2001:db8::/x", "2001:db8::/64", "2001:db8::/48"),
]


@pytest.mark.parametrize(("address", "client", "site"), GROUPS)
def test_an_address_counts_for_its_client_and_its_site(address, client, site):
    """IPv4 by the address; IPv6 by the /64, or what `ipv6_prefix_bits` says, and by the /48 around it."""
    assert address_groups(address) == AddressGroups(client=client, site=site)


def test_hopping_between_networks_of_a_site_changes_the_client_alone():
    """A site of one /48 has 65,536 networks of /64: they share what the site may do."""
    groups = [address_groups(f"2001:db8:1:{number:x}::/64") for number in range(100)]

    assert len({one.client for one in groups}) == 100
    assert {one.site for one in groups} == {"2001:db8:1::/48"}
