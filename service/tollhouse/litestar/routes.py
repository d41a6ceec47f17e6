"""Litestar middleware that limits each route by its `opt`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, cast
from urllib.parse import unquote

from litestar.handlers.base import BaseRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec.structs import replace

from tollhouse.asgi.ratelimit.enforcer import Enforcer
from tollhouse.asgi.ratelimit.key_rules import KeyRule
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource, limiter_source
from tollhouse.asgi.ratelimit.refunds import Charge
from tollhouse.asgi.ratelimit.refusal_handlers import RefusalHandler
from tollhouse.asgi.ratelimit.rules import CompiledRule, PolicyChoice, RateLimitRule, compile_rule
from tollhouse.asgi.route_patterns import path_below, plain_spelling
from tollhouse.asgi.types import App, PerRequest, resolve
from tollhouse.asgi.types import Scope as AsgiScope
from tollhouse.errors import ConfigurationError
from tollhouse.limits.limiter import Limiter
from tollhouse.litestar.refusals import exception_handler, in_asgi
from tollhouse.settings.model import Dialect
from tollhouse.wiring import Tollhouse

OPT: Final = "rate_limit"
"""The key of a handler's `opt` that says what limits it: a policy, several, a RateLimitRule, or False for nothing."""

RouteRule = PolicyChoice | RateLimitRule | Literal[False]


class RateLimitRoutes:
    """Takes from the policy that a route names, else from `policy`; if that is None, other routes have no limit.

    Litestar matches the route first, so a path that does not exist takes nothing. `limits` is an open limiter or
    Tollhouse, or a LimiterSource; the other arguments are those of RateLimitMiddleware. Requests pass uncounted if the
    regular expression `exclude` is found in their path, which begins below the root path of the application and has the
    prefix of a mount.
    """

    def __init__(
        self,
        limits: Limiter | Tollhouse | LimiterSource,
        *,
        policy: PerRequest[PolicyChoice] = None,
        key: KeyRule | Mapping[str, KeyRule] | None = None,
        cost: PerRequest[int | None] = None,
        charge: Charge | None = None,
        on_refusal: RefusalHandler | None = None,
        messages: str | None = None,
        exempt: PerRequest[bool] = False,
        preflights: bool = False,
        headers: Dialect | None = None,
        trusted_proxies: Sequence[str] | None = None,
        ipv6_prefix_bits: int | None = None,
        exclude: str | None = None,
    ) -> None:
        self._source = (
            limits
            if isinstance(limits, LimiterSource)
            else limiter_source(
                limits, dialect=headers, trusted_proxies=trusted_proxies, ipv6_prefix_bits=ipv6_prefix_bits
            )
        )
        own = None if on_refusal is None else in_asgi(on_refusal)
        self._enforcer = Enforcer(
            self._source, preflights=preflights, on_refusal=own, framework_handler=exception_handler
        )
        self._defaults = RateLimitRule(
            policy=policy, key=key, cost=cost, charge=charge, messages=messages, on_refusal=on_refusal
        )
        self._default_rule = self._compile(self._defaults)
        self._exempt = exempt
        self._excluded: Callable[[str], Any] | None = None if exclude is None else _expression(exclude).search
        self._passes = None if exempt is False and exclude is None else self._is_exempt
        self._rules: dict[BaseRouteHandler, CompiledRule] = {}

    def __call__(self, app: ASGIApp) -> ASGIApp:
        """Wrap the rest of a route's middleware."""
        inner = cast("App", app)

        async def limited(scope: Scope, receive: Receive, send: Send) -> None:
            if self._passes is None or not await self._passes(scope):
                rule = self.rule_of(cast("BaseRouteHandler", scope["route_handler"]))
            else:
                rule = self._enforcer.no_rule
            await self._enforcer.serve(rule, inner, cast("Any", scope), cast("Any", receive), cast("Any", send))

        return limited

    def rule_of(self, handler: BaseRouteHandler) -> CompiledRule:
        """Return the rule of a route; raises ConfigurationError for a policy that does not exist."""
        rule = self._rules.get(handler)
        if rule is None:
            rule = self._rules[handler] = self._compile(handler.opt.get(OPT, self._default_rule))
        return rule

    def _compile(self, given: RouteRule | CompiledRule) -> CompiledRule:
        if isinstance(given, CompiledRule):
            return given
        if given is None or given is False:
            return self._enforcer.no_rule
        rule = compile_rule(given, self._source, self._defaults)
        return rule if rule.on_refusal is None else replace(rule, on_refusal=in_asgi(rule.on_refusal))

    async def _is_exempt(self, scope: Scope) -> bool:
        return self._is_excluded(scope) or await resolve(self._exempt, cast("Any", scope))

    def _is_excluded(self, scope: Scope) -> bool:
        """Return True if the path matches as it was sent and in its plain spelling, which an application may serve."""
        if self._excluded is None:
            return False
        path = _path_of(cast("Any", scope))
        return all(self._excluded(spelling) is not None for spelling in (path, plain_spelling(path)))


def _expression(exclude: str) -> re.Pattern[str]:
    try:
        return re.compile(exclude)
    except (re.error, TypeError) as error:
        raise ConfigurationError("exclude", exclude, f"give a regular expression, such as ^/health: {error}") from error


def _path_of(scope: AsgiScope) -> str:
    """Return the path in the whole application: for a handler that is mounted, Litestar has cut its prefix off."""
    if not getattr(scope["route_handler"], "is_mount", False):
        return scope["path"]
    return path_below(unquote(scope["raw_path"].decode()), scope.get("root_path", ""))
