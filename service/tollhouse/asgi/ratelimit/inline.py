"""Lets one call through by one policy, or raises RateLimited: for functions, and for parts of a request."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from msgspec import Struct

from tollhouse.asgi.ratelimit.derived import is_notation, policy_for_place, register
from tollhouse.asgi.ratelimit.request_context import RequestContext
from tollhouse.limits.decision import Decision, RateLimited
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.policy import Policy


class InlineLimit(Struct, frozen=True, kw_only=True):
    """A limit as it was written: the name of a policy, or a notation, with the name under which it is shared."""

    text: str
    algorithm: str = "sliding-window"
    name: str | None = None

    def check(self) -> None:
        """Raise InvalidInput at once for a notation that cannot be read."""
        if is_notation(self.text):
            policy_for_place("", self.text, self.algorithm, self.name)

    def register(self, place: str, limiter: Limiter) -> str:
        """Give the name of the policy that the limiter has for it at a place."""
        if not is_notation(self.text):
            return self.text
        return register(limiter, policy_for_place(place, self.text, self.algorithm, self.name))


@asynccontextmanager
async def admission(
    limiter: Limiter,
    policy: str,
    key: str,
    cost: int | None = None,
    *,
    context: RequestContext | None,
    wait_ms: int = 0,
) -> AsyncGenerator[None, None]:
    """Hold a permit while the body runs, where the policy has permits; else take before it begins.

    Waits up to `wait_ms` for a refusal to end, and raises RateLimited, before the body, where it does not. The
    response of the request that `context` serves will tell of the decision.
    """
    known = limiter.policies.get(policy)
    if known is not None and known.is_concurrency:
        async with limiter.hold(policy, key, wait_ms=wait_ms) as lease:
            _record(context, known, lease.decision)
            yield
        return
    if wait_ms:
        _record(context, known, await limiter.acquire(policy, key, cost, wait_ms=wait_ms))
    else:
        _record(context, known, await limiter.take(policy, key, cost))
    yield


def _record(context: RequestContext | None, policy: Policy | None, decision: Decision) -> None:
    if context is not None and policy is not None:
        context.add_policy(policy)
    if context is not None and decision.allowed:
        context.add_decision(decision)
    elif context is not None:
        context.pending_refusal = decision
    if not decision.allowed:
        raise RateLimited(decision)
