"""Rate-limit rules: the rule that users write, and the form that it is compiled to once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, cast

from msgspec import Struct

from tollhouse.asgi.ratelimit.inline import InlineLimit
from tollhouse.asgi.ratelimit.key_rules import (
    KeyFinder,
    KeyRule,
    KeyValue,
    check_rule,
    key_finder,
    policy_key_finder,
    resolve_key,
)
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource
from tollhouse.asgi.ratelimit.refunds import Charge, IsCharged, charge_predicate
from tollhouse.asgi.ratelimit.refusal_handlers import RefusalHandler
from tollhouse.asgi.ratelimit.refusal_response import fields_of_client
from tollhouse.asgi.ratelimit.request_context import RequestContext
from tollhouse.asgi.types import PerRequest, Scope, header_of, resolve
from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.limits.decision import Decision
from tollhouse.limits.policy.policy import Policy
from tollhouse.runtime.functions import checked_function, place_of
from tollhouse.suggest import one_of

PolicyChoice = str | Sequence[str] | None
"""The policy to take from; of several, all or none are charged. None lets the request through uncounted."""


class RateLimitRule(Struct, frozen=True, kw_only=True):
    """A rule for a route that needs more than the name of a policy.

    `policy`, `key` and `cost` are values or functions of the ASGI scope, plain or async. Several policies are decided
    as one, each by its own key if `key` maps policies to keys. A function may also return a limit such as `5/minute` in
    place of a policy, as in `@limit`; functions of one module and qualified name share its counters. A field that is
    None has the value of the middleware, and then of the policy. `charge` names the responses that are charged; the
    units of others are refunded. Each message that a websocket receives takes from `messages`; above that limit the
    connection is closed, or the message dropped. `on_refusal` makes the response to a refusal; it gets the scope and
    the RateLimited.
    """

    policy: PerRequest[PolicyChoice] = None
    key: KeyRule | Mapping[str, KeyRule] | None = None
    cost: PerRequest[int | None] = None
    charge: Charge | None = None
    messages: str | None = None
    over_messages: Literal["close", "drop"] = "close"
    on_refusal: RefusalHandler | None = None


class CompiledRule(Struct, frozen=True, kw_only=True):
    """A rule that was checked, in the form in which it is quickest to follow.

    `of_client` are the fields that may hold what a client sent; every rule finds its key in the request. `plain` is the
    one policy of a rule that nothing has to be awaited for and whose charges are final, as most rules are. `key_of` is
    the key rule if it is a function of the scope, and then `finder` calls it.
    """

    plain: str | None
    policies: tuple[str, ...]
    chosen: InlineLimit | None
    key_of: Callable[[Scope], KeyValue | Awaitable[KeyValue]] | None
    finder: KeyFinder | None
    finders: Mapping[str, KeyFinder]
    cost: int | None
    choose_cost: Callable[[Scope], Any] | None
    of_client: frozenset[str]
    is_charged: IsCharged | None
    messages: str | None
    drops_messages: bool
    on_refusal: RefusalHandler | None

    @property
    def is_exempt(self) -> bool:
        """Whether the rule limits nothing."""
        return not self.policies and self.chosen is None and self.messages is None

    def key_finder(self, name: str, policy: Policy | None) -> KeyFinder:
        """Return the function that finds the key under a policy: the rule's own, else the policy's."""
        if self.finder is not None:
            return self.finder
        return self.finders.get(name) or policy_key_finder(policy)

    async def choose(self, context: RequestContext) -> Sequence[str]:
        """Return the policies that the function of the rule chooses for a request; a limit becomes a policy here."""
        limit, limiter = self.chosen, context.limiter
        assert limit is not None, "the rule names its policies"
        function = cast("Callable[[Scope], Any]", limit.text)
        choice = policies_in(await resolve(function, context.scope))
        names = [limit.register(place_of(function), limiter, limit.accept(limiter, one)) for one in choice]
        context.policies = limiter.policies
        return names

    def start(self, context: RequestContext) -> Decision | Awaitable[Decision] | None:
        """Start the take of a plain rule, and return what `start_take` does; None for any other rule.

        An error that the request is answered with is raised by the awaitable.
        """
        name = self.plain
        if name is None or (policy := context.policies.get(name)) is None or policy.is_concurrency:
            return None
        try:
            return self.start_take(name, policy, context, self.cost)
        except InvalidInput as error:
            return _raise(error)

    def start_take(
        self, name: str, policy: Policy | None, context: RequestContext, cost: int | None = None
    ) -> Decision | Awaitable[Decision]:
        """Start a take from one policy, for a request or for one message of a websocket.

        Return the decision if this process knows it, or what to await for it.
        """
        key_of = self.key_of
        key = key_of(context.scope) if key_of is not None else self.key_finder(name, policy)(context)
        if type(key) is str:
            return context.limiter.start_take(name, key, cost)
        return _take_for(key, name, context, cost)


async def _raise(error: InvalidInput) -> Decision:
    raise error


async def _take_for(found: object, name: str, context: RequestContext, cost: int | None) -> Decision:
    return await context.limiter.take(name, await resolve_key(found, context), cost)


def compile_rule(given: RateLimitRule | PolicyChoice, source: LimiterSource, otherwise: RateLimitRule) -> CompiledRule:
    """Return the rule compiled, with missing fields from `otherwise`.

    Raises ConfigurationError for a wrong one, or InvalidInput for a cost that is no number of units.
    """
    rule = given if isinstance(given, RateLimitRule) else RateLimitRule(policy=given)
    key = otherwise.key if rule.key is None else rule.key
    cost = otherwise.cost if rule.cost is None else rule.cost
    charge = otherwise.charge if rule.charge is None else rule.charge
    own = otherwise.on_refusal if rule.on_refusal is None else rule.on_refusal
    if own is not None:
        checked_function("on_refusal", own)
    names = () if callable(rule.policy) else policies_in(rule.policy)
    single, several = _split(key)
    named = [*names, *several, *([] if rule.messages is None else [rule.messages])]
    require_policies(named, source.policies)
    for one in (single, *several.values(), *(source.policies[name].key for name in named if key is None)):
        check_rule(one, source)
    if rule.messages is not None and source.policies[rule.messages].is_concurrency:
        raise ConfigurationError("messages", rule.messages, "its permits are held by connections; name it as `policy`")
    is_plain = charge is None and not callable(cost)
    return CompiledRule(
        plain=names[0] if is_plain and len(names) == 1 else None,
        policies=names,
        chosen=InlineLimit(text=rule.policy) if callable(rule.policy) else None,
        key_of=single if callable(single) else None,
        finder=None if single is None else key_finder(single),
        finders={name: key_finder(one) for name, one in several.items()},
        cost=None if callable(cost) else cost,
        choose_cost=cost if callable(cost) else None,
        of_client=fields_of_client(key=key_finder, cost=cost),
        is_charged=None if charge is None else charge_predicate(charge),
        messages=rule.messages,
        drops_messages=rule.over_messages == "drop",
        on_refusal=own,
    )


def is_preflight(scope: Scope) -> bool:
    """Return True for a CORS preflight: a browser sends it by itself, and shows no script a refusal of it."""
    return scope.get("method") == "OPTIONS" and header_of(scope, b"access-control-request-method") is not None


def policies_in(choice: PolicyChoice) -> tuple[str, ...]:
    """Return the names of the chosen policies."""
    if choice is None:
        return ()
    if not isinstance(cast("object", choice), Iterable):
        raise ConfigurationError("policy", choice, "name a policy or several, or give None for no limit")
    return (choice,) if isinstance(choice, str) else tuple(choice)


def checked_routes(
    routes: Mapping[str, PolicyChoice | RateLimitRule] | None,
) -> Mapping[str, PolicyChoice | RateLimitRule]:
    """Return the routes; raise ConfigurationError if they are no patterns with limits."""
    if not isinstance(cast("object", routes), Mapping | None):
        raise ConfigurationError("routes", routes, 'map patterns to limits, such as {"POST /login": "login"}')
    return routes or {}


def require_policies(named: Iterable[object], known: Collection[str]) -> None:
    """Raise ConfigurationError for the first policy that does not exist."""
    for policy in named:
        if not isinstance(policy, str) or policy not in known:
            raise ConfigurationError("policy", policy, f"{one_of(policy, known)}; or add it to `policies`")


def _split(key: KeyRule | Mapping[str, KeyRule] | None) -> tuple[KeyRule | None, Mapping[str, KeyRule]]:
    """Return the one key rule of all policies, if there is one, and the rules by policy."""
    if isinstance(key, Mapping):
        return None, cast("Mapping[str, KeyRule]", key)
    return key, {}
