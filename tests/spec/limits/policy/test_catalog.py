"""Policies as a set, and as the settings give them."""

from __future__ import annotations

from typing import Any

import pytest

from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.catalog import (
    BUILT_IN,
    SHADOWS_MAX,
    PolicyChanges,
    by_name,
    policies_after_reload,
    policies_from_settings,
    policy_changes,
)
from tollhouse.limits.policy.policy import Limit, Policy
from tollhouse.settings.model import LimitSettings, PolicySettings, Settings


def policy(name: str, units: int = 5, **fields: Any) -> Policy:
    return Policy(name=name, limits=(Limit(units=units, window_ms=60_000),), **fields)


def configured(**policies: PolicySettings) -> Settings:
    return Settings(limits=LimitSettings(policies=policies))


def test_a_later_policy_replaces_an_earlier_one_of_its_name() -> None:
    """Policies are found by name, and of two with the same name the later one wins."""
    assert by_name([policy("api", 1), policy("login"), policy("api", 2)]) == {
        "api": policy("api", 2),
        "login": policy("login"),
    }


def test_a_policy_may_be_the_shadow_of_another() -> None:
    """A policy may be the shadow of any policy that exists and is no shadow of another itself, in any order."""
    candidate = policy("next", shadow_of="api")

    assert set(by_name([candidate, policy("api")])) == {"next", "api"}


#    policies, the field that is refused, what the remedy says
WRONG = [
    ([policy("next", shadow_of="ap"), policy("api")], "policies.next.shadow_of", "did you mean 'api'?"),
    ([policy("next", shadow_of="nest"), policy("api")], "policies.next.shadow_of", "known are api"),
    (
        [
            policy("api"),
            policy("next", shadow_of="api"),
            policy("later", shadow_of="next"),
        ],
        "policies.later.shadow_of",
        "it is a shadow of 'api' itself; name that one",
    ),
    (
        [policy("api", algorithm="concurrency"), policy("next", shadow_of="api")],
        "policies.next.shadow_of",
        "concurrency policies cannot be shadows",
    ),
    (
        [policy("api"), *(policy(f"next-{i}", shadow_of="api") for i in range(SHADOWS_MAX + 1))],
        "policies.api",
        "give it at most 8 shadows",
    ),
    ([policy("api", allow=("10.0.0.1/8",))], "policies.api.allow", "did you mean 10.0.0.0/8?"),
]


@pytest.mark.parametrize(("policies", "field", "remedy"), WRONG, ids=[f"{row[1]} {row[2]}" for row in WRONG])
def test_policies_that_contradict_each_other_are_refused(policies: list[Policy], field: str, remedy: str) -> None:
    """An error between policies names the policy and the field, with a remedy."""
    with pytest.raises(InvalidInput) as refused:
        by_name(policies)

    assert refused.value.field == field
    assert remedy in refused.value.remedy


def test_changes_between_two_sets_are_named() -> None:
    """The names of added, changed and removed policies are returned, sorted; those of equal policies are not."""
    before = by_name([policy("same"), policy("b", 1), policy("a", 1), policy("gone")])
    after = by_name([policy("same"), policy("b", 2), policy("a", 2), policy("new")])

    assert policy_changes(before, after) == PolicyChanges(added=("new",), changed=("a", "b"), removed=("gone",))
    assert policy_changes(after, after) == PolicyChanges(added=(), changed=(), removed=())


def test_attempts_are_counted_and_never_leased() -> None:
    """The policy of sign-ups counts, so `concurrency` is refused for it."""
    with pytest.raises(InvalidInput) as refused:
        policies_from_settings(configured(signup=PolicySettings(limit="5/minute", algorithm="concurrency")))

    assert refused.value.field == "policies.signup.algorithm"


def test_a_reload_keeps_what_it_removes() -> None:
    """Policies that are gone stay in force, a shadow by itself; those that are loaded are as loaded."""
    before = by_name([policy("api", 1), policy("gone"), policy("next", shadow_of="api")])

    after = policies_after_reload(before, by_name([policy("api", 2), policy("new")]))

    assert after["api"] == policy("api", 2)
    assert after["gone"] is before["gone"]
    assert (after["next"].shadow_of, after["next"].shadow) == (None, True)
    assert set(after) == {"api", "gone", "next", "new"}


def test_a_reload_that_would_break_callers_is_refused() -> None:
    """A policy does not change between counting and leasing, and none replaces another limit in the code."""
    before = by_name([policy("api"), policy("jobs", algorithm="concurrency")])

    with pytest.raises(InvalidInput) as leased:
        policies_after_reload(before, by_name([policy("api", algorithm="concurrency")]))
    with pytest.raises(InvalidInput) as counted:
        policies_after_reload(before, by_name([policy("jobs")]))
    with pytest.raises(InvalidInput) as in_code:
        policies_after_reload(before, by_name([policy("api", 99)]), {"api"})

    fields = [leased.value.field, counted.value.field, in_code.value.field]
    assert fields == ["policies.api.algorithm", "policies.jobs.algorithm", "policies.api"]
    assert policies_after_reload(before, before, {"api"}) == before


def test_the_settings_replace_built_in_policies() -> None:
    """A policy of the settings replaces the built-in one of its name; the others stay."""
    found = policies_from_settings(configured(signup=PolicySettings(limit="9/minute"), api=PolicySettings(limit="5/s")))

    assert found["signup"].text == "9/minute"
    assert found["api"].text == "5/second"
    assert found["default"] == BUILT_IN["default"]


def test_every_field_of_the_settings_reaches_the_policy() -> None:
    """Each field of a policy in the settings is a field of the policy."""
    found = policies_from_settings(
        configured(
            api=PolicySettings(limit="5/s"),
            next=PolicySettings(
                limit="5/s burst 9",
                algorithm="gcra",
                on_outage="closed",
                shadow=True,
                shadow_of="api",
                cost=2,
                key="header:x-tenant",
                allow=("10.0.0.0/8",),
                deny=("user:ada",),
            ),
        )
    )

    assert found["next"] == Policy(
        name="next",
        limits=(Limit(units=5, window_ms=1_000, burst=9),),
        algorithm="gcra",
        on_outage="closed",
        shadow=True,
        shadow_of="api",
        cost=2,
        key="header:x-tenant",
        allow=("10.0.0.0/8",),
        deny=("user:ada",),
    )


def test_a_policy_that_only_names_its_limit_has_the_defaults_of_a_policy() -> None:
    """The defaults of the settings are those of a policy made in code."""
    assert policies_from_settings(configured(api=PolicySettings(limit="5/minute")))["api"] == policy("api")


@pytest.mark.parametrize(
    ("fields", "field", "remedy"),
    [
        ({"limit": "5/mn"}, "policies.api", "did you mean 5/min or 5/month?"),
        ({"limit": "5/m", "algorithm": "sliding-windw"}, "policies.api.algorithm", "did you mean 'sliding-window'?"),
        ({"limit": "5/m", "on_outage": "close"}, "policies.api.on_outage", "did you mean 'closed'?"),
        ({"limit": "5/m", "shadow_of": "signup", "shadow": False}, "policies.api.shadow", "leave it out"),
        ({"limit": "5/m", "shadow_of": "singup"}, "policies.api.shadow_of", "did you mean 'signup'?"),
        ({"limit": "5/m", "deny": "10.0.0.1/8"}, "policies.api.deny", "did you mean 10.0.0.0/8?"),
        ({"limit": "5/m", "key": "adress"}, "policies.api.key", "did you mean 'address'?"),
    ],
)
def test_a_policy_of_the_settings_that_cannot_be_used_is_refused(
    fields: dict[str, Any], field: str, remedy: str
) -> None:
    """The error names policy, field, value and remedy when the policies are read from the settings."""
    with pytest.raises(InvalidInput) as refused:
        policies_from_settings(configured(api=PolicySettings(**fields)))

    assert refused.value.field == field
    assert remedy in refused.value.remedy
