"""Rate limits for any ASGI application: one line around it, no lifespan needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from tollhouse.asgi.ratelimit.enforcer import Enforcer
from tollhouse.asgi.ratelimit.key_rules import KeyRule
from tollhouse.asgi.ratelimit.limiter_source import limiter_source
from tollhouse.asgi.ratelimit.refunds import Charge
from tollhouse.asgi.ratelimit.refusal_handlers import RefusalHandler
from tollhouse.asgi.ratelimit.rules import CompiledRule, PolicyChoice, RateLimitRule, checked_routes, compile_rule
from tollhouse.asgi.route_patterns import RoutePatterns
from tollhouse.asgi.starlette_handlers import exception_handler
from tollhouse.asgi.types import App, Message, PerRequest, Receive, Scope, Send, resolve
from tollhouse.errors import ConfigurationError
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.definition import PolicyDefinition
from tollhouse.metrics import Metrics
from tollhouse.settings import Settings
from tollhouse.settings.model import Dialect
from tollhouse.wiring import Tollhouse

_LIMITED: Final = frozenset({"http", "websocket"})


class RateLimitMiddleware:
    """Takes from a policy for every request and every websocket, before the application sees it.

    Pass the server as `url` or `settings`, or an open `limiter` (a Limiter or a Tollhouse), which its owner closes.
    Without any of them the settings are those of `tollhouse.load_settings()`, read when the middleware is made.
    Applications on one server need a `namespace` each, here or in the settings, else they share counters.
    `routes` maps methods and paths to limits, such as `{"POST /login": "login", "/api/*": "api", "/health": None}`;
    the first pattern that matches wins, and other requests use `policy`. A path that a framework may route like another
    is matched like that one too (docs/limits-in-an-app.md). The value of a pattern is a policy, several that are
    decided as one, a RateLimitRule, or None for no limit. RateLimitRule explains `policy`, `key`, `cost`,
    `charge` and `messages`; without a `key`, here or in the policy, the client's address is used. A true `exempt` lets
    a request through uncounted, and CORS preflights pass unless `preflights` is true. Forwarding fields are believed
    only from `trusted_proxies`. IPv6 clients are counted by networks of `ipv6_prefix_bits`. `headers` is the dialect of
    the RateLimit fields. All three default to the settings.

    While a server refuses what only a change of the setup mends, such as a wrong password, requests follow the outage
    rule, as in an outage; if `strict` is true they get 503.

    `on_refusal` makes the response to a refusal: a function of the scope and the RateLimited that returns an
    HttpResponse or an ASGI response. Without it an exception handler that the application has for RateLimited is asked
    (Starlette, FastAPI). Fields and refunds are the same; with a status below 400 the response is no refusal.

    The middleware connects on the first request, once per event loop, and closes at the end of the lifespan. Other
    kinds of scope pass through untouched.
    """

    def __init__(
        self,
        app: App,
        *,
        url: str | None = None,
        settings: Settings | None = None,
        namespace: str | None = None,
        limiter: Limiter | Tollhouse | None = None,
        policies: Mapping[str, PolicyDefinition] | None = None,
        policy: PerRequest[PolicyChoice] = "default",
        routes: Mapping[str, PolicyChoice | RateLimitRule] | None = None,
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
        metrics: Metrics | None = None,
        strict: bool | None = None,
    ) -> None:
        self.app, self._exempt = app, exempt
        made = partial(limiter_source, namespace=namespace, policies=policies, dialect=headers, metrics=metrics)
        self._source = source = made(
            _target(url, settings, limiter),
            trusted_proxies=trusted_proxies,
            ipv6_prefix_bits=ipv6_prefix_bits,
            strict=strict,
        )
        asked = partial(exception_handler, app)
        self._enforcer = Enforcer(source, preflights=preflights, on_refusal=on_refusal, framework_handler=asked)
        rule = RateLimitRule(policy=policy, key=key, cost=cost, charge=charge, messages=messages, on_refusal=on_refusal)
        self._default_rule = compile_rule(rule, source, rule)
        compiled = {pattern: compile_rule(given, source, rule) for pattern, given in checked_routes(routes).items()}
        self._routes = _patterns(app, compiled) if compiled else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        kind = scope["type"]
        if kind not in _LIMITED:
            await self.app(scope, receive, self._closing(send) if kind == "lifespan" else send)
            return
        rule, parameters = self._default_rule, None
        if self._exempt is not False and await resolve(self._exempt, scope):
            rule = self._enforcer.no_rule
        elif self._routes is not None:
            rule, parameters = self._routes.find(scope) or (rule, parameters)
        await self._enforcer.serve(rule, self.app, scope, receive, send, parameters)

    async def aclose(self) -> None:
        """Close what this event loop opened, in an application without a lifespan."""
        await self._source.aclose()

    def _closing(self, send: Send) -> Send:
        """Close before the server receives that the shutdown is complete, because it may end the loop then."""

        async def closing(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self.aclose()
            await send(message)

        return closing


def _patterns(app: App, rules: Mapping[str, CompiledRule]) -> RoutePatterns[CompiledRule]:
    root_path = getattr(app, "root_path", "")  # of a FastAPI application, which puts it into the scope itself
    return RoutePatterns(rules, lambda rule: rule.is_exempt, root_path)


def _target(
    url: str | None, settings: Settings | None, limiter: Limiter | Tollhouse | None
) -> Limiter | Tollhouse | Settings | str | None:
    if limiter is not None and (url, settings) != (None, None):
        raise ConfigurationError("limiter", "given", "it knows its server and policies; drop url and settings")
    if url is not None and settings is not None:
        raise ConfigurationError("url", url, "settings name the server too; give one of them")
    if limiter is not None:
        return limiter
    return url if settings is None else settings
