"""`@limit`: a limit for any function, inside a request or outside of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial, wraps
from inspect import isawaitable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

from msgspec import Struct

from tollhouse import wiring
from tollhouse.asgi.matched_route import is_handler, route_name
from tollhouse.asgi.ratelimit.current import current_request
from tollhouse.asgi.ratelimit.inline import InlineLimit, InlineTake, record_error
from tollhouse.asgi.ratelimit.key_rules import (
    KeyFinder,
    KeyValue,
    address,
    key_finder,
    key_text,
    policy_key_finder,
    resembles_rule,
    resolve_key,
)
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource, default_source, source_if_given
from tollhouse.asgi.ratelimit.refusal_response import fields_of_client
from tollhouse.asgi.types import Scope, resolve
from tollhouse.errors import ConfigurationError, InvalidInput, StoreError
from tollhouse.limits.decision import Decision, RateLimited
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.policy import Policy
from tollhouse.runtime.functions import OfArguments, checked_function, is_async, place_of
from tollhouse.settings import Settings
from tollhouse.sync.caller_thread import refuse_blocking, run_in_loop
from tollhouse.sync.loop_thread import PROCESS
from tollhouse.wiring import Tollhouse

P = ParamSpec("P")
R = TypeVar("R")
OnRefusal = (
    Callable[Concatenate[RateLimited, Any, Any, Any, Any, ...], Any]
    | Callable[Concatenate[RateLimited, Any, Any, Any, ...], Any]
    | Callable[Concatenate[RateLimited, Any, Any, ...], Any]
    | Callable[Concatenate[RateLimited, Any, ...], Any]
    | Callable[Concatenate[RateLimited, ...], Any]
)
"""A function of the refusal and of any arguments, plain or async. As in OfArguments, the last line says it all."""

_NO_LIMIT: Final = (
    'it is no function: write the limit in parentheses, as in @limit("5/minute"), and a function below it'
)
_NO_LIMITER: Final = (
    "our middleware serves no request here, and the settings set no server: "
    "give the limiter, the Tollhouse or its URL as `limiter`, or set TOLLHOUSE_URL"
)
_NO_KEY: Final = "give a key, as text or as a function of the arguments: our middleware serves no request here"


def limit(
    policy: str | OfArguments[str],
    *,
    key: str | OfArguments[KeyValue] | None = None,
    cost: int | OfArguments[int | None] | None = None,
    on_refusal: OnRefusal | None = None,
    wait_ms: int = 0,
    name: str | None = None,
    algorithm: str = "sliding-window",
    limiter: Limiter | Tollhouse | Settings | str | None = None,
    namespace: str | None = None,
    strict: bool | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Limit a function: a call above the limit raises RateLimited, after waiting up to `wait_ms` for its turn.

    `policy` is the name of a policy, or a limit such as `5/minute; 100/hour` for this function alone, and for each of
    the routes that it is the handler of. Elsewhere functions of one module and qualified name share the limit, such as
    those that a factory makes; `name` tells them apart, and lets others share it. `policy`, `key` and `cost` are values
    or functions of the arguments, plain or async; a key may also be a rule in words (`address`, `header:x-tenant`, ...)
    about the request. `on_refusal` is called, with the RateLimited and the arguments, in place of a refused function.

    Inside a request that our middleware or plugin serves, `limiter` defaults to its limiter and `key` to the client's
    address; the response describes the limit, RateLimited becomes 429, and InvalidInput for a key or a cost 422.
    Outside, a key is required, and `limiter` unless the settings set a server. `namespace` is the application's. A
    function that is not async waits for the event loop of its request; outside, `limiter` is a URL or settings.
    """
    rule = key_finder(key) if isinstance(key, str) and resembles_rule(key) else None
    value = key if rule is None else None
    made = partial(
        _FunctionLimit,
        limit=InlineLimit(text=policy, algorithm=algorithm, name=name),
        rule=rule,
        key=value,
        cost=cost,
        of_client=fields_of_client(key=address if value is None else value, cost=cost),
        on_refusal=on_refusal,
        wait_ms=wait_ms,
        source=source_if_given(limiter, namespace, strict=strict),
    )
    return lambda function: _decorated(function, made)


def _decorated(function: Callable[P, R], made: Callable[..., _FunctionLimit]) -> Callable[P, R]:
    """Return the function with its limit; raises ConfigurationError for what is none, or runs nothing when called."""
    if not callable(function):
        raise ConfigurationError("limit", function, _NO_LIMIT)
    checked_function("limit", function)
    limited = made(place=place_of(function), is_async=is_async(function))
    if limited.on_refusal is not None:
        checked_function("on_refusal", limited.on_refusal)
    wrapper = _asynchronous if limited.is_async else _synchronous
    return cast("Callable[P, R]", wraps(function)(wrapper(function, limited)))


class _FunctionLimit(Struct, frozen=True, kw_only=True):
    """The limit of one function, applied to each call."""

    limit: InlineLimit
    place: str
    is_async: bool
    rule: KeyFinder | None
    key: str | Callable[..., Any] | None
    cost: int | Callable[..., Any] | None
    of_client: frozenset[str]
    on_refusal: Callable[..., Any] | None
    wait_ms: int
    source: LimiterSource | None

    async def admission(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> InlineTake:
        """Return the admission of a call with these arguments."""
        request = current_request()
        source = self.source or (_default_source() if request is None else request.source)
        if source is None:
            raise ConfigurationError("limiter", self.place, _NO_LIMITER)
        limiter = await source.limiter()
        served = request.scope if request is not None and is_handler(request.scope, function) else None
        limit = self.limit
        text = limit.text if isinstance(limit.text, str) else await limit.choose(limiter, *args, **kwargs)
        name = limit.register(self.place if served is None else self._place_behind(served), limiter, text)
        policy = limiter.policies.get(name)
        if policy is not None and policy.is_concurrency and not self.is_async:
            raise ConfigurationError("limit", self.place, "only async functions hold leases; make it async")
        try:
            key = await self.key_of(policy, args, kwargs)
        except InvalidInput as error:
            record_error(request, error, self.of_client)
            raise
        return InlineTake(
            source=source,
            limiter=limiter,
            policy=name,
            key=key,
            of_client=self.of_client,
            cost=await resolve(self.cost, *args, **kwargs),
            wait_ms=self.wait_ms,
            request=request,
            holds=served is not None,
        )

    def _place_behind(self, scope: Scope) -> str:
        """Return the function, behind the name of the route that it serves."""
        route = route_name(scope)
        return f"{route}\n{self.place}" if route else self.place

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


def _default_source() -> LimiterSource | None:
    return default_source(wiring.settings_with_server)


def _asynchronous(function: Callable[..., Any], limit: _FunctionLimit) -> Callable[..., Any]:
    async def limited(*args: Any, **kwargs: Any) -> Any:
        admission = await limit.admission(function, *args, **kwargs)
        async with admission.admitted():
            return await function(*args, **kwargs)

    async def answered(*args: Any, **kwargs: Any) -> Any:
        async with AsyncExitStack() as admitted:
            try:
                admission = await limit.admission(function, *args, **kwargs)
                await admitted.enter_async_context(admission.admitted())
            except RateLimited as refused:
                made = await resolve(limit.on_refusal, refused, *args, **kwargs)
                _fall_back()
                return made
            return await function(*args, **kwargs)

    return limited if limit.on_refusal is None else answered


def _synchronous(function: Callable[..., Any], limit: _FunctionLimit) -> Callable[..., Any]:
    async def admit(*args: Any, **kwargs: Any) -> tuple[InlineTake, int, Decision]:
        admission = await limit.admission(function, *args, **kwargs)
        return admission, admission.limiter.now_ms(), await admission.take()

    def limited(*args: Any, **kwargs: Any) -> Any:
        _require_thread(limit)
        try:
            admission, began_ms, taken = _run(admit(*args, **kwargs))
        except RateLimited as refused:
            if limit.on_refusal is None:
                raise
            made = limit.on_refusal(refused, *args, **kwargs)
            made = _run(_awaited(made)) if isawaitable(made) else made
            _fall_back()
            return made
        try:
            with admission.current(taken):
                return function(*args, **kwargs)
        except (RateLimited, InvalidInput, StoreError) as error:
            _run(admission.undo(taken, error, began_ms))
            raise

    return limited


def _fall_back() -> None:
    """Take note that the application goes on without what was refused: a failure after that is one of its own."""
    request = current_request()
    if request is not None:
        request.outermost.falls_back = True


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    request = current_request()
    return run_in_loop(PROCESS.loop if request is None else request.loop, coroutine)


async def _awaited(made: Awaitable[Any]) -> Any:
    return await made


def _require_thread(limit: _FunctionLimit) -> None:
    """Raise ConfigurationError if a function that is not async cannot wait here for its decision."""
    refuse_blocking("limit", limit.place)
    if current_request() is None and limit.source is not None and limit.source.per_loop is None:
        remedy = "give its URL: a limiter that is open belongs to its event loop, and this function has none"
        raise ConfigurationError("limiter", limit.place, remedy)
