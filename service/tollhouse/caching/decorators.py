"""`@rcached` and `@cache_response`: functions whose results are cached, by their arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial, wraps
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast, overload

from tollhouse.cache.reading.result import CacheResult
from tollhouse.cache.warming.bounded import Items
from tollhouse.cache.warming.report import WarmReport
from tollhouse.caching.function_cache import FunctionCache
from tollhouse.caching.target import CacheSource, CacheTarget
from tollhouse.caching.warming import warm_calls
from tollhouse.errors import ConfigurationError
from tollhouse.runtime.functions import OfArguments, checked_function, is_async, named_only, place_of
from tollhouse.sync.caller_thread import run_beside_loop, run_in_loop

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
F_co = TypeVar("F_co", covariant=True)
B_co = TypeVar("B_co", covariant=True)

_CACHE: Final = "__tollhouse_cache__"


class CachedFunction(Protocol[P, R_co, F_co, B_co]):
    """A function whose results are cached; of a method, call the four functions on the class, with the instance.

    For an async function each returns a coroutine, as calls do.
    """

    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the cached result, or call the function."""
        ...

    @overload
    def __get__(self, instance: None, owner: type, /) -> CachedFunction[P, R_co, F_co, B_co]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[Any, Q], R, Any, Any], instance: object, owner: type | None = None, /
    ) -> Callable[Q, R]: ...

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of a call with these arguments, for `cache.invalidate` and the like."""
        ...

    def fetch(self, *args: P.args, **kwargs: P.kwargs) -> F_co:
        """Return what a call returns, with its source, its age and the rest of its lifetime, as `Cache.fetch` does."""
        ...

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> B_co:
        """Remove the result of a call; return whether there was one. Raises StoreUnavailable if that is not known."""
        ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function, whatever is cached, and cache its result."""
        ...

    async def warm(self, calls: Items[Any], *, at_once: int = 8) -> WarmReport:
        """Cache the results of these calls, unless they are cached; return how many were there, computed and failed.

        A call is a tuple or list of arguments, a mapping of them by name, or the only argument. At most `at_once` run
        at the same time, and none while the store is down. An error is that of its call, and the others go on. Await it
        also for a function that is not async, whose calls run in threads.
        """
        ...


class CacheDecorator(Protocol):
    """Caches the results of the function that it decorates, plain or async."""

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload] - a coroutine is a T too, and this line is for it
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> CachedFunction[P, Coroutine[Any, Any, T], Coroutine[Any, Any, CacheResult[T]], Coroutine[Any, Any, bool]]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> CachedFunction[P, T, CacheResult[T], bool]: ...


@named_only("@rcached(ttl=60)")
def rcached(
    *,
    ttl: int | None,
    key: str | OfArguments[str] | None = None,
    tags: Iterable[str] | Callable[[Any], Iterable[str]] = (),
    version: int | str = 1,
    ignore: Iterable[str] = (),
    cache: CacheTarget | None = None,
) -> CacheDecorator:
    """Cache the results of a function for `ttl` seconds, by its arguments; one caller computes, the others wait.

    `ttl` is 1 s to 30 days; up to a tenth of it is taken off, so that results do not expire together. While the store
    is down the function is called each time. A wrong option is a ConfigurationError when the function is decorated, a
    result that has no encoding or is not of its type is LoadFailed.

    A call finds the result of one whose arguments are of the same types and values, also in another process. A changed
    `version` begins anew. Arguments that say nothing about the result, such as a request or a database session, are
    named in `ignore`; one without a canonical form is InvalidInput otherwise. `self` too is ignored, or has a method
    `__cache_key__()` that returns what tells instances apart. The result is of the type that the return annotation
    names, on the first call as well: what msgspec decodes, dataclasses, Pydantic models; without one it is of plain
    types. A cached result of another type is computed again. An error passes through, and is not cached.

    `key` is the first word or words of keys, by default the name of the function; entries match the pattern `{key}:*`.
    A function of the arguments returns the whole key. `tags` are texts in which `{name}` stands for an argument, or a
    function of the result. A parameter `use_cache` is not part of keys: False bypasses the cache.

    `cache` is an open CacheManager, Cache or Tollhouse, or the settings or URL of one; by default that of the request
    which our middleware or plugin serves, else that of the settings. Results of a manager are stored as its values are:
    with its codec and serializers, and for its `ttl` if that of the function is None. A function that is not async runs
    in its caller's thread; outside of a request `cache` is a URL or settings for it. Generators are refused.
    """
    return _decorator(ttl_s=ttl, key=key, tags=tags, version=version, ignore=ignore, cache=cache)


cached = rcached


@named_only('@cache_response(key_prefix="users", ttl=60)')
def cache_response(
    *,
    key_prefix: str,
    ttl: int | None,
    tags: Iterable[str] | Callable[[Any], Iterable[str]] = (),
    version: int | str = 1,
    ignore: Iterable[str] = (),
    cache: CacheTarget | None = None,
) -> CacheDecorator:
    """Cache the results of a function as `rcached` does; entries match the pattern `{key_prefix}:*`."""
    return _decorator(ttl_s=ttl, key=key_prefix, tags=tags, version=version, ignore=ignore, cache=cache)


def function_cache(function: object) -> FunctionCache:
    """Return the cache of a decorated function; raise ConfigurationError if it has none."""
    found = getattr(function, _CACHE, None)
    if not isinstance(found, FunctionCache):
        raise ConfigurationError("function", function, "its results are not cached; decorate it with rcached")
    return found


def _decorator(*, cache: CacheTarget | None, **options: Any) -> CacheDecorator:
    def decorated(function: Callable[..., Any]) -> Any:
        if isinstance(function, type) or not callable(function):
            raise ConfigurationError("rcached", function, "it is no function; decorate a function or a method")
        checked_function("rcached", function)
        own = FunctionCache(function, source=CacheSource(cache, place_of(function)), **options)
        own.load = function if is_async(function) else partial(asyncio.to_thread, function)
        return (_asynchronous if is_async(function) else _synchronous)(function, own)

    return cast("CacheDecorator", decorated)


def _asynchronous(function: Callable[..., Any], own: FunctionCache) -> Callable[..., Any]:
    @wraps(function)
    async def found(*args: Any, **kwargs: Any) -> Any:
        return await own.read(lambda: function(*args, **kwargs), args, kwargs)

    async def fetch(*args: Any, **kwargs: Any) -> CacheResult[Any]:
        return await own.fetch(lambda: function(*args, **kwargs), args, kwargs)

    async def refresh(*args: Any, **kwargs: Any) -> Any:
        return (await own.fetch(lambda: function(*args, **kwargs), args, kwargs, fresh=True)).value

    async def invalidate(*args: Any, **kwargs: Any) -> bool:
        return await own.invalidate(args, kwargs)

    return _with_functions(found, own, fetch=fetch, invalidate=invalidate, refresh=refresh)


def _synchronous(function: Callable[..., Any], own: FunctionCache) -> Callable[..., Any]:
    def beside_loop(read: Callable[..., Coroutine[Any, Any, T]], args: Any, kwargs: Any) -> T:
        def make(load: Callable[[], Awaitable[Any]]) -> Coroutine[Any, Any, T]:
            return read(load, args, kwargs)

        return run_beside_loop(own.source.loop_for_thread(), make, lambda: function(*args, **kwargs))

    @wraps(function)
    def found(*args: Any, **kwargs: Any) -> Any:
        return beside_loop(own.read, args, kwargs)

    def fetch(*args: Any, **kwargs: Any) -> CacheResult[Any]:
        return beside_loop(own.fetch, args, kwargs)

    def refresh(*args: Any, **kwargs: Any) -> Any:
        return beside_loop(partial(own.fetch, fresh=True), args, kwargs).value

    def invalidate(*args: Any, **kwargs: Any) -> bool:
        return run_in_loop(own.source.loop_for_thread(), own.invalidate(args, kwargs))

    return _with_functions(found, own, fetch=fetch, invalidate=invalidate, refresh=refresh)


def _with_functions(
    found: Callable[..., Any], own: FunctionCache, **functions: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a real function, which every framework knows how to call, with the functions beside it."""

    def key(*args: Any, **kwargs: Any) -> str:
        return own.key(args, kwargs)

    async def warm(calls: Items[Any], *, at_once: int = 8) -> WarmReport:
        return await warm_calls(own, calls, at_once)

    vars(found).update(key=key, warm=warm, **functions, **{_CACHE: own})
    return found
