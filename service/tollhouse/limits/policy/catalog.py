"""Policies by name: what can only be checked of all of them together, and what differs between two such sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.access_list import check_access
from tollhouse.limits.policy.policy import Policy
from tollhouse.suggest import did_you_mean

BESIDE_MAX: Final = 8
"""How many policies may run beside one: each is taken from with it."""


class Changes(Struct, frozen=True, kw_only=True):
    """The names of the policies that came, differ, and went."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


def by_name(policies: Iterable[Policy]) -> dict[str, Policy]:
    """Give the policies by name, of two with one name the later.

    Raises InvalidInput where one runs beside another that is not there or runs beside a third itself, where too many
    run beside one, and where an entry of an allow or deny list cannot be used.
    """
    named = {policy.name: policy for policy in policies}
    for name, many in Counter(policy.beside for policy in named.values()).items():
        if name is not None and many > BESIDE_MAX:
            raise InvalidInput(f"policies.{name}", many, f"let at most {BESIDE_MAX} policies run beside it")
    for policy in named.values():
        check_access(policy)
        if policy.beside is not None:
            _check_beside(policy, policy.beside, named)
    return named


def changes(before: Mapping[str, Policy], after: Mapping[str, Policy]) -> Changes:
    """Say what differs, by name, sorted."""
    return Changes(
        added=tuple(sorted(after.keys() - before.keys())),
        changed=tuple(sorted(name for name in after.keys() & before.keys() if after[name] != before[name])),
        removed=tuple(sorted(before.keys() - after.keys())),
    )


def _check_beside(policy: Policy, other: str, named: Mapping[str, Policy]) -> None:
    field = f"policies.{policy.name}.beside"
    live = named.get(other)
    if live is None:
        known = sorted(one.name for one in named.values() if one.beside is None)
        raise InvalidInput(field, other, did_you_mean(other, known, otherwise=f"name one of {', '.join(known)}"))
    if live.beside is not None:
        raise InvalidInput(field, other, f"it runs beside {live.beside!r} itself; name that one")
    if policy.is_concurrency or live.is_concurrency:
        raise InvalidInput(field, other, "a policy of leases runs beside none, and none beside it")
