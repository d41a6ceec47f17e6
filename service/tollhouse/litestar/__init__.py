"""Tollhouse inside a Litestar application: one plugin, and a limit per route.

`Litestar(plugins=[TollhousePlugin(url, policies={"api": "100/minute"}, policy="api")])` limits every route;
`opt={"rate_limit": "login"}` names another policy for a route, `opt={"rate_limit": False}` none. Handlers ask
for `limits`, `sessions` and `cache` by name; their types are named here too, for annotations.

`RateLimitConfig(rate_limit=("minute", 10), middleware_class=AtomicRateLimitMiddleware)` makes Litestar's own limiter
exact, and changes nothing else about it.
"""

from tollhouse.cache.cache import Cache
from tollhouse.limits.limiter import Limiter
from tollhouse.litestar.builtin import AtomicRateLimitMiddleware
from tollhouse.litestar.plugin import TollhousePlugin
from tollhouse.litestar.routes import OPT, RateLimitRoutes
from tollhouse.sessions.sessions import Sessions

__all__ = [
    "OPT",
    "AtomicRateLimitMiddleware",
    "Cache",
    "Limiter",
    "RateLimitRoutes",
    "Sessions",
    "TollhousePlugin",
]
