"""`@limit`: a limit for any function, inside a request or outside of one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial, wraps
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any, Final, ParamSpec, TypeVar, cast

from msgspec import Struct

from tollhouse.asgi.ratelimit.inline import InlineLimit, admission, record_error
from tollhouse.asgi.ratelimit.key_rules import (
    KeyFinder,
    address,
    key_finder,
    key_text,
    policy_key_finder,
    resembles_rule,
    resolve_key,
)
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource, source_if_given
from tollhouse.asgi.ratelimit.refusal_response import fields_of_client
from tollhouse.asgi.ratelimit.request_context import current_request
from tollhouse.asgi.types import resolve
from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.policy import Policy
from tollhouse.settings import Settings
from tollhouse.sync.loop_thread import LoopThread
from tollhouse.wiring import Tollhouse

P = ParamSpec("P")
R = TypeVar("R")

_NO_LIMITER: Final = "give the limiter, the Tollhouse or its URL as `limiter`: our middleware serves no request here"
_NO_KEY: Final = "give a key, as text or as a function of the arguments: our middleware serves no request here"


def limit(
    policy: str,
    *,
    key: str | Callable[..., Any] | None = None,
    cost: int | Callable[..., Any] | None = None,
    wait_ms: int = 0,
    name: str | None = None,
    algorithm: str = "sliding-window",
    limiter: Limiter | Tollhouse | Settings | str | None = None,
    namespace: str | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Limit a function: a call above the limit raises RateLimited, after waiting up to `wait_ms` for its turn.

    `policy` is the name of a policy, or a limit such as `5/minute; 100/hour` for this function alone; functions that
    give it the same `name` share it. `key` and `cost` are values or functions of the arguments, plain or async; a key
    may also be a rule in words (`address`, `user`, `header:x-tenant`, ...) about the request that is being served.

    Inside a request that our middleware or plugin serves, `limiter` defaults to its limiter and `key` to the client's
    address; the response describes the limit, and RateLimited becomes the response 429. A key or a cost that a function
    found and no limiter accepts raises InvalidInput, which becomes 422 there. Outside, limiter and key are required.
    `namespace` is that of the application, if others use the server of `limiter`. A function that is not async waits in
    its thread for the event loop of its request; outside a request it needs `limiter` as a URL or Settings. In a thread
    whose event loop runs it raises ConfigurationError, because it would block the loop.
    """
    inline = InlineLimit(text=policy, algorithm=algorithm, name=name)
    rule = key_finder(key) if isinstance(key, str) and resembles_rule(key) else None
    value = key if rule is None else None
    made = partial(
        _FunctionLimit,
        limit=inline,
        rule=rule,
        key=value,
        cost=cost,
        of_client=fields_of_client(key=address if value is None else value, cost=cost),
        wait_ms=wait_ms,
        source=source_if_given(limiter, namespace),
    )
    return lambda function: _decorated(function, made)


def _decorated(function: Callable[P, R], made: Callable[..., _FunctionLimit]) -> Callable[P, R]:
    place, is_async = f"{function.__module__}.{function.__qualname__}", iscoroutinefunction(function)
    if isasyncgenfunction(function):
        raise ConfigurationError("limit", place, "limit a function that the generator calls, or its caller")
    wrapper = _asynchronous if is_async else _synchronous
    return cast("Callable[P, R]", wraps(function)(wrapper(function, made(place=place, is_async=is_async))))


class _FunctionLimit(Struct, frozen=True, kw_only=True):
    """The limit of one function, applied to each call."""

    limit: InlineLimit
    place: str
    is_async: bool
    rule: KeyFinder | None
    key: str | Callable[..., Any] | None
    cost: int | Callable[..., Any] | None
    of_client: frozenset[str]
    wait_ms: int
    source: LimiterSource | None

    async def admission(self, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[None]:
        """Return the context manager that admits a call with these arguments."""
        limiter = await self.limiter()
        name = self.limit.register(self.place, limiter)
        policy = limiter.policies.get(name)
        if policy is not None and policy.is_concurrency and not self.is_async:
            raise ConfigurationError("limit", self.place, "only async functions hold leases; make it async")
        context = current_request()
        try:
            key = await self.key_of(policy, args, kwargs)
        except InvalidInput as error:
            record_error(context, error, self.of_client)
            raise
        cost: int | None = await resolve(self.cost, *args, **kwargs)
        return admission(limiter, name, key, cost, context=context, of_client=self.of_client, wait_ms=self.wait_ms)

    async def limiter(self) -> Limiter:
        """Return the limiter of the running event loop."""
        context = current_request()
        source = self.source or (None if context is None else context.source)
        if source is None:
            raise ConfigurationError("limiter", self.place, _NO_LIMITER)
        return await source.limiter()

    async def key_of(self, policy: Policy | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return the key: of the decorator, else by the policy's rule, else the client's address."""
        context = current_request()
        found: Any = await resolve(self.key, *args, **kwargs)
        if found is not None:
            return key_text(found)
        if context is None:
            raise ConfigurationError("key", self.place, _NO_KEY)
        finder = self.rule or policy_key_finder(policy)
        return await resolve_key(finder(context), context)


def _asynchronous(function: Callable[..., Any], limit: _FunctionLimit) -> Callable[..., Any]:
    async def limited(*args: Any, **kwargs: Any) -> Any:
        async with await limit.admission(*args, **kwargs):
            return await function(*args, **kwargs)

    return limited


def _synchronous(function: Callable[..., Any], limit: _FunctionLimit) -> Callable[..., Any]:
    thread = LoopThread()

    async def admit(*args: Any, **kwargs: Any) -> None:
        async with await limit.admission(*args, **kwargs):
            return

    def limited(*args: Any, **kwargs: Any) -> Any:
        if _loop_runs_here():
            raise ConfigurationError("limit", limit.place, "it would block the event loop; make it async")
        context = current_request()
        if context is not None:
            asyncio.run_coroutine_threadsafe(admit(*args, **kwargs), context.loop).result()
        elif limit.source is not None and limit.source.per_loop is None:
            remedy = "give its URL: a limiter that is open belongs to its event loop, and this function has none"
            raise ConfigurationError("limiter", limit.place, remedy)
        else:
            thread.run(admit(*args, **kwargs))
        return function(*args, **kwargs)

    return limited


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
