"""Policies as a set, and as the settings give them."""

from __future__ import annotations

from typing import Any

import pytest

from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.builtin import BUILT_IN
from tollhouse.limits.policy.catalog import BESIDE_MAX, Changes, by_name, changes
from tollhouse.limits.policy.configured import instances_of, policies_of
from tollhouse.limits.policy.policy import Limit, Policy
from tollhouse.settings import LimitSettings, PolicySettings, Settings


def policy(name: str, units: int = 5, **fields: Any) -> Policy:
    return Policy(name=name, limits=(Limit(units=units, window_ms=60_000),), **fields)


def configured(**policies: PolicySettings) -> Settings:
    return Settings(limits=LimitSettings(policies=policies))


def test_a_later_policy_replaces_an_earlier_one_of_its_name() -> None:
    """Policies are found by name, and of two with one name the later holds."""
    assert by_name([policy("api", 1), policy("login"), policy("api", 2)]) == {
        "api": policy("api", 2),
        "login": policy("login"),
    }


def test_a_policy_may_run_beside_another() -> None:
    """A shadow runs beside a policy that is there and runs beside none itself, whatever their order."""
    candidate = policy("next", shadow=True, beside="api")

    assert set(by_name([candidate, policy("api")])) == {"next", "api"}


#    policies, the field that is refused, what the remedy says
WRONG = [
    ([policy("next", shadow=True, beside="ap"), policy("api")], "policies.next.beside", "did you mean 'api'?"),
    ([policy("next", shadow=True, beside="nest"), policy("api")], "policies.next.beside", "name one of api"),
    (
        [
            policy("api"),
            policy("next", shadow=True, beside="api"),
            policy("later", shadow=True, beside="next"),
        ],
        "policies.later.beside",
        "it runs beside 'api' itself; name that one",
    ),
    (
        [policy("api", algorithm="concurrency"), policy("next", shadow=True, beside="api")],
        "policies.next.beside",
        "a policy of leases runs beside none",
    ),
    (
        [policy("api"), *(policy(f"next-{i}", shadow=True, beside="api") for i in range(BESIDE_MAX + 1))],
        "policies.api",
        "let at most 8 policies run beside it",
    ),
    ([policy("api", allow=("10.0.0.1/8",))], "policies.api.allow", "did you mean 10.0.0.0/8?"),
]


@pytest.mark.parametrize(("policies", "field", "remedy"), WRONG, ids=[f"{row[1]} {row[2]}" for row in WRONG])
def test_a_set_that_does_not_fit_together_is_refused(policies: list[Policy], field: str, remedy: str) -> None:
    """What is wrong between policies is named by the policy, its field and the remedy."""
    with pytest.raises(InvalidInput) as refused:
        by_name(policies)

    assert refused.value.field == field
    assert remedy in refused.value.remedy


def test_what_changed_between_two_sets_is_named() -> None:
    """Names that came, differ and went are told, each sorted; equal policies are not."""
    before = by_name([policy("same"), policy("b", 1), policy("a", 1), policy("gone")])
    after = by_name([policy("same"), policy("b", 2), policy("a", 2), policy("new")])

    assert changes(before, after) == Changes(added=("new",), changed=("a", "b"), removed=("gone",))
    assert changes(after, after) == Changes(added=(), changed=(), removed=())


def test_the_settings_hold_over_the_built_in_policies() -> None:
    """A policy of the settings replaces the built-in one of its name; the others hold on."""
    found = policies_of(configured(login=PolicySettings(limit="9/minute"), api=PolicySettings(limit="5/s")))

    assert found["login"].text == "9/minute"
    assert found["api"].text == "5/second"
    assert found["default"] == BUILT_IN["default"]


def test_every_field_of_the_settings_reaches_the_policy() -> None:
    """What can be said of a policy in the settings is what the policy then says."""
    found = policies_of(
        configured(
            api=PolicySettings(limit="5/s"),
            next=PolicySettings(
                limit="5/s burst 9",
                algorithm="gcra",
                on_outage="closed",
                shadow=True,
                beside="api",
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
        beside="api",
        cost=2,
        key="header:x-tenant",
        allow=("10.0.0.0/8",),
        deny=("user:ada",),
    )


def test_a_policy_that_only_names_its_limit_has_the_defaults_of_a_policy() -> None:
    """The defaults of the settings are those of a policy made in code."""
    assert policies_of(configured(api=PolicySettings(limit="5/minute")))["api"] == policy("api")


@pytest.mark.parametrize(
    ("fields", "field", "remedy"),
    [
        ({"limit": "5/mn"}, "policies.api", "did you mean 5/m or 5/mo?"),
        ({"limit": "5/m", "algorithm": "sliding-windw"}, "policies.api.algorithm", "did you mean 'sliding-window'?"),
        ({"limit": "5/m", "on_outage": "close"}, "policies.api.on_outage", "did you mean 'closed'?"),
        ({"limit": "5/m", "beside": "login"}, "policies.api.beside", "shadow = true"),
        ({"limit": "5/m", "beside": "logni", "shadow": True}, "policies.api.beside", "did you mean 'login'?"),
        ({"limit": "5/m", "deny": "10.0.0.1/8"}, "policies.api.deny", "did you mean 10.0.0.0/8?"),
        ({"limit": "5/m", "key": "adress"}, "policies.api.key", "did you mean 'address'?"),
    ],
)
def test_a_policy_of_the_settings_that_cannot_be_used_is_refused(
    fields: dict[str, Any], field: str, remedy: str
) -> None:
    """Policy, field, value and remedy are named when the settings are put to use."""
    with pytest.raises(InvalidInput) as refused:
        policies_of(configured(api=PolicySettings(**fields)))

    assert refused.value.field == field
    assert remedy in refused.value.remedy


def test_as_many_instances_as_workers_share_the_limits() -> None:
    """Every worker is an instance, unless the settings say how many there are in all."""
    assert instances_of(Settings()) == 1
    assert instances_of(Settings(workers=4)) == 4
    assert instances_of(Settings(workers=4, limits=LimitSettings(instances=12))) == 12
