"""What limits a request: the rule that users write, and the rule that it is compiled to once."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Literal, cast

from msgspec import Struct

from tollhouse.asgi.ratelimit.key_rules import KeyFinder, KeyRule, address, check_rule, key_finder
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource
from tollhouse.asgi.ratelimit.refunds import Charge, IsCharged, charge_predicate
from tollhouse.asgi.types import PerRequest, Scope
from tollhouse.errors import ConfigurationError
from tollhouse.limits.policy.policy import Policy

PolicyChoice = str | Sequence[str] | None
"""The policy to take from; of several, all or none are charged. None lets the request through uncounted."""


class RateLimitRule(Struct, frozen=True, kw_only=True):
    """What limits a request, in full: for a route that needs more said than the name of a policy.

    `policy`, `key` and `cost` are values or functions of the ASGI scope, plain or async; several policies are decided
    as one, each by its own key, where `key` says one for each policy. What is None is as the middleware says
    otherwise, and at last as the policy says. `charge` names the responses that count; whatever is answered otherwise
    is given back. Each message that a websocket receives is taken from `messages`; above that limit the connection is
    closed, or the message dropped.
    """

    policy: PerRequest[PolicyChoice] = None
    key: KeyRule | Mapping[str, KeyRule] | None = None
    cost: PerRequest[int | None] = None
    charge: Charge | None = None
    messages: str | None = None
    over_messages: Literal["close", "drop"] = "close"


class CompiledRule(Struct, frozen=True, kw_only=True):
    """A rule that was checked, in the form in which it is quickest to follow.

    `only` is the policy of the most common rule by far: one policy, at a cost that does not depend on the request.
    """

    policies: tuple[str, ...]
    only_policy: str | None
    choose_policies: Callable[[Scope], Any] | None
    finder: KeyFinder | None
    finders: Mapping[str, KeyFinder]
    cost: int | None
    choose_cost: Callable[[Scope], Any] | None
    is_charged: IsCharged | None
    messages: str | None
    drops_messages: bool

    def key_finder(self, name: str, policy: Policy | None) -> KeyFinder:
        """Give the function that finds whom to count under a policy."""
        if self.finder is not None:
            return self.finder
        given = self.finders.get(name)
        if given is not None:
            return given
        return address if policy is None or policy.key is None else key_finder(policy.key)


def compile_rule(rule: RateLimitRule, source: LimiterSource, otherwise: RateLimitRule) -> CompiledRule:
    """Compile a rule; what it leaves open is as `otherwise` says. Raises ConfigurationError for what cannot be used."""
    key = otherwise.key if rule.key is None else rule.key
    cost = otherwise.cost if rule.cost is None else rule.cost
    charge = otherwise.charge if rule.charge is None else rule.charge
    names = () if callable(rule.policy) else policies_in(rule.policy)
    single, several = _split(key)
    named = [*names, *several, *([] if rule.messages is None else [rule.messages])]
    require_policies(named, source.policies)
    for one in (single, *several.values(), *(source.policies[name].key for name in named if key is None)):
        check_rule(one, source)
    if rule.messages is not None and source.policies[rule.messages].is_concurrency:
        raise ConfigurationError("messages", rule.messages, "its permits are held by connections; name it as `policy`")
    return CompiledRule(
        policies=names,
        only_policy=names[0] if len(names) == 1 and not callable(cost) else None,
        choose_policies=rule.policy if callable(rule.policy) else None,
        finder=None if single is None else key_finder(single),
        finders={name: key_finder(one) for name, one in several.items()},
        cost=None if callable(cost) else cost,
        choose_cost=cost if callable(cost) else None,
        is_charged=None if charge is None else charge_predicate(charge),
        messages=rule.messages,
        drops_messages=rule.over_messages == "drop",
    )


def policies_in(choice: PolicyChoice) -> tuple[str, ...]:
    """Give the policies that are named."""
    if choice is None:
        return ()
    return (choice,) if isinstance(choice, str) else tuple(choice)


def require_policies(named: Iterable[object], known: Container[object]) -> None:
    """Raise ConfigurationError where a policy is named that does not exist."""
    for policy in named:
        if policy not in known:
            raise ConfigurationError("policy", policy, "name a policy that exists, or add it to `policies`")


def _split(key: KeyRule | Mapping[str, KeyRule] | None) -> tuple[KeyRule | None, Mapping[str, KeyRule]]:
    """Tell one rule for every policy from rules by policy."""
    if isinstance(key, Mapping):
        return None, cast("Mapping[str, KeyRule]", key)
    return key, {}
