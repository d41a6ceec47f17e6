"""The middleware that limits each route of a Litestar application by what its `opt` says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, cast

from litestar.handlers.base import BaseRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from tollhouse.asgi.ratelimit.enforcer import Gate
from tollhouse.asgi.ratelimit.headers import Dialect
from tollhouse.asgi.ratelimit.key_rules import KeyRule
from tollhouse.asgi.ratelimit.limiter_source import Source, source_of
from tollhouse.asgi.ratelimit.refunds import Charge
from tollhouse.asgi.ratelimit.rules import Choice, Plan, RateLimitRule, plan_of
from tollhouse.asgi.types import App, PerRequest, resolve
from tollhouse.limits.limiter import Limiter

OPT: Final = "rate_limit"
"""The key of a handler's `opt` that says what limits it: a policy, several, a RateLimitRule, or False for nothing."""

RouteRule = Choice | RateLimitRule | Literal[False]


class RateLimitRoutes:
    """Takes from the policy that a route names, else from `policy`; None leaves other routes alone.

    Litestar matches the route first, so a path that does not exist takes nothing. `limits` is an open limiter or a
    Source; the other arguments are those of RateLimitMiddleware. Requests whose path matches `exclude` pass uncounted.
    """

    def __init__(
        self,
        limits: Limiter | Source,
        *,
        policy: PerRequest[Choice] = None,
        key: KeyRule | Mapping[str, KeyRule] | None = None,
        cost: PerRequest[int | None] = None,
        charge: Charge | None = None,
        messages: str | None = None,
        exempt: PerRequest[bool] = False,
        headers: Dialect | None = None,
        trusted_proxies: Sequence[str] = (),
        exclude: str | None = None,
    ) -> None:
        self._source = (
            limits
            if isinstance(limits, Source)
            else source_of(limits, dialect=headers, trusted_proxies=trusted_proxies)
        )
        self._gate = Gate(self._source)
        self._otherwise = RateLimitRule(policy=policy, key=key, cost=cost, charge=charge, messages=messages)
        self._plan = plan_of(self._otherwise, self._source, self._otherwise)
        self._uncounted = plan_of(RateLimitRule(), self._source, RateLimitRule())
        self._exempt = exempt
        self._excluded: Callable[[str], Any] | None = None if exclude is None else re.compile(exclude).search
        self._passes = None if exempt is False and exclude is None else self._is_exempt
        self._plans: dict[BaseRouteHandler, Plan] = {}

    def __call__(self, app: ASGIApp) -> ASGIApp:
        """Stand in front of the rest of a route's middleware."""
        inner = cast("App", app)

        async def limited(scope: Scope, receive: Receive, send: Send) -> None:
            if self._passes is None or not await self._passes(scope):
                plan = self.plan_of(cast("BaseRouteHandler", scope["route_handler"]))
            else:
                plan = self._uncounted
            await self._gate.serve(plan, inner, cast("Any", scope), cast("Any", receive), cast("Any", send))

        return limited

    def plan_of(self, handler: BaseRouteHandler) -> Plan:
        """Give what limits a route; raises ConfigurationError for a policy that does not exist."""
        plan = self._plans.get(handler)
        if plan is None:
            plan = self._plans[handler] = self._compiled(handler.opt.get(OPT, self._plan))
        return plan

    def _compiled(self, given: RouteRule | Plan) -> Plan:
        if isinstance(given, Plan):
            return given
        if given is None or given is False:
            return self._uncounted
        rule = given if isinstance(given, RateLimitRule) else RateLimitRule(policy=given)
        return plan_of(rule, self._source, self._otherwise)

    async def _is_exempt(self, scope: Scope) -> bool:
        if self._excluded is not None and self._excluded(scope["path"]) is not None:
            return True
        return await resolve(self._exempt, cast("Any", scope))
