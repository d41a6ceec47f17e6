"""Tollhouse inside a Litestar application: one plugin, and a limit per route.

`Litestar(plugins=[TollhousePlugin(url, policies={"api": "100/minute"}, policy="api")])` limits every route;
`opt={"rate_limit": "login"}` names another policy for a route, `opt={"rate_limit": False}` none. Handlers ask
for `limits`, `sessions` and `cache` by name; their types are named here too, for annotations.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.plugins import InitPlugin, ReceiveRoutePlugin
from litestar.routes import ASGIRoute, BaseRoute, HTTPRoute
from litestar.types import ASGIApp, Receive, Scope, Send

from tollhouse import wiring
from tollhouse.asgi.address import client_address
from tollhouse.asgi.limit import App, PerRequest, Takes, answer, check_policies, resolve
from tollhouse.asgi.loops import PerLoop
from tollhouse.cache.cache import Cache
from tollhouse.limits.limiter import Limiter
from tollhouse.metrics import Metrics
from tollhouse.sessions.sessions import Sessions
from tollhouse.settings import Settings, trusted_networks

__all__ = ["OPT", "Cache", "Limiter", "RateLimitRoutes", "Sessions", "TollhousePlugin"]

OPT: Final = "rate_limit"
"""The key of a handler's `opt` that names its policy, or False for none."""


class RateLimitRoutes(ASGIMiddleware):
    """Takes from the policy that a route names, else from `policy`; None leaves other routes alone.

    Litestar matches the route first, so a path that does not exist takes nothing.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(
        self,
        limits: Takes,
        *,
        policy: str | None = None,
        key: PerRequest[str] | None = None,
        trusted_proxies: Sequence[str] = (),
        exclude: str | None = None,
    ) -> None:
        trusted = trusted_networks(trusted_proxies)
        self._limits = limits
        self._policy = policy
        self._key: PerRequest[str] = (lambda scope: client_address(scope, trusted)) if key is None else key
        if exclude is not None:
            excluded = re.compile(exclude)
            self.should_bypass_for_scope = lambda scope: excluded.search(scope["path"]) is not None

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Serve one request."""
        policy = scope["route_handler"].opt.get(OPT, self._policy)
        if policy is None or policy is False:
            await next_app(scope, receive, send)
            return
        plain: Any = scope
        key = await resolve(self._key, plain)
        taken = self._limits.take(policy, key)
        await answer(taken, policy, cast("App", next_app), plain, cast("Any", receive), cast("Any", send))


class TollhousePlugin(InitPlugin, ReceiveRoutePlugin):
    """Limits routes, and gives handlers `limits`, `sessions` and `cache`.

    Connects on first use and closes with the application. A route that names a policy which does not exist is
    a ConfigurationError when the application is made.
    """

    def __init__(
        self,
        target: str | Settings = Settings(),  # noqa: B008 - frozen
        *,
        policies: Mapping[str, str] | None = None,
        policy: str | None = "default",
        key: PerRequest[str] | None = None,
        exclude: str | None = None,
        trusted_proxies: Sequence[str] = (),
        metrics: Metrics | None = None,
    ) -> None:
        settings = Settings(url=target) if isinstance(target, str) else target
        shared = Metrics() if metrics is None else metrics
        self._opened = PerLoop(lambda: wiring.open(settings, policies=policies, metrics=shared))
        self._known = frozenset(wiring.open(settings, policies=policies, metrics=shared).policies)
        self._middleware = RateLimitRoutes(
            self._opened,
            policy=policy,
            key=key,
            trusted_proxies=trusted_proxies or settings.trusted_proxies,
            exclude=exclude,
        )
        check_policies(filter(None, [policy]), self._known)

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the middleware, the dependencies and the end of both."""
        app_config.middleware.insert(0, self._middleware)
        app_config.lifespan.append(self._lifespan)  # pyright: ignore[reportUnknownMemberType] - Litestar leaves it open
        app_config.dependencies = {
            "limits": Provide(self._limits),
            "sessions": Provide(self._sessions),
            "cache": Provide(self._cache),
            **app_config.dependencies,
        }
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Check the policies that handlers name."""
        match route:
            case HTTPRoute():
                opts = [handler.opt for handler in route.route_handlers]
            case ASGIRoute():
                opts = [route.route_handler.opt]
            case _:
                return
        check_policies(filter(None, (opt.get(OPT) for opt in opts)), self._known)

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self._opened.aclose()

    async def _limits(self) -> Limiter:
        return (await self._opened.here()).limits

    async def _sessions(self) -> Sessions:
        return (await self._opened.here()).sessions

    async def _cache(self) -> Cache:
        return (await self._opened.here()).cache
