"""Litestar's own rate limit, decided by Tollhouse: the same configuration and responses, and an exact limit.

Litestar reads a counter, compares and writes it back, under a lock of its process: with several workers each of them
admits the limit, all requests of a process wait for each other, and a refusal has no Retry-After.
"""

from __future__ import annotations

from typing import Any, Final, cast

from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders
from litestar.exceptions import HTTPException, ServiceUnavailableException, TooManyRequestsException
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.middleware.rate_limit import RateLimitMiddleware as LitestarRateLimit
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from tollhouse.asgi.ratelimit.headers import retry_after
from tollhouse.asgi.ratelimit.inline import policy_for_place, register
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource, limiter_source
from tollhouse.asgi.ratelimit.refusal_response import is_answered, undecided_detail
from tollhouse.asgi.ratelimit.request_context import STATE
from tollhouse.asgi.response import RETRY_AFTER_S
from tollhouse.errors import InvalidInput, StoreError
from tollhouse.limits.decision import Decision
from tollhouse.litestar.plugin import TollhousePlugin
from tollhouse.litestar.server import settings_for_store

_RETRY_LATER: Final = {"Retry-After": str(RETRY_AFTER_S)}


class AtomicRateLimitMiddleware(LitestarRateLimit):
    """`RateLimitConfig(rate_limit=("minute", 10), middleware_class=AtomicRateLimitMiddleware)`.

    RateLimitConfig applies unchanged: the key, the exclusions, and the names of the fields. A refusal is Litestar's
    TooManyRequestsException, with `Retry-After`. Limits of one rate and one `store` share their counters, others do
    not.

    Counters are kept on the server of the application's TollhousePlugin; without one, on the server of the RedisStore
    that `store` names; without that, on the server of `tollhouse.load_settings()`. Connections opened here close with
    their event loop. While the server does not answer, each process counts for itself.
    """

    def __init__(self, app: ASGIApp, config: RateLimitConfig) -> None:
        super().__init__(app, config)
        unit, units = config.rate_limit
        self._policy = policy_for_place(f"litestar {config.store}", f"{units}/{unit}", "sliding-window")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the request and serve it; raises TooManyRequestsException if the limit is reached."""
        app: Any = scope["litestar_app"]
        request = app.request_class(scope)
        if await self.should_check_request(request):
            decision = await self._decide(app, self.cache_key_from_request(request))
            if not decision.allowed:
                raise TooManyRequestsException(headers=self._fields(decision))
            cast("Any", scope).setdefault("state", {})[STATE] = decision
            send = self._adding(decision, send)
        await self.app(scope, receive, send)

    async def _decide(self, app: Litestar, key: str) -> Decision:
        limiter = await _source_of(app, self.config).limiter()
        try:
            return await limiter.take(register(limiter, self._policy), key)
        except StoreError as error:
            known = {"outcome": error.outcome}
            raise ServiceUnavailableException(undecided_detail(error), headers=_RETRY_LATER, extra=known) from error
        except InvalidInput as error:
            if not is_answered(error, {"key"}):
                raise
            raise HTTPException(undecided_detail(error), status_code=422) from error

    def _fields(self, decision: Decision) -> dict[str, str]:
        wait = {name.decode(): value.decode() for name, value in retry_after(decision.retry_after_ms)}
        if not self.config.set_rate_limit_headers or not decision.limits:
            return wait
        (state,) = decision.limits
        return {
            self.config.rate_limit_policy_header_key: f"{state.limit}; w={state.window_ms // 1000}",
            self.config.rate_limit_limit_header_key: str(state.limit),
            self.config.rate_limit_remaining_header_key: str(state.remaining),
            self.config.rate_limit_reset_header_key: str(-(-state.reset_after_ms // 1000)),
            **wait,
        }

    def _adding(self, decision: Decision, send: Send) -> Send:
        fields = self._fields(decision)

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", [])
                headers = MutableScopeHeaders(message)
                for name, value in fields.items():
                    headers[name] = value
            await send(message)

        return adding if fields else send


def _source_of(app: Litestar, config: RateLimitConfig) -> LimiterSource:
    """Return the source that all routes of the application share, however many middlewares it has."""
    for plugin in app.plugins.init:
        if isinstance(plugin, TollhousePlugin):
            return plugin.source
    name = f"tollhouse_{config.store}"
    source = app.state.get(name)
    if source is None:
        source = app.state[name] = limiter_source(settings_for_store(config.get_store_from_app(app)))
    return source
