"""What limits a request: the rule that users write, and the plan that it is compiled to once."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Literal, cast

from msgspec import Struct

from tollhouse.asgi.ratelimit.key_rules import KeyRule, Subject, address, check_rule, subject_by
from tollhouse.asgi.ratelimit.limiter_source import Source
from tollhouse.asgi.ratelimit.refunds import Charge, Charged, charged_by
from tollhouse.asgi.types import PerRequest, Scope
from tollhouse.errors import ConfigurationError
from tollhouse.limits.policy.policy import Policy

Choice = str | Sequence[str] | None
"""The policy to take from; of several, all or none are charged. None lets the request through uncounted."""


class RateLimitRule(Struct, frozen=True, kw_only=True):
    """What limits a request, in full: for a route that needs more said than the name of a policy.

    `policy`, `key` and `cost` are values or functions of the ASGI scope, plain or async; several policies are decided
    as one, each by its own key, where `key` says one for each policy. What is None is as the middleware says
    otherwise, and at last as the policy says. `charge` names the responses that count; whatever is answered otherwise
    is given back. Each message that a websocket receives is taken from `messages`; above that limit the connection is
    closed, or the message dropped.
    """

    policy: PerRequest[Choice] = None
    key: KeyRule | Mapping[str, KeyRule] | None = None
    cost: PerRequest[int | None] = None
    charge: Charge | None = None
    messages: str | None = None
    over_messages: Literal["close", "drop"] = "close"


class Plan(Struct, frozen=True, kw_only=True):
    """A rule that was checked, in the form in which it is quickest to follow.

    `only` is the policy of the most common rule by far: one policy, at a cost that does not depend on the request.
    """

    names: tuple[str, ...]
    only: str | None
    choose: Callable[[Scope], Any] | None
    subject: Subject | None
    subjects: Mapping[str, Subject]
    cost: int | None
    ask_cost: Callable[[Scope], Any] | None
    charged: Charged | None
    messages: str | None
    drops: bool

    def subject_of(self, name: str, policy: Policy | None) -> Subject:
        """Give the function that finds whom to count under a policy."""
        if self.subject is not None:
            return self.subject
        given = self.subjects.get(name)
        if given is not None:
            return given
        return address if policy is None or policy.key is None else subject_by(policy.key)


def plan_of(rule: RateLimitRule, source: Source, otherwise: RateLimitRule) -> Plan:
    """Compile a rule; what it leaves open is as `otherwise` says. Raises ConfigurationError for what cannot be used."""
    key = otherwise.key if rule.key is None else rule.key
    cost = otherwise.cost if rule.cost is None else rule.cost
    charge = otherwise.charge if rule.charge is None else rule.charge
    names = () if callable(rule.policy) else names_of(rule.policy)
    single, several = _split(key)
    named = [*names, *several, *([] if rule.messages is None else [rule.messages])]
    check_policies(named, source.policies)
    for one in (single, *several.values(), *(source.policies[name].key for name in named if key is None)):
        check_rule(one, source)
    if rule.messages is not None and source.policies[rule.messages].is_concurrency:
        raise ConfigurationError("messages", rule.messages, "its permits are held by connections; name it as `policy`")
    return Plan(
        names=names,
        only=names[0] if len(names) == 1 and not callable(cost) else None,
        choose=rule.policy if callable(rule.policy) else None,
        subject=None if single is None else subject_by(single),
        subjects={name: subject_by(one) for name, one in several.items()},
        cost=None if callable(cost) else cost,
        ask_cost=cost if callable(cost) else None,
        charged=None if charge is None else charged_by(charge),
        messages=rule.messages,
        drops=rule.over_messages == "drop",
    )


def names_of(choice: Choice) -> tuple[str, ...]:
    """Give the policies that are named."""
    if choice is None:
        return ()
    return (choice,) if isinstance(choice, str) else tuple(choice)


def check_policies(named: Iterable[object], known: Container[object]) -> None:
    """Raise ConfigurationError where a policy is named that does not exist."""
    for policy in named:
        if policy not in known:
            raise ConfigurationError("policy", policy, "name a policy that exists, or add it to `policies`")


def _split(key: KeyRule | Mapping[str, KeyRule] | None) -> tuple[KeyRule | None, Mapping[str, KeyRule]]:
    """Tell one rule for every policy from rules by policy."""
    if isinstance(key, Mapping):
        return None, cast("Mapping[str, KeyRule]", key)
    return key, {}
