"""The request that the running task serves, and what the application may learn of it: decisions and refusals."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, cast

from tollhouse.asgi.ratelimit.headers import RateLimitFields, tightest
from tollhouse.asgi.ratelimit.refusal_response import refusal_response
from tollhouse.asgi.ratelimit.request_context import IN_SCOPE, RequestContext
from tollhouse.asgi.response import HttpResponse
from tollhouse.asgi.types import Scope
from tollhouse.limits.decision import Decision, RateLimited
from tollhouse.wiring.current import CURRENT

CURRENT_REQUEST: Final = cast("ContextVar[RequestContext | None]", CURRENT)
"""The request that the running task serves; read it with `current_request`."""
_CALLS: Final[ContextVar[tuple[Decision, ...]]] = ContextVar("tollhouse_calls", default=())
"""The decisions about the calls of functions with `@limit` that run here outside of a request, the outermost first."""


def current_request() -> RequestContext | None:
    """Return the request that is being served here; None outside of one, and in a task that has outlived its own."""
    context = CURRENT_REQUEST.get()
    return None if context is None or context.is_detached else context


def request_in(scope: Scope) -> RequestContext | None:
    """Return the innermost context of the request with this scope, or None if no edge of ours has limited it yet."""
    found: RequestContext | None = scope.get(IN_SCOPE)
    if found is None or found.is_detached:
        return None
    current = current_request()
    return current if current is not None and current.outer is found else found


def current_decisions() -> tuple[Decision, ...]:
    """Return the decisions about the request that is being served here, in order; () if no limit has met it yet.

    There is one for each policy, its latest. Outside of a request they are those about the functions with `@limit` that
    are running here. Threads that a framework starts for plain functions have those of their request.
    """
    request = current_request()
    return _CALLS.get() if request is None else tuple(request.outermost.decisions_met())


def current_decision(policy: str | None = None) -> Decision | None:
    """Return the decision of a policy, or of all the one nearest to a refusal, about the request being served here.

    Return None if no limit has met the request, and in tasks that outlive it. A limit that is written in the code has a
    name that `Decision.policy` tells, or the one given as `name`. `current_decisions` says what counts outside of a
    request. Starlette, FastAPI and Litestar have the same decision as `request.state.rate_limit`.
    """
    decisions = current_decisions()
    if policy is not None:
        return next((one for one in decisions if one.policy == policy), None)
    request = current_request()
    return tightest(decisions, {} if request is None else request.outermost.policies) if decisions else None


@contextmanager
def in_call(decision: Decision) -> Generator[None]:
    """Make a decision current for the function that it admitted outside of a request."""
    token = _CALLS.set((*_CALLS.get(), decision))
    try:
        yield
    finally:
        _CALLS.reset(token)


def rate_limited_response(refused: RateLimited) -> HttpResponse:
    """Return the response to a refusal, for a handler of the application's own to send.

    It is what a refused request gets without a handler: 429, the RateLimit fields, `Retry-After` and problem details.
    The handler may change it; with a status of 400 or above it stays the refusal, and other limits charge nothing.
    """
    request = refused_request(refused)
    if request is None:
        return refusal_response(refused.decision, RateLimitFields().of(refused.decision), reveal_key=False)
    return request.refuse(refused.decision)


def refused_request(refused: RateLimited) -> RequestContext | None:
    """Return the outermost context of the request that was refused; None if it was no request."""
    origin = refused.origin if isinstance(refused.origin, RequestContext) else None
    context = current_request() if origin is None or origin.is_detached else origin
    context = context or origin
    return None if context is None else context.outermost
