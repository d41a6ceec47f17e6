"""Inline limits: limits of a function or a route, written in its code.

Each is a policy of its own, whose name follows from its place: the name is the same in every process, and two places
with the same limit do not share a counter. Places that are to share one give the policy a name.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Container
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from tollhouse.asgi.ratelimit.refusal_response import is_answered
from tollhouse.asgi.ratelimit.request_context import RequestContext
from tollhouse.errors import ConfigurationError, InvalidInput, StoreError
from tollhouse.limits.decision import Decision, RateLimited
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Policy

_PLACE_CHARACTERS_MAX: Final = 48
_DIGEST_BYTES: Final = 5
_PLACES: Final = 4_096
_OTHERS: Final = re.compile(r"[^a-z0-9]+")


class InlineLimit(Struct, frozen=True, kw_only=True):
    """The name of a policy, or a limit such as `5/minute` with the name under which places share it, if any.

    Raises InvalidInput at once for a limit that cannot be read.
    """

    text: str
    algorithm: str = "sliding-window"
    name: str | None = None

    @property
    def is_notation(self) -> bool:
        """Whether the text is a limit, and not the name of a policy."""
        return self.text.strip()[:1].isdigit()

    def __post_init__(self) -> None:
        if self.is_notation:
            policy_for_place("", self.text, self.algorithm, self.name)

    def register(self, place: str, limiter: Limiter) -> str:
        """Return the name of the policy; a limit is added to the limiter's policies under its name for the place."""
        if not self.is_notation:
            return self.text
        return register(limiter, policy_for_place(place, self.text, self.algorithm, self.name))


@lru_cache(maxsize=_PLACES)
def policy_for_place(place: str, text: str, algorithm: str, name: str | None = None) -> Policy:
    """Return the policy of a limit at a place; raises InvalidInput if the text is no limit.

    Only the first line of the place is seen in the name, such as a route's; a digest covers the rest.
    """
    policy = parse_policy(name or "written", text, algorithm)
    if name is not None:
        return policy
    digest = blake2b(f"{place}\n{algorithm}\n{policy.text}".encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return parse_policy(f"{_words(place) or 'limit'}.{digest}", text, algorithm)


def register(limiter: Limiter, policy: Policy) -> str:
    """Add the policy to the limiter unless it is there, and return its name; a change of settings removes it again.

    Raises ConfigurationError if the name stands for other limits already.
    """
    registered = limiter.policies.get(policy.name)
    if registered is None:
        limiter.replace_policies({**limiter.policies, policy.name: policy})
    elif registered is not policy and registered != policy:
        remedy = f"it stands for {registered.text} already, not for {policy.text}; give another name"
        raise ConfigurationError("name", policy.name, remedy)
    return policy.name


@asynccontextmanager
async def admission(
    limiter: Limiter,
    policy: str,
    key: str,
    cost: int | None = None,
    *,
    context: RequestContext | None,
    of_client: Container[str],
    wait_ms: int = 0,
) -> AsyncGenerator[None, None]:
    """Take before the body runs, or hold a lease of a concurrency policy while it runs.

    Waits up to `wait_ms` for a refusal to end, and raises RateLimited before the body if it does not. The response to
    the request of `context` will describe the decision, or the error if a value of a field in `of_client` is wrong.
    """
    known, held = limiter.policies.get(policy), AsyncExitStack()
    try:
        if known is not None and known.is_concurrency:
            decision = (await held.enter_async_context(limiter.hold(policy, key, wait_ms=wait_ms))).decision
        elif wait_ms:
            decision = await limiter.acquire(policy, key, cost, wait_ms=wait_ms)
        else:
            decision = await limiter.take(policy, key, cost)
    except (InvalidInput, StoreError) as error:
        record_error(context, error, of_client)
        raise
    async with held:
        _record(context, known, decision)
        yield


def record_error(context: RequestContext | None, error: InvalidInput | StoreError, of_client: Container[str]) -> None:
    """Answer the request with the error, if there is a request and it is no mistake of the application."""
    if context is not None and is_answered(error, of_client):
        context.pending = error


def _record(context: RequestContext | None, policy: Policy | None, decision: Decision) -> None:
    if context is not None and policy is not None:
        context.add_policy(policy)
    if context is not None and decision.allowed:
        context.add_decision(decision)
    elif context is not None:
        context.pending = RateLimited(decision)  # not the one below, which refers to all that is on the stack
    if not decision.allowed:
        raise RateLimited(decision)


def _words(place: str) -> str:
    words = _OTHERS.sub("-", place.partition("\n")[0].lower())
    return words.lstrip("-0123456789")[:_PLACE_CHARACTERS_MAX].rstrip("-")
