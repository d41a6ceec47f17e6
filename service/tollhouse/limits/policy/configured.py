"""Policies as the settings give them: read over the built-in ones, and checked as a whole."""

from __future__ import annotations

from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.builtin import BUILT_IN
from tollhouse.limits.policy.catalog import by_name
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Policy
from tollhouse.settings import PolicySettings, Settings


def policies_from_settings(settings: Settings) -> dict[str, Policy]:
    """Give the policies that hold under the settings; raises InvalidInput for the first that cannot be used."""
    return by_name(
        [*BUILT_IN.values(), *(policy_from_settings(*chosen) for chosen in settings.limits.policies.items())]
    )


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
    )


def instances_from_settings(settings: Settings) -> int:
    """Say how many processes share the limits: as many as are set, else the workers of this service."""
    chosen = settings.limits.instances
    return settings.workers if chosen is None else chosen
