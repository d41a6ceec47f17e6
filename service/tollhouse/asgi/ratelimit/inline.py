"""Inline limits: limits of a function or a route, written in its code.

Each is a policy of its own, whose name follows from its place: the name is the same in every process, and two places
with the same limit do not share a counter. Places that are to share one give the policy a name.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Container
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, cast

from msgspec import Struct, field

from tollhouse.asgi.ratelimit.current import in_call
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource
from tollhouse.asgi.ratelimit.refusal_response import LimitError, is_answered
from tollhouse.asgi.ratelimit.request_context import RequestContext
from tollhouse.asgi.response import discard
from tollhouse.asgi.types import resolve
from tollhouse.errors import ConfigurationError, InvalidInput, StoreError
from tollhouse.limits.decision import Decision, RateLimited
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Policy
from tollhouse.runtime.functions import checked_function, place_of

_PLACE_CHARACTERS_MAX: Final = 48
_DIGEST_BYTES: Final = 5
_PLACES: Final = 4_096
_OTHERS: Final = re.compile(r"[^a-z0-9]+")
CHOSEN_MAX: Final = 256
"""Different limits that one function may return in a process."""


_NOTHING: Final = nullcontext()


class InlineLimit(Struct, frozen=True, kw_only=True):
    """The name of a policy, or a limit such as `5/minute` with the name under which places share it, if any.

    It may be a function of the call, plain or async, that returns one of them. Each limit that it returns counts for
    itself. Raises InvalidInput at once for a limit that cannot be read, ConfigurationError for a generator function.
    """

    text: str | Callable[..., Any]
    algorithm: str = "sliding-window"
    name: str | None = None
    chosen: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            checked_function("policy", self.text)
        elif _is_notation(self.text):
            policy_for_place("", self.text, self.algorithm, self.name)

    def register(self, place: str, limiter: Limiter, text: str) -> str:
        """Return the name of the policy; a limit is added to the limiter's policies under its name for the place."""
        if not _is_notation(text):
            return text
        if isinstance(self.text, str):
            return register(limiter, policy_for_place(place, text, self.algorithm, self.name))
        shared = place if self.name is None else self.name
        return register(limiter, policy_for_place(shared, text, self.algorithm))

    async def choose(self, limiter: Limiter, *args: Any, **kwargs: Any) -> str:
        """Return what the function says of a call; raises ConfigurationError, with its value, if that is no limit."""
        return self.accept(limiter, await resolve(self.text, *args, **kwargs))

    def accept(self, limiter: Limiter, text: object) -> str:
        """Return what the function has returned; raises ConfigurationError, with its value, if that is no limit.

        Limits are remembered with their counters, metrics and parsed policies, so there may be 256 different ones.
        """
        if isinstance(text, str) and (text in self.chosen or text in limiter.policies):
            return text
        try:
            self.chosen.add(self._checked(text))
        except InvalidInput as error:
            raise self._no_limit(text, error.remedy) from error
        return cast("str", text)

    def _checked(self, text: object) -> str:
        if not isinstance(text, str):
            raise self._no_limit(text, "return a limit such as 5/minute, or the name of a policy")
        if not _is_notation(text):
            raise self._no_limit(text, "name a policy that exists, or return a limit such as 5/minute")
        if len(self.chosen) >= CHOSEN_MAX:
            raise self._no_limit(text, f"return one of at most {CHOSEN_MAX} limits; finer differences are a `cost`")
        policy_for_place("", text, self.algorithm)
        return text

    def _no_limit(self, value: object, remedy: str) -> ConfigurationError:
        assert not isinstance(self.text, str)
        return ConfigurationError("policy", value, f"{place_of(self.text)} returned it; {remedy}")


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


class InlineTake(Struct, frozen=True, kw_only=True):
    """The limit of one call or one route, ready to be taken from.

    `request` is the context of the request that is being served, whose response will describe the decision, or the
    error if the value of a field in `of_client` is wrong; `source` is used if there is none. `holds` says that the
    lease of a concurrency policy is held until the response was sent.
    """

    source: LimiterSource
    limiter: Limiter
    policy: str
    key: str
    of_client: Container[str]
    cost: int | None = None
    wait_ms: int = 0
    request: RequestContext | None = None
    holds: bool = False

    @asynccontextmanager
    async def admitted(self) -> AsyncGenerator[None, None]:
        """Take before the body runs, or hold a lease of a concurrency policy while it runs.

        Waits up to `wait_ms` for a refusal to end, and raises RateLimited before the body if it does not. If the body
        raises RateLimited, its units are refunded as `undo` says.
        """
        known = self.limiter.policies.get(self.policy)
        if known is not None and known.is_concurrency:
            async with AsyncExitStack() as held:
                with self.current(await self._decided(self._hold(held))):
                    yield
            return
        began_ms, taken = self.limiter.now_ms(), await self.take()
        try:
            with self.current(taken):
                yield
        except (RateLimited, InvalidInput, StoreError) as error:
            await self.undo(taken, error, began_ms)
            raise

    async def take(self) -> Decision:
        """Take, and wait for it if need be; raise RateLimited if it is refused."""
        if self.wait_ms:
            return await self._decided(self.limiter.acquire(self.policy, self.key, self.cost, wait_ms=self.wait_ms))
        return await self._decided(self.limiter.take(self.policy, self.key, self.cost))

    def current(self, decision: Decision) -> AbstractContextManager[None]:
        """Return what makes a decision current while the function runs; that of a request is current already."""
        return in_call(decision) if self.request is None else _NOTHING

    async def undo(self, taken: Decision, error: LimitError, began_ms: int) -> None:
        """Refund what was taken, at `began_ms` or later, for a call that another limit refused by the error.

        Inside a request its response decides: an application that catches the refusal and answers otherwise is charged.
        """
        if self.request is not None:
            if self.request.outermost.is_answered(error):
                self.request.outermost.add_charge((self.limiter, (taken,), None))
        elif isinstance(error, RateLimited):
            refund = self.limiter.start_undo(taken, age_ms=self.limiter.now_ms() - began_ms)
            if refund is not None:
                await asyncio.wait([refund])

    async def _hold(self, held: AsyncExitStack) -> Decision:
        lease = await held.enter_async_context(self.limiter.hold(self.policy, self.key, wait_ms=self.wait_ms))
        if self.request is not None and self.holds:
            self.request.keep(held)
        return lease.decision

    async def _decided(self, decision: Awaitable[Decision]) -> Decision:
        try:
            decided = await decision
        except (InvalidInput, StoreError) as error:
            record_error(self.request, error, self.of_client)
            raise
        return self._record(decided)

    def _record(self, decision: Decision) -> Decision:
        """Show the decision in the response; raise RateLimited if it is a refusal."""
        request, policy = self.request, self.limiter.policies.get(self.policy)
        if request is not None and policy is not None:
            request.outermost.add_policy(policy)
        if decision.allowed:
            if request is not None:
                request.outermost.add_decision(decision)
            return decision
        if request is None:
            request = RequestContext(self.source, self.limiter, {}, discard)
            request.detach()
        request.outermost.record_refusal(decision)
        raise RateLimited(decision, request)


def record_error(request: RequestContext | None, error: InvalidInput | StoreError, of_client: Container[str]) -> None:
    """Answer the request with the error, if there is a request and it is no mistake of the application."""
    if request is not None and is_answered(error, of_client):
        request.outermost.record_refusal(error)


def _is_notation(text: str) -> bool:
    """Return True for a limit, False for the name of a policy."""
    return text.strip()[:1].isdigit()


def _words(place: str) -> str:
    words = _OTHERS.sub("-", place.partition("\n")[0].lower())
    return words.lstrip("-0123456789")[:_PLACE_CHARACTERS_MAX].rstrip("-")
