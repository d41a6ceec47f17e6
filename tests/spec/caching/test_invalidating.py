"""`@invalidate_cache` and `@invalidate_cache_for`: after the success of a function, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import tollhouse
from tests.asgi import blamed, get
from tests.caches import Seam, open_cache
from tests.worlds import StoreWorld
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.cache.cache import Cache
from tollhouse.caching.decorators import CachedFunction, cache_response, rcached
from tollhouse.caching.invalidating import invalidate_cache, invalidate_cache_for
from tollhouse.errors import ConfigurationError, InvalidInput, StoreUnavailable

INVALIDATE_TAGS = "cache/invalidate_tags"


class Counter:
    """A cached function that counts its calls, and what it found for some names."""

    def __init__(self, cache: Cache) -> None:
        self._calls = 0

        @rcached(ttl=60, tags=["user:{name}"], cache=cache)
        async def count(name: str, number: int = 1) -> int:
            self._calls += 1
            return self._calls

        self.count: CachedFunction[..., Any, Any, Any] = count

    async def found(self, *names: str) -> list[int]:
        return [await self.count(name) for name in names]


async def test_tags_are_invalidated_after_success(world: StoreWorld) -> None:
    """S4-05, S4-06, S4-53: what has a tag is computed again, the rest stays, and the result is that of the function."""
    cache = open_cache(world)
    counter = Counter(cache)

    @invalidate_cache(tags=["user:{name}"], cache=cache)
    async def rename(name: str, to: str) -> str:
        """Rename a user."""
        return to

    before = await counter.found("ada", "bob")
    renamed = await rename("ada", to="eve")

    assert (before, renamed, await counter.found("ada", "bob")) == ([1, 2], "eve", [3, 2])
    assert (rename.__name__, rename.__doc__) == ("rename", "Rename a user.")


async def test_a_failure_invalidates_nothing(world: StoreWorld) -> None:
    """S4-05: a function that raises has changed nothing, so its results go on to be served."""
    cache = open_cache(world)
    counter = Counter(cache)

    @invalidate_cache(tags=["user:{name}"], cache=cache)
    @invalidate_cache_for(counter.count)
    async def rename(name: str) -> None:
        raise KeyError(name)

    before = await counter.found("ada")
    with pytest.raises(KeyError):
        await rename("ada")

    assert await counter.found("ada") == before


async def test_one_function_is_invalidated(world: StoreWorld) -> None:
    """S3-15: all results of a cached function, or that of the call with the same arguments, or with chosen ones."""
    cache = open_cache(world)
    counter, other = Counter(cache), rcached(ttl=60, key="other", cache=cache)(_one)

    @invalidate_cache_for(counter.count)
    async def all_of_it() -> None: ...

    @invalidate_cache_for(counter.count, ["name"])
    async def by_name(number: int, name: str) -> None: ...

    @invalidate_cache_for(counter.count, lambda user: (user.lower(),))
    async def by_position(user: str) -> None: ...

    @invalidate_cache_for(counter.count, lambda user: {"name": user}, cache=cache)
    async def by_mapping(user: str) -> None: ...

    found = [await counter.found("ada", "bob")]
    for call in (all_of_it, partial(by_name, 7, "ada"), partial(by_position, "BOB"), partial(by_mapping, user="ada")):
        await call()
        found.append(await counter.found("ada", "bob"))

    assert found == [[1, 2], [3, 4], [5, 4], [5, 6], [7, 6]]
    assert await other.invalidate() is False


async def test_patterns_are_invalidated_after_success(world: StoreWorld) -> None:
    """S3-16, S4-07, S4-34: keys that match are removed; an argument in a pattern is one word of it."""
    cache = open_cache(world)
    for key in ("model:metrics:a", "model:metrics:b", "model:comparison:c", "model:other:d"):
        await cache.get_or_load(key, _one)

    @invalidate_cache(patterns=["model:metrics:{model_id}", "model:comparison:*"], cache=cache)
    async def train(model_id: str) -> str:
        return model_id

    await train("a")

    keys = ["model:metrics:a", "model:metrics:b", "model:comparison:c", "model:other:d"]
    assert [await cache.invalidate(key) for key in keys] == [False, True, False, True]


async def test_results_of_a_function_match_its_first_words(world: StoreWorld) -> None:
    """S4-33, S4-34: `{key_prefix}:*` matches the results of cache_response, `{name}:*` those of rcached."""
    cache, calls = open_cache(world), list[str]()

    @cache_response(key_prefix="model:metrics", ttl=60, cache=cache)
    async def metrics(model_id: str) -> int:
        calls.append(model_id)
        return len(calls)

    @rcached(ttl=60, cache=cache)
    async def other(model_id: str) -> int:
        calls.append(model_id)
        return len(calls)

    @invalidate_cache(patterns=["model:metrics:*"], cache=cache)
    async def train() -> None: ...

    @invalidate_cache(patterns=["other:*"], cache=cache)
    async def change() -> None: ...

    found = [[await metrics("a"), await metrics("b"), await other("a")]]
    for call in (train, change):
        await call()
        found.append([await metrics("a"), await metrics("b"), await other("a")])

    assert found == [[1, 2, 3], [4, 5, 3], [4, 5, 6]]


@pytest.mark.parametrize("how", ["tags", "patterns", "for", "for a call"])
async def test_an_invalidation_that_could_not_be_sent_is_made_up_for(
    world: StoreWorld, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """P6, P8: the function has run, so its result is returned; this process reads nothing older, and that is logged."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)
    counter = Counter(cache)
    decorate: dict[str, Callable[[Callable[[str], Any]], Callable[[str], Any]]] = {
        "tags": invalidate_cache(tags=["user:{name}"], cache=cache),
        "patterns": invalidate_cache(patterns=["count:*"], cache=cache),
        "for": invalidate_cache_for(counter.count),
        "for a call": invalidate_cache_for(counter.count, ["name"]),
    }

    async def rename(name: str) -> str:
        seam.failing.add("everything")
        return f"renamed {name}"

    before = await counter.found("ada", "bob")
    renamed = [await decorate[how](rename)("ada") for _ in range(2)]
    seam.failing.clear()

    assert (before, renamed) == ([1, 2], ["renamed ada"] * 2)
    assert [message.startswith("cache not invalidated") for message in caplog.messages] == [True]
    assert await counter.found("ada", "bob") == [3, 4]


async def test_a_function_that_is_not_async_returns_its_result_too(world: StoreWorld) -> None:
    """P6, P8: what could not be sent from its thread is made up for as well."""
    async with tollhouse.open(world.url) as opened:
        seam = Seam(opened.stores.cache)
        cache = open_cache(world, seam)
        await cache.set("k", "old", tags=["t"])
        seam.failing.add("everything")

        @invalidate_cache(tags=["t"], cache=cache)
        def change() -> str:
            return "changed"

        async def call(_: Request) -> Response:
            return PlainTextResponse(await asyncio.to_thread(change))

        served = RateLimitMiddleware(Starlette(routes=[Route("/", call)]), policy=None, url=world.url)
        assert (await get(served)).text == "changed"

        seam.failing.clear()
        assert await cache.get("k") is None


LONG = "x" * 1024
BAD_INPUT: dict[str, tuple[Callable[[Cache], Any], str]] = {
    "tag": (lambda cache: invalidate_cache(tags=["{name}"], cache=cache), "tag"),
    "pattern": (lambda cache: invalidate_cache(patterns=["user:{name}:*"], cache=cache), "pattern"),
    "word": (lambda cache: invalidate_cache(patterns=["user:{other}"], cache=cache), "other"),
    "arguments": (
        lambda cache: invalidate_cache_for(Counter(cache).count, lambda name, other: f"{name}{other}"),
        "arguments",
    ),
}


@pytest.mark.parametrize("kind", BAD_INPUT)
async def test_bad_input_raises_before_the_function_runs(world: StoreWorld, kind: str) -> None:
    """A mistake must not lose the result of a function that has changed data: it is InvalidInput before that."""
    decorate, field = BAD_INPUT[kind]
    ran: list[str] = []

    async def rename(name: str, other: object) -> None:
        ran.append(name)

    with pytest.raises(InvalidInput) as refused:
        await decorate(open_cache(world))(rename)(LONG, object())

    assert (refused.value.field, ran) == (field, [])


async def test_what_is_invalidated_is_named_by_the_arguments_of_the_call(world: StoreWorld) -> None:
    """A function that changes its arguments invalidates what they named when it was called."""
    counter = Counter(open_cache(world))

    @invalidate_cache_for(counter.count, lambda user: user)
    async def rename(user: dict[str, str]) -> None:
        user["name"] = "eve"

    before = await counter.found("ada", "eve")
    await rename({"name": "ada"})

    assert (before, await counter.found("ada", "eve")) == ([1, 2], [3, 2])


@pytest.mark.parametrize("fails", [False, True])
async def test_a_caller_that_leaves_does_not_stop_an_invalidation(
    world: StoreWorld, caplog: pytest.LogCaptureFixture, *, fails: bool
) -> None:
    """P6: a request that is cancelled while it invalidates has changed its data; a failure then is made up for."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)
    counter = Counter(cache)
    reached, gate = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await gate.wait()
        if fails:
            raise StoreUnavailable("cache", "not-sent", "told to fail")

    @invalidate_cache(tags=["user:{name}"], cache=cache)
    async def rename(name: str) -> None: ...

    before = await counter.found("ada")
    seam.before[INVALIDATE_TAGS] = wait
    caller = asyncio.create_task(rename("ada"))
    await reached.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.set()
    await asyncio.wait([task for task in asyncio.all_tasks() if task.get_name() == "tollhouse-cache-invalidation"])
    await asyncio.sleep(0)

    assert [message.startswith("cache not invalidated") for message in caplog.messages] == [True] * fails
    assert await counter.found("ada") == [before[0] + 1]


async def test_a_function_that_is_not_async_invalidates_in_its_thread(world: StoreWorld) -> None:
    """It waits for the cache in any thread that has no event loop, and is refused before it runs in one that has."""
    calls: list[str] = []

    @rcached(ttl=60, cache=world.url)
    def count(name: str) -> int:
        calls.append(name)
        return len(calls)

    @invalidate_cache_for(count, ["name"])
    def rename(name: str) -> str:
        calls.append("rename")
        return name

    def call() -> list[Any]:
        return [count("ada"), rename("ada"), count("ada"), count("ada")]

    assert await asyncio.to_thread(call) == [1, "ada", 3, 3]
    with pytest.raises(ConfigurationError):
        rename("ada")
    assert calls == ["ada", "rename", "ada"]


async def test_arguments_of_another_call_have_to_be_arguments(world: StoreWorld) -> None:
    """A function that returns neither a sequence nor a mapping is InvalidInput."""
    counter = Counter(open_cache(world))

    @invalidate_cache_for(counter.count, lambda name: name)
    async def rename(name: str) -> None: ...

    with pytest.raises(InvalidInput) as refused:
        await rename("ada")

    assert refused.value.field == "arguments"


def generator() -> Iterator[int]:
    yield 1


async def _one(name: str = "a") -> int:
    return 1


_cached: Any = rcached(ttl=60)(_one)
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: invalidate_cache(tags=["a"])(generator), "invalidate_cache"),
    (lambda: invalidate_cache_for(_cached)(generator), "invalidate_cache_for"),
    (lambda: invalidate_cache(_one), "invalidate_cache"),  # type: ignore[arg-type] - without its parentheses
    (invalidate_cache, "invalidate_cache"),
    (lambda: invalidate_cache(tags="tag")(_one), "tags"),
    (lambda: invalidate_cache(patterns=["model:met*"])(_one), "patterns"),
    (lambda: invalidate_cache(patterns=["model:{name}*"])(_one), "patterns"),
    (lambda: invalidate_cache(patterns=["Model:*"])(_one), "patterns"),
    (lambda: invalidate_cache(patterns=["{unknown}:*"])(_one), "patterns"),
    (lambda: invalidate_cache_for(_one), "function"),
    (lambda: invalidate_cache_for(_cached, "name"), "arguments"),
    (lambda: invalidate_cache_for(_cached, ["unknown"])(_one), "arguments"),
    (lambda: invalidate_cache_for(_cached, ["to"])(lambda to: to), "arguments"),
]


@pytest.mark.parametrize(("decorate", "setting"), REFUSED)
def test_what_invalidates_nothing_is_refused_at_once(decorate: Callable[[], Any], setting: str) -> None:
    """A generator, wrong names and a function that is not cached are a ConfigurationError at the decoration."""
    with pytest.raises(ConfigurationError) as refused:
        decorate()

    assert blamed(refused.value) == setting
