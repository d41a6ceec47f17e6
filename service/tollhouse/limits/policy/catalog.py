"""The set of policies in force: the built-in ones, those of the settings, and what must hold between policies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.access_list import compile_access_lists
from tollhouse.limits.policy.definition import policy_from_settings
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Policy
from tollhouse.settings.model import Settings
from tollhouse.suggest import one_of

SHADOWS_MAX: Final = 8
"""How many shadows one policy may have: each take of the policy is taken from all of them."""

BUILT_IN: Final[Mapping[str, Policy]] = MappingProxyType(
    {
        "default": parse_policy("default", "60/minute; 1000/hour; 10000/day"),
        "session": parse_policy("session", "120/minute"),
        "ai": parse_policy("ai", "60/minute; 1000/hour"),
        "signup": parse_policy("signup", "20/hour"),
        "wrong-key": parse_policy("wrong-key", "10/minute; 60/hour"),
    }
)
"""Policies that the settings can replace by name.

`signup` and `wrong-key` count per address, `session` and `ai` per caller. Guesses at passwords have no policy:
`tollhouse.accounts.throttling` counts them. Nothing limits the end of a session.
"""
NO_POLICIES: Final[Mapping[str, Policy]] = MappingProxyType({})
_COUNTING: Final = ("signup",)


class PolicyChanges(Struct, frozen=True, kw_only=True):
    """The names of the policies that were added, changed and removed."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


def by_name(policies: Iterable[Policy]) -> dict[str, Policy]:
    """Return the policies by name; of two with the same name the later one wins.

    Raises InvalidInput if a policy is the shadow of one that does not exist or is a shadow of another itself, if a
    policy has too many shadows, and if an entry of an allow or deny list cannot be used.
    """
    named = {policy.name: policy for policy in policies}
    for name, count in Counter(policy.shadow_of for policy in named.values()).items():
        if name is not None and count > SHADOWS_MAX:
            raise InvalidInput(f"policies.{name}", count, f"give it at most {SHADOWS_MAX} shadows")
    for policy in named.values():
        compile_access_lists(policy)
        if policy.shadow_of is not None:
            _check_shadow(policy, policy.shadow_of, named)
    return named


def policies_from_settings(settings: Settings, in_code: Mapping[str, Policy] = NO_POLICIES) -> dict[str, Policy]:
    """Return the policies in force under the settings; those `in_code` replace policies of the same name.

    Raises InvalidInput for the first that cannot be used.
    """
    chosen = {name: policy_from_settings(name, fields) for name, fields in settings.limits.policies.items()}
    named = by_name([*BUILT_IN.values(), *{**chosen, **in_code}.values()])
    for name in _COUNTING:
        if named[name].is_concurrency:
            remedy = "attempts are counted, and hold no permit: choose another algorithm"
            raise InvalidInput(f"policies.{name}.algorithm", named[name].algorithm, remedy)
    return named


def policies_after_reload(
    in_force: Mapping[str, Policy], loaded: Mapping[str, Policy], in_code: Container[str] = ()
) -> dict[str, Policy]:
    """Return the policies in force after the settings were loaded again; `in_code` names those that functions brought.

    Policies that are gone from the settings stay, because code and clients go on to name them; only a shadow no longer
    counts the takes of another policy. Raises InvalidInput if a policy would no longer do for those who name it.
    """
    for name in in_force.keys() & loaded.keys():
        before, after = in_force[name], loaded[name]
        if before.is_concurrency != after.is_concurrency:
            remedy = f"{before.algorithm} is in use, which is called in another way: give the new policy another name"
            raise InvalidInput(f"policies.{name}.algorithm", after.algorithm, remedy)
        if name in in_code and before != after:
            raise InvalidInput(f"policies.{name}", after.text, f"a limit in the code has this name: {before.text}")
    gone = {name: policy for name, policy in in_force.items() if name not in loaded}
    return {**loaded, **{name: _detached(policy) for name, policy in gone.items()}}


def policy_changes(before: Mapping[str, Policy], after: Mapping[str, Policy]) -> PolicyChanges:
    """Return the names of the policies that differ, sorted."""
    return PolicyChanges(
        added=tuple(sorted(after.keys() - before.keys())),
        changed=tuple(sorted(name for name in after.keys() & before.keys() if after[name] != before[name])),
        removed=tuple(sorted(before.keys() - after.keys())),
    )


def _detached(policy: Policy) -> Policy:
    """Return a policy that is no shadow of another; it refuses nothing if it was one."""
    return policy if policy.shadow_of is None else replace(policy, shadow_of=None)


def _check_shadow(policy: Policy, name: str, policies: Mapping[str, Policy]) -> None:
    field = f"policies.{policy.name}.shadow_of"
    live = policies.get(name)
    if live is None:
        known = sorted(one.name for one in policies.values() if one.shadow_of is None)
        raise InvalidInput(field, name, one_of(name, known))
    if live.shadow_of is not None:
        raise InvalidInput(field, name, f"it is a shadow of {live.shadow_of!r} itself; name that one")
    if policy.is_concurrency or live.is_concurrency:
        raise InvalidInput(field, name, "concurrency policies cannot be shadows of others, nor have shadows")
