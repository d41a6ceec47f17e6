"""Policies of sessions: the built-in ones, and those of the settings."""

from __future__ import annotations

from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from msgspec.structs import fields

from tollhouse.errors import ConfigurationError
from tollhouse.sessions.policies import LIFETIME_MS_MAX, POLICIES, SessionPolicy, policies_from_settings
from tollhouse.settings import Settings
from tollhouse.settings.sessions import SessionPolicySettings, SessionSettings
from tollhouse.wiring import load_settings

HOUR_MS = 3_600_000


def choices_of(kind: object) -> tuple[object, ...]:
    """Return the words that a field may have, none if it is no choice."""
    return get_args(kind) if get_origin(kind) is Literal else ()


def settings_with(name: str, **chosen: object) -> Settings:
    """Return settings with one policy; what is `chosen` replaces its usual fields."""
    policy = SessionPolicySettings(**{"idle_ms": HOUR_MS, "absolute_ms": 8 * HOUR_MS, **chosen})  # type: ignore[arg-type] - checked by it
    return Settings(sessions=SessionSettings(policies={name: policy}))


def test_without_settings_the_built_in_policies_are_in_force():
    """Their names are pinned, because sessions name them."""
    assert policies_from_settings(Settings()) == POLICIES
    assert set(POLICIES) == {"default", "remember", "admin", "anonymous", "impersonation"}


@pytest.mark.asvs("7.3.1", "7.3.2")
def test_the_built_in_policies_follow_the_standards():
    """`default` has the times of NIST's AAL2 and `admin` those of AAL3; at 20 logins end a user's oldest."""
    assert {name: (rules.cap, rules.at_cap) for name, rules in POLICIES.items()} == {
        "default": (20, "evict-oldest"),
        "remember": (20, "evict-oldest"),
        "admin": (20, "evict-oldest"),
        "anonymous": (20, "evict-oldest"),
        "impersonation": (5, "refuse"),
    }
    assert POLICIES["default"].idle_ms <= HOUR_MS
    assert POLICIES["admin"].absolute_ms <= 12 * HOUR_MS


@pytest.mark.parametrize(
    "fields",
    [
        {"idle_ms": 999, "absolute_ms": HOUR_MS},
        {"idle_ms": HOUR_MS, "absolute_ms": HOUR_MS - 1},
        {"idle_ms": HOUR_MS, "absolute_ms": LIFETIME_MS_MAX + 1},
        {"idle_ms": HOUR_MS, "absolute_ms": HOUR_MS, "cap": 0},
        {"idle_ms": HOUR_MS, "absolute_ms": HOUR_MS, "cap": 1_001},
    ],
)
def test_a_policy_out_of_bounds_is_refused(fields):
    """A policy out of bounds is a configuration error."""
    with pytest.raises(ConfigurationError):
        SessionPolicy(**fields)


def test_a_policy_of_the_settings_replaces_the_built_in_one_as_a_whole():
    """What it does not say has the default of a policy, not what the built-in one says; the others stay."""
    found = policies_from_settings(settings_with("admin", renew_ms=HOUR_MS))

    assert found["admin"] == SessionPolicy(idle_ms=HOUR_MS, absolute_ms=8 * HOUR_MS, renew_ms=HOUR_MS)
    assert found["remember"] == POLICIES["remember"]


def test_settings_and_policies_have_the_same_fields_and_choices():
    """Whatever a policy can say, the settings can: a new field or choice of one is missing in none."""
    shapes = [
        {field.name: (choices_of(hints[field.name]), field.default) for field in fields(kind)}
        for kind, hints in ((kind, get_type_hints(kind)) for kind in (SessionPolicy, SessionPolicySettings))
    ]

    assert shapes[0] == shapes[1]
    assert shapes[0]["on_idle"] == (("end", "lock"), "end")


def test_a_policy_is_set_by_variables():
    """Each of its settings has a variable of its own, with the policy's name."""
    prefix = "TOLLHOUSE_SESSIONS_POLICIES_KIOSK"
    variables = {f"{prefix}_IDLE_MS": "60000", f"{prefix}_ABSOLUTE_MS": "600000", f"{prefix}_COOKIE": "persistent"}

    found = policies_from_settings(load_settings(environ=variables))

    assert found["kiosk"] == SessionPolicy(idle_ms=60_000, absolute_ms=600_000, cookie="persistent")


#   what is wrong, name, fields
WRONG = [
    ("idle for longer than it lives", "api", {"idle_ms": 9 * HOUR_MS}),
    ("longer than browsers keep cookies", "api", {"absolute_ms": 401 * 24 * HOUR_MS}),
    ("a name with a space", "a b", {}),
]


@pytest.mark.parametrize(("what", "name", "chosen"), WRONG)
def test_a_policy_that_cannot_be_is_named(what: str, name: str, chosen: dict[str, object]):
    """The error names the policy, so that the line of the file is found."""
    with pytest.raises(ConfigurationError) as refusal:
        policies_from_settings(settings_with(name, **chosen))

    assert refusal.value.setting == f"sessions.policies.{name}", what


def test_settings_with_a_policy_that_cannot_be_are_not_loaded():
    """A mistake is told when the settings are read, not at the first login."""
    prefix = "TOLLHOUSE_SESSIONS_POLICIES_KIOSK"

    with pytest.raises(ConfigurationError):
        load_settings(environ={f"{prefix}_IDLE_MS": "60000", f"{prefix}_ABSOLUTE_MS": "1000"})
