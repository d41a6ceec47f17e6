"""Tollhouse inside a Litestar application: one plugin, and a limit per route.

`Litestar(plugins=[TollhousePlugin(url, policies={"api": "100/minute"}, policy="api")])` limits every route;
`opt={"rate_limit": "login"}` names another policy for a route, `opt={"rate_limit": False}` none. Handlers ask
for `limits`, `sessions` and `cache` by name; their types are named here too, for annotations.

`RateLimitConfig(rate_limit=("minute", 10), middleware_class=AtomicRateLimitMiddleware)` makes Litestar's own limiter
exact, and changes nothing else about it.
"""

from tollhouse.cache.cache import Cache
from tollhouse.extras import not_installed
from tollhouse.limits.limiter import Limiter
from tollhouse.sessions.sessions import Sessions

try:
    from tollhouse.litestar.builtin import AtomicRateLimitMiddleware
    from tollhouse.litestar.plugin import TollhousePlugin
    from tollhouse.litestar.routes import OPT
except ModuleNotFoundError as error:
    raise not_installed("tollhouse.litestar", "tollhouse[service]", error) from error

__all__ = [
    "OPT",
    "AtomicRateLimitMiddleware",
    "Cache",
    "Limiter",
    "Sessions",
    "TollhousePlugin",
]
