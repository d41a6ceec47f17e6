"""The Litestar plugin: limits on routes, and the features of Tollhouse as dependencies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.plugins import InitPlugin, ReceiveRoutePlugin
from litestar.routes import ASGIRoute, BaseRoute, HTTPRoute, WebSocketRoute

from tollhouse.asgi.ratelimit.key_rules import KeyRule
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource, limiter_source
from tollhouse.asgi.ratelimit.refunds import Charge
from tollhouse.asgi.ratelimit.refusal_handlers import RefusalHandler
from tollhouse.asgi.ratelimit.rules import PolicyChoice
from tollhouse.asgi.types import PerRequest
from tollhouse.cache.cache import Cache
from tollhouse.limits.decision import RateLimited
from tollhouse.limits.policy.definition import PolicyDefinition
from tollhouse.litestar.refusals import rate_limited
from tollhouse.litestar.routes import RateLimitRoutes
from tollhouse.metrics import Metrics
from tollhouse.settings import Settings
from tollhouse.settings.model import Dialect


class TollhousePlugin(InitPlugin, ReceiveRoutePlugin):
    """Limits routes, and provides `limits`, `sessions` and `cache` to handlers.

    Connects on first use and closes with the application. A limit that cannot be used, such as a policy that does not
    exist, raises ConfigurationError when the application is made. RateLimited, which functions with `@limit` raise,
    becomes the response 429. An exception handler of the application, a router or a route for RateLimited makes the
    response to the refusals of the plugin too; `on_refusal` goes first, and may return a Litestar Response.

    The middleware runs before the application's own. With `innermost` it runs after them, so that `key="user"` sees
    the user that one of them authenticated. The other arguments are those of RateLimitMiddleware.
    """

    def __init__(
        self,
        target: str | Settings | None = None,
        *,
        namespace: str | None = None,
        policies: Mapping[str, PolicyDefinition] | None = None,
        policy: PerRequest[PolicyChoice] = "default",
        key: KeyRule | Mapping[str, KeyRule] | None = None,
        cost: PerRequest[int | None] = None,
        charge: Charge | None = None,
        on_refusal: RefusalHandler | None = None,
        messages: str | None = None,
        exempt: PerRequest[bool] = False,
        preflights: bool = False,
        exclude: str | None = None,
        headers: Dialect | None = None,
        trusted_proxies: Sequence[str] | None = None,
        ipv6_prefix_bits: int | None = None,
        innermost: bool = False,
        metrics: Metrics | None = None,
        strict: bool | None = None,
    ) -> None:
        self.source: LimiterSource = limiter_source(
            target,
            namespace=namespace,
            policies=policies,
            dialect=headers,
            trusted_proxies=trusted_proxies,
            ipv6_prefix_bits=ipv6_prefix_bits,
            metrics=metrics,
            strict=strict,
        )
        self._innermost = innermost
        routes = partial(RateLimitRoutes, policy=policy, key=key, cost=cost, charge=charge, on_refusal=on_refusal)
        self._middleware = routes(self.source, messages=messages, exempt=exempt, preflights=preflights, exclude=exclude)

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the middleware, the dependencies and the lifespan that closes them."""
        app_config.middleware.insert(len(app_config.middleware) if self._innermost else 0, self._middleware)
        app_config.lifespan.append(self._lifespan)  # pyright: ignore[reportUnknownMemberType] - Litestar leaves it open
        cast("Any", app_config).exception_handlers.setdefault(RateLimited, rate_limited)
        app_config.dependencies = {
            "limits": Provide(self.source.limiter),
            "sessions": Provide(self.source.sessions),
            "cache": Provide(self._cache),
            **app_config.dependencies,
        }
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Check the limit of the route."""
        checked = cast("HTTPRoute | WebSocketRoute | ASGIRoute", route)
        for handler in checked.route_handlers if isinstance(checked, HTTPRoute) else [checked.route_handler]:
            self._middleware.rule_of(handler)

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.source.aclose()

    async def _cache(self) -> Cache:
        tollhouse = await self.source.tollhouse()
        assert tollhouse is not None
        return tollhouse.cache
