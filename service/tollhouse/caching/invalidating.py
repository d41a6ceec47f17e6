"""`@invalidate_cache` and `@invalidate_cache_for`: functions whose success makes cached results invalid."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar, cast

from tollhouse.cache.cache import Cache
from tollhouse.caching.arguments import Arguments
from tollhouse.caching.decorators import function_cache
from tollhouse.caching.function_cache import FunctionCache
from tollhouse.caching.target import CacheSource, CacheTarget
from tollhouse.caching.templates import Templates
from tollhouse.errors import ConfigurationError, InvalidInput, StoreError
from tollhouse.logs import Log
from tollhouse.runtime.background import BackgroundTasks
from tollhouse.runtime.functions import OfArguments, checked_function, is_async, place_of
from tollhouse.sync.caller_thread import run_in_loop

P = ParamSpec("P")
R = TypeVar("R")

Invalidation = Callable[[Cache], Awaitable[object]]
"""One step: what a cache is told."""
_NOTHING: Final = 'say in parentheses what to invalidate, as in @invalidate_cache(tags=["model:{model_id}"])'
_log = Log("tollhouse.cache")


def invalidate_cache(
    patterns: Iterable[str] = (), tags: Iterable[str] = (), *, cache: CacheTarget | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Invalidate what has one of the tags, or a key that matches one of the patterns, after each success of a function.

    In tags and patterns `{name}` stands for an argument, as in `model:{model_id}`. Prefer tags: a pattern, such as
    `model:metrics:*`, looks at every key. A function that raises invalidates nothing. A caller that is cancelled leaves
    the invalidation to go on. Raises StoreUnavailable if the store did not answer: the function has run then, and old
    results may still be served. `cache` is that of `rcached`.
    """
    if callable(patterns) or not (patterns or tags):
        raise ConfigurationError("invalidate_cache", patterns, _NOTHING)

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        arguments = Arguments(function)
        all_tags = Templates("tags", tags, arguments)
        all_patterns = Templates("patterns", patterns, arguments, are_patterns=True)

        def steps(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Invalidation]:
            bound = arguments.bind(args, kwargs)
            found: list[Invalidation] = []
            if told := all_tags.filled(bound):
                found.append(lambda cache: cache.invalidate_tags(*told))
            return found + [_of_pattern(pattern) for pattern in all_patterns.filled(bound)]

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


Steps = Callable[[Sequence[Any], Mapping[str, Any]], list[Invalidation]]
"""What to tell the cache after a call with these arguments."""


def _steps_for(cached: FunctionCache, caller: Callable[..., Any], arguments: Any) -> Steps:
    """Return the steps that invalidate the results of `cached` that a call of `caller` is about."""
    own, names = Arguments(caller), () if arguments is None or callable(arguments) else tuple(arguments)
    own.check_names("arguments", names)
    cached.arguments.check_names("arguments", names)

    def steps(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Invalidation]:
        if arguments is None:
            return [lambda cache: cache.invalidate_tags(cached.tag)]
        if callable(arguments):
            return [_of_call(cached, arguments(*args, **kwargs))]
        bound = own.bind(args, kwargs)
        return [_of_call(cached, {name: bound[name] for name in names})]

    return steps


def _of_call(cached: FunctionCache, given: Any) -> Invalidation:
    if isinstance(given, Mapping):
        key = cached.key((), cast("Mapping[str, Any]", given))
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes):
        key = cached.key(cast("Sequence[Any]", given), {})
    else:
        raise InvalidInput("arguments", type(given).__name__, "the function has to return a tuple or a dict")
    return lambda cache: cache.invalidate(key)


def _of_pattern(pattern: str) -> Invalidation:
    return lambda cache: cache.delete_pattern(pattern)


def _decorated(name: str, function: Callable[P, R], source: CacheSource, steps: Steps) -> Callable[P, R]:
    checked_function(name, function)
    announcer = _Announcer(source)

    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        result = await cast("Callable[..., Awaitable[Any]]", function)(*args, **kwargs)
        await announcer.tell(steps(args, kwargs))
        return result

    def synchronous(*args: Any, **kwargs: Any) -> Any:
        loop = source.loop_for_thread()
        result: Any = cast("Callable[..., Any]", function)(*args, **kwargs)
        run_in_loop(loop, announcer.tell(steps(args, kwargs)))
        return result

    return cast("Callable[P, R]", wraps(function)(asynchronous if is_async(function) else synchronous))


class _Announcer:
    """Tells the cache of one function what has changed, also if the caller is cancelled meanwhile."""

    def __init__(self, source: CacheSource) -> None:
        self._source = source
        self._tasks = BackgroundTasks()  # each is bounded by the deadlines of its store calls

    async def tell(self, steps: Sequence[Invalidation]) -> None:
        cache = await self._source.cache()
        task = self._tasks.start(self._run(cache, steps), "tollhouse-cache-invalidation")
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    async def _run(self, cache: Cache, steps: Sequence[Invalidation]) -> None:
        for step in steps:
            await step(cache)


def _log_failure(task: asyncio.Task[None]) -> None:
    """Log that an invalidation failed whose caller is gone."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, StoreError):
        _log.warning("cache not invalidated", extra={"reason": str(error)})
