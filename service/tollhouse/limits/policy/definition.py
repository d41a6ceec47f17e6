"""Policies in code: what `policies=` takes, the same at every edge.

`policies={"api": "100/minute", "login": {"limit": "5/minute", "on_outage": "closed"}}`: the limits as text, a dict with
the words of a policy in the settings file, a PolicySettings with these, or a Policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import LeaseRule, Policy
from tollhouse.settings.model import PolicySettings
from tollhouse.suggest import one_of

PolicyDefinition = str | Mapping[str, object] | PolicySettings | Policy
"""The limits as text, the words of the settings file, or a policy as it is in force."""

_WORDS: Final = PolicySettings.__struct_fields__
_FORMS: Final = 'give limits such as "100/minute", a dict such as {"limit": "100/minute"}, PolicySettings, or a Policy'


def policies_in_code(definitions: Mapping[str, PolicyDefinition] | None) -> dict[str, Policy]:
    """Return the policies by name; raises InvalidInput for the first that cannot be used, with a remedy."""
    return {name: _policy(name, definition) for name, definition in _named(definitions or {}).items()}


def policy_from_settings(name: str, chosen: PolicySettings) -> Policy:
    """Return one policy of the settings, checked as far as it can be without the others."""
    if chosen.shadow is False and chosen.shadow_of is not None:
        raise InvalidInput(f"policies.{name}.shadow", "false", "leave it out: with shadow_of a policy is a shadow")
    return parse_policy(
        name,
        chosen.limit,
        chosen.algorithm,
        on_outage=chosen.on_outage,
        shadow=chosen.shadow or False,
        shadow_of=chosen.shadow_of,
        cost=chosen.cost,
        key=chosen.key,
        allow=chosen.allow,
        deny=chosen.deny,
        lease=cast("LeaseRule", chosen.lease),  # Policy refuses any other word
    )


def _named(definitions: object) -> Mapping[str, object]:
    if not isinstance(definitions, Mapping):
        raise InvalidInput("policies", definitions, 'give names and limits, such as {"api": "100/minute"}')
    for name in cast("Mapping[object, object]", definitions):
        if not isinstance(name, str):
            raise InvalidInput("policies", name, "name each policy by text")
    return cast("Mapping[str, object]", definitions)


def _policy(name: str, definition: object) -> Policy:
    match definition:
        case Policy():
            if definition.name != name:
                raise InvalidInput(
                    f"policies.{name}", definition.name, f"a Policy has its own name: say {name!r} twice"
                )
            return definition
        case PolicySettings():
            return policy_from_settings(name, definition)
        case str():
            return parse_policy(name, definition)
        case Mapping():
            return policy_from_settings(name, _settings(name, cast("Mapping[str, Any]", definition)))
        case _:
            raise InvalidInput(f"policies.{name}", definition, _FORMS)


def _settings(name: str, fields: Mapping[str, Any]) -> PolicySettings:
    for word in fields:
        if word not in _WORDS:
            raise InvalidInput(f"policies.{name}", word, one_of(word, _WORDS))
    if "limit" not in fields:
        raise InvalidInput(f"policies.{name}.limit", None, 'give the limits, such as {"limit": "100/minute"}')
    try:
        return PolicySettings(**fields)
    except ConfigurationError as error:
        given = fields.get(error.setting, error.value)
        raise InvalidInput(f"policies.{name}.{error.setting}", given, error.remedy) from error
