"""Policies by name: what can only be checked of all of them together, and what differs between two such sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.access_list import check_access_lists
from tollhouse.limits.policy.policy import Policy
from tollhouse.suggest import did_you_mean

SHADOWS_MAX: Final = 8
"""How many shadows one policy may have: each take of the policy is taken from all of them."""


class PolicyChanges(Struct, frozen=True, kw_only=True):
    """The names of the policies that came, differ, and went."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


def by_name(policies: Iterable[Policy]) -> dict[str, Policy]:
    """Give the policies by name, of two with one name the later.

    Raises InvalidInput if a policy is the shadow of one that does not exist or is a shadow of another itself, if a
    policy has too many shadows, and if an entry of an allow or deny list cannot be used.
    """
    named = {policy.name: policy for policy in policies}
    for name, many in Counter(policy.shadow_of for policy in named.values()).items():
        if name is not None and many > SHADOWS_MAX:
            raise InvalidInput(f"policies.{name}", many, f"give it at most {SHADOWS_MAX} shadows")
    for policy in named.values():
        check_access_lists(policy)
        if policy.shadow_of is not None:
            _check_shadow(policy, policy.shadow_of, named)
    return named


def policy_changes(before: Mapping[str, Policy], after: Mapping[str, Policy]) -> PolicyChanges:
    """Say what differs, by name, sorted."""
    return PolicyChanges(
        added=tuple(sorted(after.keys() - before.keys())),
        changed=tuple(sorted(name for name in after.keys() & before.keys() if after[name] != before[name])),
        removed=tuple(sorted(before.keys() - after.keys())),
    )


def _check_shadow(policy: Policy, other: str, named: Mapping[str, Policy]) -> None:
    field = f"policies.{policy.name}.shadow_of"
    live = named.get(other)
    if live is None:
        known = sorted(one.name for one in named.values() if one.shadow_of is None)
        raise InvalidInput(field, other, did_you_mean(other, known, otherwise=f"name one of {', '.join(known)}"))
    if live.shadow_of is not None:
        raise InvalidInput(field, other, f"it is a shadow of {live.shadow_of!r} itself; name that one")
    if policy.is_concurrency or live.is_concurrency:
        raise InvalidInput(field, other, "concurrency policies cannot be shadows of others, nor have shadows")
