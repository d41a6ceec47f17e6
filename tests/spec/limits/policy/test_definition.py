"""What `policies=` takes."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar

import tollhouse
from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.definition import policies_in_code
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Limit, Policy
from tollhouse.litestar import TollhousePlugin
from tollhouse.settings.model import PolicySettings

OWN = Policy(name="own", limits=(Limit(units=5, window_ms=60_000, resolution=4),), key="user")
DEFINITIONS: dict[str, Any] = {
    "text": "5/minute",
    "table": {"limit": "5/minute", "on_outage": "closed", "cost": 2, "allow": ["10.0.0.0/8"]},
    "settings": PolicySettings(limit="5/minute", algorithm="fixed-window"),
    "own": OWN,
}
EXPECTED = {
    "text": parse_policy("text", "5/minute"),
    "table": parse_policy("table", "5/minute", on_outage="closed", cost=2, allow=("10.0.0.0/8",)),
    "settings": parse_policy("settings", "5/minute", "fixed-window"),
    "own": OWN,
}
WRONG: list[tuple[Any, str, object]] = [
    #  policies                                       field of the error            value
    (["5/minute"],                                    "policies",                   ["5/minute"]),
    ({1: "5/minute"},                                 "policies",                   1),
    ({"api": 5},                                      "policies.api",               5),
    ({"api": None},                                   "policies.api",               None),
    ({"api": "0/minute"},                             "policies.api",               "0/minute"),
    ({"api": {"limits": "5/minute"}},                 "policies.api",               "limits"),
    ({"api": {"algorithm": "gcra"}},                  "policies.api.limit",         None),
    ({"api": {"limit": "5/minute", "cost": "two"}},   "policies.api.cost",          "two"),
    ({"api": {"limit": "5/minute", "cost": "1"}},     "policies.api.cost",          "1"),
    ({"api": {"limit": "5/minute", "cost": 1.5}},     "policies.api.cost",          1.5),
    ({"api": {"limit": "5/minute", "shadow": "yes"}}, "policies.api.shadow",        "yes"),
    ({"api": {"limit": "5/minute", "shadow": "true"}}, "policies.api.shadow",       "true"),
    ({"api": {"limit": 5}},                           "policies.api.limit",         5),
    ({"api": {"limit": "5/minute", "on_outage": "c"}}, "policies.api.on_outage",    "c"),
    ({"api": OWN},                                    "policies.api",               "own"),
]  # fmt: skip


def test_a_policy_is_text_a_table_settings_or_a_policy():
    """Each form gives the policy that the same words in the settings file give; a Policy is taken as it is."""
    assert policies_in_code(DEFINITIONS) == EXPECTED
    assert policies_in_code(None) == {}


@pytest.mark.parametrize(("policies", "field", "value"), WRONG)
def test_a_definition_that_cannot_be_used_is_named(policies: Any, field: str, value: object):
    """The error has the policy, the word and the value as the user wrote them."""
    with pytest.raises(InvalidInput) as refused:
        policies_in_code(policies)

    assert (refused.value.field, refused.value.value) == (field, value)


def test_a_misspelled_word_of_a_table_gets_a_suggestion():
    """The word that was meant is in the remedy."""
    with pytest.raises(InvalidInput) as refused:
        policies_in_code({"api": {"limit": "5/minute", "onoutage": "open"}})

    assert "'on_outage'" in refused.value.remedy


def test_every_edge_takes_every_form():
    """`open`, the middleware and the plugin put the same policies into force, and code replaces settings of a name."""
    settings = tollhouse.Settings(
        url="fake://definitions", limits=tollhouse.LimitSettings(policies={"own": PolicySettings(limit="9/hour")})
    )
    plugin = TollhousePlugin(settings, policies=DEFINITIONS, policy="table")
    middleware = tollhouse.RateLimitMiddleware(
        Litestar(plugins=[plugin]), settings=settings, policies=DEFINITIONS, policy="own"
    )
    opened = tollhouse.open(settings, policies=DEFINITIONS)

    for policies in (opened.policies, opened.limits.policies, plugin.source.policies, middleware._source.policies):
        assert {name: policies[name] for name in EXPECTED} == EXPECTED
