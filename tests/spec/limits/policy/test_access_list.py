"""Allow and deny lists: which keys an entry matches, and which entries are refused."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.access_list import AccessMatch, AccessRule, compile_access_lists, networks
from tollhouse.limits.policy.policy import Limit, Policy


def policy(allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> Policy:
    return Policy(name="api", limits=(Limit(units=5, window_ms=60_000),), allow=allow, deny=deny)


def match(one: Policy, key: str) -> AccessMatch | None:
    lists = compile_access_lists(one)
    return None if lists is None else lists.match(key)


def rule(one: Policy, key: str) -> AccessRule | None:
    found = match(one, key)
    return None if found is None else found.rule


#    entry               key                         matches
ENTRIES = [
    ("10.0.0.0/8", "10.1.2.3", True),
    ("10.0.0.0/8", "address:10.1.2.3", True),
    ("10.0.0.0/8", "11.0.0.0", False),
    ("10.0.0.0/8", "10.9.0.0/16", True),
    ("10.0.0.0/8", "0.0.0.0/0", False),
    ("10.0.0.0/8", "user:10.1.2.3", False),
    ("192.0.2.7", "192.0.2.7", True),
    ("192.0.2.7", "192.0.2.8", False),
    ("192.0.2.7", "address:192.0.2.7", True),
    ("address:192.0.2.0/24", "192.0.2.7", True),
    ("0.0.0.0/0", "192.0.2.7", True),
    ("0.0.0.0/0", "2001:db8::/64", False),
    ("::/0", "2001:db8::/64", True),
    ("2001:db8::/32", "2001:db8::/64", True),
    ("2001:db8::/32", "address:2001:db8:7::/64", True),
    ("2001:db8::/32", "2001:db9::/64", False),
    ("2001:DB8::/64", "2001:db8::/64", True),
    ("2001:db8::/64", "2001:db8:0:1::1", False),
    ("2001:db8::/64", "2001:db8::1", True),
    ("2001:db8::1", "2001:db8::/64", False),
    ("10.0.0.0/8", "::ffff:10.1.2.3", True),
    ("::ffff:10.0.0.0/104", "10.1.2.3", True),
    ("10.0.0.0/8", "::ffff:0:0/90", False),
    ("64:ff9b::8.8.8.8", "8.8.8.8", True),  # entries are read as keys are made
    ("64:ff9b::8.8.8.0/120", "8.8.8.8", True),
    ("2002:808:808::/48", "8.8.8.8", True),
    ("2002:808:808::/48", "8.8.8.9", False),
    ("10.0.0.0/8", "2002:a00:1::1", False),
    ("10.0.0.0/8", "64:ff9b::10.0.0.1", False),
    ("user:ada", "user:ada", True),
    ("user:ada", "user:adam", False),
    ("user:ada", "USER:ada", False),
    ("ada", "ada", True),
    ("address:local", "address:local", True),
    ("00:1a:2b:3c:4d:5e", "00:1a:2b:3c:4d:5e", True),
    ("2024.01.15", "2024.01.15", True),
    ("2024/01", "2024/01", True),
    ("10.0.0.0/8", "1" * 500, False),
    ("10.0.0.0/8", "\N{ARABIC-INDIC DIGIT FIVE}", False),
]


@pytest.mark.parametrize(("entry", "key", "matches"), ENTRIES)
def test_an_entry_matches_a_network_or_one_key(entry: str, key: str, matches: bool) -> None:
    """A network matches the addresses and networks within it, `address:` in front or not; others match one key."""
    assert rule(policy(allow=(entry,)), key) == ("allow" if matches else None)
    assert rule(policy(deny=(entry,)), key) == ("deny" if matches else None)


def test_deny_wins_over_allow() -> None:
    """A key on both lists is refused, even if the entry of the allow list has the longer prefix."""
    both = policy(allow=("10.1.2.3", "user:ada"), deny=("10.0.0.0/8", "user:ada"))

    assert rule(both, "10.1.2.3") == "deny"
    assert rule(both, "user:ada") == "deny"


def test_the_entry_that_decides_is_named() -> None:
    """A match has the entry as it was written."""
    both = policy(allow=("user:ada",), deny=("address:10.0.0.0/8", "2001:db8::/32"))

    assert match(both, "10.0.0.1") == AccessMatch(rule="deny", entry="address:10.0.0.0/8")
    assert match(both, "user:ada") == AccessMatch(rule="allow", entry="user:ada")
    assert match(both, "192.0.2.7") is None


def test_a_policy_without_entries_has_no_lists() -> None:
    """A policy without entries costs its takes no lookup."""
    assert compile_access_lists(policy()) is None


#    entry             the remedy says
REFUSED = [
    ("10.0.0.1/8", "did you mean 10.0.0.0/8?"),
    ("2001:db8::1/64", "did you mean 2001:db8::/64?"),
    ("address:10.0.0.1/8", "did you mean 10.0.0.0/8?"),
    ("10.0.0.256", "give an address, or a network such as"),
    ("10.0.0.0/33", "give an address, or a network such as"),
    ("10.0.0/8", "give an address, or a network such as"),
    ("2001:db8::/129", "give an address, or a network such as"),
    ("2001::db8::", "give an address, or a network such as"),
    ("user:*", "`*` is no wildcard here"),
    ("10.*", "`*` is no wildcard here"),
    ("address:", "give a network such as 10.0.0.0/8, or a whole key"),
    (" 10.0.0.0/8", "give a network such as 10.0.0.0/8, or a whole key"),
]


@pytest.mark.parametrize(("entry", "remedy"), REFUSED)
def test_an_entry_that_would_match_nothing_is_refused(entry: str, remedy: str) -> None:
    """An entry that looks like a network or a pattern, and is none, is refused with a remedy."""
    with pytest.raises(InvalidInput) as refused:
        compile_access_lists(policy(deny=("10.0.0.0/8", entry)))

    assert refused.value.field == "policies.api.deny"
    assert refused.value.value == entry
    assert remedy in refused.value.remedy


def test_networks_are_picked_out_of_entries() -> None:
    """Entries that are networks are returned with their text."""
    picked = networks(("user:ada", "10.0.0.0/8", "address:2001:db8::1"))

    assert picked == (
        ("10.0.0.0/8", ip_network("10.0.0.0/8")),
        ("address:2001:db8::1", ip_network("2001:db8::1/128")),
    )


def ranges(version: int) -> st.SearchStrategy[str]:
    """Networks whose first bits are often the same."""
    most = 32 if version == 4 else 128
    spans = st.tuples(st.sampled_from([0, 1, (1 << most) - 1, 5 << (most - 8)]), st.integers(0, most))
    kind = IPv4Network if version == 4 else IPv6Network
    return spans.map(lambda span: str(kind(span, strict=False)))


@given(st.sampled_from(["0.0.0.1", "5.0.0.0", "255.255.255.255", "::1", "500::"]), st.lists(ranges(4) | ranges(6)))
def test_a_list_agrees_with_a_scan_of_its_networks(key: str, entries: list[str]) -> None:
    """Whatever is on the list, an address is on it if one of its networks contains the address."""
    expected = any(ip_address(key) in ip_network(entry) for entry in entries)

    found = rule(policy(deny=tuple(entries)), key)

    assert found == ("deny" if expected else None)
