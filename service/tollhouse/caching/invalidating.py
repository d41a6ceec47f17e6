"""`@invalidate_cache` and `@invalidate_cache_for`: functions whose success makes cached results invalid."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar, cast

from tollhouse.cache.pending import PendingInvalidations
from tollhouse.caching.arguments import Arguments
from tollhouse.caching.decorators import function_cache
from tollhouse.caching.function_cache import FunctionCache
from tollhouse.caching.target import CacheSource, CacheTarget
from tollhouse.caching.templates import Templates
from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.runtime.functions import OfArguments, checked_function, is_async, place_of
from tollhouse.sync.caller_thread import run_in_loop
from tollhouse.wiring.current import ANSWERED_INPUT

P = ParamSpec("P")
R = TypeVar("R")

Steps = Callable[[PendingInvalidations, Sequence[Any], Mapping[str, Any]], None]
"""Names what a call with these arguments invalidates."""
_NOTHING: Final = 'say in parentheses what to invalidate, as in @invalidate_cache(tags=["model:{model_id}"])'


def invalidate_cache(
    patterns: Iterable[str] = (), tags: Iterable[str] = (), *, cache: CacheTarget | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Invalidate what has one of the tags, or a key that matches one of the patterns, after each success of a function.

    In tags and patterns `{name}` stands for an argument, as in `model:{model_id}`, as it is before the function runs.
    Prefer tags: a pattern, such as `model:metrics:*`, looks at every key. A function that raises invalidates nothing. A
    caller that is cancelled leaves the invalidation to go on. If the store does not answer, the result is returned all
    the same: this is logged, and this process clears the cache before it reads it again. `cache` is that of `rcached`.
    """
    if callable(patterns) or not (patterns or tags):
        raise ConfigurationError("invalidate_cache", patterns, _NOTHING)

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        arguments = Arguments(function)
        all_tags = Templates("tags", tags, arguments)
        all_patterns = Templates("patterns", patterns, arguments, are_patterns=True)

        def steps(pending: PendingInvalidations, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
            bound = arguments.bind(args, kwargs)
            pending.tags(*all_tags.filled(bound))
            pending.patterns(*all_patterns.filled(bound))

        return _decorated("invalidate_cache", function, CacheSource(cache, place_of(function)), steps)

    return decorated


invalidates = invalidate_cache


def invalidate_cache_for(
    function: Callable[..., Any],
    arguments: Sequence[str] | OfArguments[Sequence[Any] | Mapping[str, Any]] | None = None,
    *,
    cache: CacheTarget | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Invalidate results of a cached function after each success of another one; all of them without `arguments`.

    `arguments` are names of parameters that both have: the result of the call with these arguments is invalidated. A
    function of the arguments returns those of that call instead, as a sequence or a mapping. The rest is as in
    `invalidate_cache`; `cache` is by default that of the cached function.
    """
    cached = function_cache(function)
    if isinstance(arguments, str):
        raise ConfigurationError("arguments", arguments, f"give a tuple of names: ({arguments!r},)")

    def decorated(caller: Callable[P, R]) -> Callable[P, R]:
        source = cached.source if cache is None else CacheSource(cache, place_of(caller))
        return _decorated("invalidate_cache_for", caller, source, _steps_for(cached, caller, arguments))

    return decorated


def _steps_for(cached: FunctionCache, caller: Callable[..., Any], arguments: Any) -> Steps:
    """Return the steps that invalidate the results of `cached` that a call of `caller` is about."""
    own, names = Arguments(caller), () if arguments is None or callable(arguments) else tuple(arguments)
    own.check_names("arguments", names)
    cached.arguments.check_names("arguments", names)

    def steps(pending: PendingInvalidations, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if arguments is None:
            pending.tags(cached.tag)
        elif callable(arguments):
            pending.keys(_key_of(cached, arguments(*args, **kwargs)))
        else:
            bound = own.bind(args, kwargs)
            pending.keys(_key_of(cached, {name: bound[name] for name in names}))

    return steps


def _key_of(cached: FunctionCache, given: Any) -> str:
    """Return the key of the call of a cached function with the given arguments."""
    if isinstance(given, Mapping):
        return cached.key((), cast("Mapping[str, Any]", given))
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return cached.key(cast("Sequence[Any]", given), {})
    raise InvalidInput("arguments", type(given).__name__, "the function has to return a tuple or a dict")


def _decorated(name: str, function: Callable[P, R], source: CacheSource, steps: Steps) -> Callable[P, R]:
    checked_function(name, function)

    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        pending = (await source.cache()).after_commit()
        with ANSWERED_INPUT:
            steps(pending, args, kwargs)
        async with pending:
            return await cast("Callable[..., Awaitable[Any]]", function)(*args, **kwargs)

    def synchronous(*args: Any, **kwargs: Any) -> Any:
        loop = source.loop_for_thread()
        pending = run_in_loop(loop, source.cache()).after_commit()
        with ANSWERED_INPUT:
            steps(pending, args, kwargs)
        result: Any = cast("Callable[..., Any]", function)(*args, **kwargs)
        run_in_loop(loop, pending.send())
        return result

    return cast("Callable[P, R]", wraps(function)(asynchronous if is_async(function) else synchronous))
