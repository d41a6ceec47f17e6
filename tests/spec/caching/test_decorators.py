"""`@rcached` and `@cache_response`: results by arguments, in their type, computed once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from inspect import iscoroutinefunction, signature
from typing import Any, cast

import pytest
from pydantic import BaseModel, field_serializer

import tollhouse
from tests.asgi import blamed
from tests.caches import PATIENCE_S, open_cache
from tests.worlds import StoreWorld
from tollhouse.cache.ttl import CacheTTL
from tollhouse.caching.decorators import cache_response, function_cache, rcached
from tollhouse.caching.keys import CacheKeys
from tollhouse.errors import ConfigurationError, InvalidInput, LoadFailed
from tollhouse.limits.decision import RateLimited

STEP: ContextVar[str] = ContextVar("step", default="outside")


@dataclass
class User:
    name: str
    calls: int = 0
    roles: set[str] = field(default_factory=set[str])


class Model(BaseModel):
    name: str


class OtherModel(BaseModel):
    name: str
    version: int


class Lossy(BaseModel):
    number: int

    @field_serializer("number")
    def word(self, number: int) -> str:
        return f"number {number}"


class Calls:
    """Counts the calls of a function."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> int:
        self.number += 1
        return self.number


async def test_a_result_is_computed_once_for_its_arguments(world: StoreWorld) -> None:
    """S3-11, S3-12, S3-14: equal calls, however they are written, have the result of the first one."""
    calls = Calls()

    @rcached(ttl=60, cache=open_cache(world))
    async def user(name: str, roles: frozenset[str] = frozenset({"a", "b"})) -> User:
        """Load a user."""
        return User(name, calls(), set(roles))

    found = [await user("ada"), await user(name="ada"), await user("ada", frozenset({"b", "a"})), await user("bob")]

    assert found == [User("ada", 1, {"a", "b"})] * 3 + [User("bob", 2, {"a", "b"})]
    assert (user.__name__, user.__doc__, iscoroutinefunction(user)) == ("user", "Load a user.", True)
    assert list(signature(user).parameters) == ["name", "roles"]


async def test_concurrent_calls_share_one_computation(world: StoreWorld) -> None:
    """S3-02: a hundred callers of one cold call run the function once."""
    calls, begin = Calls(), asyncio.Event()

    @rcached(ttl=60, cache=open_cache(world))
    async def slow() -> int:
        await begin.wait()
        return calls()

    callers = [asyncio.create_task(slow()) for _ in range(100)]
    await asyncio.sleep(0)
    begin.set()

    assert set(await asyncio.gather(*callers)) == {1}


async def test_a_result_has_a_lifetime(world: StoreWorld) -> None:
    """S3-13, S4-60: each function has a lifetime of its own, and must have one."""
    calls = Calls()
    function = rcached(ttl=CacheTTL.VERY_SHORT, cache=open_cache(world))(_counting(calls))

    first = await function()
    await world.advance(270_000 - 1)
    second = await function()
    await world.advance(30_001)

    assert (first, second, await function()) == (1, 1, 2)
    assert signature(rcached).parameters["ttl"].default is signature(rcached).empty


@pytest.mark.parametrize("ttl", [0, -1, 1.5, "60", None, True, 10**9])
def test_a_wrong_lifetime_is_refused_at_once(ttl: Any) -> None:
    """A lifetime that no entry can have is a ConfigurationError at the decoration."""
    with pytest.raises(ConfigurationError) as refused:
        rcached(ttl=ttl)(_counting(Calls()))

    assert blamed(refused.value) == "ttl"


async def test_the_annotation_is_the_type_that_comes_back(world: StoreWorld) -> None:
    """S3-18, S3-27: dataclasses and Pydantic models are themselves on the first call and on later ones."""
    cache = open_cache(world)

    @rcached(ttl=60, cache=cache)
    async def users(name: str) -> list[User | None]:
        return [User(name, roles={"a"}), None]

    @rcached(ttl=60, cache=cache)
    async def models(name: str) -> dict[str, Model]:
        return {"one": Model(name=name)}

    @rcached(ttl=60, cache=cache)
    async def plain(name: str) -> Any:
        return User(name)

    for _ in range(2):
        assert await users("ada") == [User("ada", roles={"a"}), None]
        assert await models("ada") == {"one": Model(name="ada")}
        assert await plain("ada") == {"name": "ada", "calls": 0, "roles": []}


@pytest.mark.parametrize(("before", "after"), [(User, Model), (Model, OtherModel), (int, User), (Model, User)])
async def test_a_changed_type_is_a_miss(world: StoreWorld, before: Any, after: Any) -> None:
    """S3-10: a stored result of another type is computed again, and the function needs no new version for it."""
    cache = open_cache(world)
    values = {User: User("ada"), Model: Model(name="ada"), OtherModel: OtherModel(name="ada", version=2), int: 7}

    def make(returned: Any) -> Callable[[], Awaitable[Any]]:
        async def load() -> Any:
            return values[returned]

        load.__annotations__["return"] = returned
        return rcached(ttl=60, cache=cache)(load)

    assert await make(before)() == values[before]
    again = make(after)

    if (before, after) == (Model, User):
        assert await again() == User("ada")  # its defaults make the stored value one of the new type
    else:
        assert [await again(), await again()] == [values[after]] * 2


async def test_a_changed_version_begins_anew(world: StoreWorld) -> None:
    """S3-10: entries of another version are not found, also under a key of the function's own."""
    cache, calls = open_cache(world), Calls()

    def make(version: int | str, key: Any) -> Callable[[], Awaitable[int]]:
        return rcached(ttl=60, cache=cache, version=version, key=key)(_counting(calls))

    by_name = [await make(version, "counter")() for version in (1, 2, "2", 1)]
    by_function = [await make(version, lambda: "counter:all")() for version in (1, 2, 1)]

    assert (by_name, by_function) == ([1, 2, 3, 1], [4, 5, 4])


async def test_functions_share_nothing_but_by_a_key_function(world: StoreWorld) -> None:
    """Two functions with one key differ by their place; what a function of the arguments returns is the whole key."""
    cache = open_cache(world)

    @rcached(ttl=60, key="model", cache=cache)
    async def one(number: int) -> str:
        return f"one {number}"

    @rcached(ttl=60, key="model", cache=cache)
    async def two(number: int) -> str:
        return f"two {number}"

    @rcached(ttl=60, key=lambda number, _: f"shared:{number}", cache=cache)
    async def three(number: int, request: object) -> str:
        return f"three {number}"

    assert [await one(1), await two(1), await three(1, object()), await three(1, None)] == ["one 1", "two 1"] + [
        "three 1"
    ] * 2
    assert three.key(1, object()) == "shared:1"
    assert one.key(1) != two.key(1)
    assert await cache.invalidate("shared:1")


async def test_keys_begin_with_the_name_or_the_prefix(world: StoreWorld) -> None:
    """S4-33: the key of a call is the prefix and one more word, which the pattern `{key_prefix}:*` matches."""
    decorated = cache_response(key_prefix="expensive:operation", ttl=CacheTTL.MEDIUM, cache=open_cache(world))

    @decorated
    async def operation(number: int) -> int:
        return number

    assert operation.key(1).rpartition(":")[0] == "expensive:operation"
    assert len({operation.key(1), operation.key(2), operation.key(1)}) == 2
    for name, word in {"count": "count", "_Load2": "load2", "é": "function", "2": "function"}.items():
        assert rcached(ttl=60)(_counting(Calls(), name)).key().rpartition(":")[0] == word
    assert await operation(1) == 1


async def test_a_caller_may_bypass_the_cache(world: StoreWorld) -> None:
    """S4-19, S4-49: `use_cache=False` computes and stores nothing, and is not part of the key."""
    calls = Calls()

    @rcached(ttl=60, cache=open_cache(world))
    async def count(*, use_cache: bool = True) -> tuple[int, bool]:
        return calls(), use_cache

    assert [await count(), await count(use_cache=False), await count(), await count(use_cache=True)] == [
        (1, True),
        (2, False),
        (1, True),
        (1, True),
    ]


async def test_a_key_function_gets_no_use_cache(world: StoreWorld) -> None:
    """S4-19, S4-24: what says nothing about the result is no argument of its key, so `CacheKeys` can be the key."""
    calls = Calls()

    @rcached(ttl=60, key=CacheKeys.feature_importance, cache=open_cache(world))
    async def importance(model_run_id: str, top_n: int | None = None, *, use_cache: bool = True) -> int:
        return calls()

    found = [await importance("abc-123", top_n=10, use_cache=use_cache) for use_cache in (True, False, True)]

    assert found == [1, 2, 1]
    assert importance.key("abc-123", 10, use_cache=False) == "model:feature_importance:abc-123:top_10"
    assert await importance.fetch("abc-123") != await importance.fetch("abc-123", 10)


@pytest.mark.parametrize("kind", [dict[str, str], Model])
async def test_a_result_can_be_fetched_with_its_source(world: StoreWorld, kind: Any) -> None:
    """S0-35, S0-36: `.fetch` returns what a call does, whether it was stored, its age and the rest of its lifetime."""
    value = Model(name="ada") if kind is Model else {"name": "ada"}

    async def load(name: str, *, use_cache: bool = True) -> Any:
        return value

    load.__annotations__["return"] = kind
    model = rcached(ttl=60, key="model", cache=open_cache(world))(load)

    miss = await model.fetch("ada")
    await world.advance(1000)
    hit, bypass = await model.fetch("ada"), await model.fetch("ada", use_cache=False)

    assert [(one.status, one.value) for one in (miss, hit, bypass)] == [
        ("MISS", value),
        ("HIT", value),
        ("BYPASS", value),
    ]
    assert [(one.age_ms, one.ttl_ms) for one in (miss, hit, bypass)] == [(0, 60_000), (1000, 59_000), (0, 0)]


async def test_a_function_can_be_invalidated_and_refreshed(world: StoreWorld) -> None:
    """S3-17: `.invalidate` removes the result of one call, `.refresh` computes it anew, others stay."""
    calls = Calls()

    @rcached(ttl=60, cache=open_cache(world))
    async def count(name: str) -> int:
        return calls()

    assert [await count("ada"), await count("bob")] == [1, 2]
    assert [await count.invalidate("ada"), await count.invalidate("ada")] == [True, False]
    assert [await count("ada"), await count("bob")] == [3, 2]
    assert [await count.refresh("bob"), await count("bob"), await count("ada")] == [4, 4, 3]


async def test_tags_hold_arguments_or_depend_on_the_result(world: StoreWorld) -> None:
    """S4-06, S4-66: an invalidated tag removes the results that have it, of whichever function."""
    cache, calls = open_cache(world), Calls()

    @rcached(ttl=60, tags=["model:{model_id}", "models"], cache=cache)
    async def metrics(model_id: str) -> int:
        return calls()

    @rcached(ttl=60, tags=lambda found: [f"user:{found.name}"], cache=cache)
    async def model(name: str) -> Model:
        return Model(name=f"{name} {calls()}")

    first = [await metrics("a"), await metrics("b"), await model("c")]
    await cache.invalidate_tags("model:a", "user:c 3")
    second = [await metrics("a"), await metrics("b"), await model("c")]

    assert first == [1, 2, Model(name="c 3")]
    assert second == [4, 2, Model(name="c 5")]


async def test_errors_pass_through_and_are_not_cached(world: StoreWorld) -> None:
    """A call that raises leaves no result, and the next one computes again."""
    calls = Calls()

    @rcached(ttl=60, cache=open_cache(world))
    async def sometimes() -> int:
        if calls() == 1:
            raise KeyError("first")
        return calls.number

    with pytest.raises(KeyError):
        await sometimes()

    assert [await sometimes(), await sometimes()] == [2, 2]


async def test_a_refresh_that_fails_leaves_the_result(world: StoreWorld) -> None:
    """`.refresh` replaces a result by its success: an error passes through, and the result goes on to be served."""
    calls = Calls()

    @rcached(ttl=60, cache=open_cache(world))
    async def once() -> int:
        if calls() > 1:
            raise KeyError("later")
        return calls.number

    first = await once()
    with pytest.raises(KeyError):
        await once.refresh()

    assert (first, await once()) == (1, 1)


async def test_a_function_that_needs_its_own_result_is_an_error(world: StoreWorld) -> None:
    """A call that waits for itself, directly or over another function, is LoadFailed, in a thread too."""

    @rcached(ttl=60, cache=world.url)
    def plain(number: int) -> int:
        return plain(1 - number)

    @rcached(ttl=60, cache=world.url)
    async def asynchronous() -> int:
        return await asynchronous()

    with pytest.raises(LoadFailed):
        await asynchronous()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(LoadFailed):
            await asyncio.to_thread(plain, 0)


async def test_a_value_of_a_wrong_type_is_an_error(world: StoreWorld) -> None:
    """What is not of the annotated type, or cannot be read back as such, is LoadFailed at once."""
    calls = Calls()

    @rcached(ttl=60, cache=open_cache(world))
    async def wrong() -> User:
        return {"name": 7}  # type: ignore[return-value] - the case

    @rcached(ttl=60, cache=open_cache(world))
    async def lossy() -> Lossy:
        return Lossy(number=calls())

    with pytest.raises(LoadFailed):
        await wrong()
    with pytest.raises(LoadFailed):
        await lossy()
    assert calls.number == 1


async def test_methods_are_told_apart_by_their_instance(world: StoreWorld) -> None:
    """`__cache_key__` of `self` is part of the key; the functions beside a method are called on the class."""
    cache = open_cache(world)

    class Shop:
        def __init__(self, name: str) -> None:
            self.name = name

        def __cache_key__(self) -> str:
            return self.name

        @rcached(ttl=60, cache=cache)
        async def price(self, item: str = "tea") -> str:
            return f"{item} of {self.name}"

        @rcached(ttl=60, ignore=("self",), cache=cache)
        async def tax(self, rate: int = 1) -> str:
            return f"{rate} of {self.name}"

        @classmethod
        @rcached(ttl=60, ignore=("cls",), cache=cache)
        async def names(cls, first: str) -> list[str]:
            return [first, cls.__name__]

        @staticmethod
        @rcached(ttl=60, cache=cache)
        async def double(number: int) -> int:
            return 2 * number

    one, other = Shop("one"), Shop("other")

    assert [await one.price(), await other.price("tea"), await one.price()] == [
        "tea of one",
        "tea of other",
        "tea of one",
    ]
    assert [await one.tax(), await other.tax()] == ["1 of one"] * 2
    assert [await one.names("a"), await Shop.double(2)] == [["a", "Shop"], 4]
    assert await Shop.price.invalidate(one)
    assert await Shop.tax.invalidate(other)
    for wrong in (cast("Any", one.price).refresh, cast("Any", one.tax).fetch):
        with pytest.raises(InvalidInput) as refused:
            await wrong("tea")
        assert refused.value.field == "self"


async def test_arguments_without_a_canonical_form_are_refused(world: StoreWorld) -> None:
    """S3-12: a request or a session in the arguments is InvalidInput with the remedy, before the function runs."""

    @rcached(ttl=60, cache=open_cache(world))
    async def rows(session: object, number: int) -> list[int]:
        raise NotImplementedError

    with pytest.raises(InvalidInput) as refused:
        await rows(object(), 1)

    assert refused.value.field == "session"
    assert "ignore=('session',)" in refused.value.remedy


def test_partials_and_objects_can_be_cached() -> None:
    """S3-11: what they hold is part of the key, as if it was given to each call."""

    class Adder:
        def __init__(self, number: int) -> None:
            self.number = number

        def __cache_key__(self) -> int:
            return self.number

        def __call__(self, other: int) -> int:
            return self.number + other

    def add(one: int, other: int) -> int:
        return one + other

    decorated = rcached(ttl=60, key="sums", cache="fake://sums")
    functions = [decorated(partial(add, 1)), decorated(partial(add, 2)), decorated(Adder(1)), decorated(Adder(2))]

    assert [function(1) for function in functions * 2] == [2, 3, 2, 3] * 2


@pytest.mark.parametrize("name", ["plain", "nested"])
async def test_a_function_that_is_not_async_runs_in_its_own_thread(world: StoreWorld, name: str) -> None:
    """It waits for the cache in any thread that has no event loop, and is computed there, also inside another one."""
    calls = Calls()

    @rcached(ttl=60, cache=world.url)
    def inner(name: str) -> tuple[int, str, str]:
        return calls(), threading.current_thread().name, STEP.get()

    @rcached(ttl=60, cache=world.url)
    def outer(name: str) -> tuple[int, str, str]:
        return inner(name)

    def call() -> tuple[Any, ...]:
        STEP.set("inside")
        function = outer if name == "nested" else inner
        found = [function("ada"), function("ada")]
        source = function.fetch("ada").status
        return found, source, function.invalidate("ada"), function.refresh("ada"), threading.current_thread().name

    found, source, removed, fresh, thread = await asyncio.to_thread(call)

    assert found == [(1, thread, "inside")] * 2
    assert (source, removed) == ("HIT", True)
    assert fresh == (1 if name == "nested" else 2, thread, "inside")
    with pytest.raises(ConfigurationError) as refused:
        inner("ada")
    assert refused.value.setting == "cache"


def generator() -> Iterator[int]:
    yield 1


async def asynchronous_generator() -> AsyncIterator[int]:
    yield 1


async def _async_key() -> str:
    raise NotImplementedError


@pytest.mark.parametrize("decorator", [rcached, cache_response])
def test_a_decorator_without_its_parentheses_is_refused_at_once(decorator: Any) -> None:
    """Options that are not given by name are a ConfigurationError of the decorator, with an example."""
    with pytest.raises(ConfigurationError) as refused:
        decorator(_async_key)

    assert (refused.value.setting, refused.value.value) == (decorator.__name__, _async_key)
    assert f"@{decorator.__name__}(" in refused.value.remedy


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (generator, {}, "rcached"),
    (asynchronous_generator, {}, "rcached"),
    (partial(generator), {}, "rcached"),
    (classmethod(print), {}, "rcached"),
    (User, {}, "rcached"),
    (property(print), {}, "rcached"),
    (7, {}, "rcached"),
    (lambda: 1, {}, "key"),
    (_async_key, {"key": _async_key}, "key"),
    (_async_key, {"key": ""}, "key"),
    (_async_key, {"key": 7}, "key"),
    (_async_key, {"key": "Model"}, "key"),
    (_async_key, {"key": "model:"}, "key"),
    (_async_key, {"key": "model:*"}, "key"),
    (_async_key, {"key": "model:{model_id}"}, "key"),
    (_async_key, {"ignore": ("unknown",)}, "ignore"),
    (_async_key, {"tags": ["{unknown}"]}, "tags"),
    (_async_key, {"tags": "tag"}, "tags"),
    (_async_key, {"cache": "http://host"}, "cache"),
    (_async_key, {"cache": 7}, "cache"),
]


@pytest.mark.parametrize(("function", "options", "setting"), REFUSED)
def test_what_cannot_be_cached_is_refused_at_once(function: Any, options: dict[str, Any], setting: str) -> None:
    """A generator, a class, a lambda without a key, and wrong options are a ConfigurationError at the decoration."""
    with pytest.raises(ConfigurationError) as refused:
        rcached(ttl=60, **options)(function)

    assert blamed(refused.value) == setting


@pytest.mark.parametrize("returned", [None, 7, ""])
async def test_a_key_function_has_to_return_text(world: StoreWorld, returned: Any) -> None:
    """Another key is InvalidInput, before the function runs."""

    @rcached(ttl=60, key=lambda: returned, cache=open_cache(world))
    async def load() -> int:
        raise NotImplementedError

    with pytest.raises(InvalidInput) as refused:
        await load()

    assert refused.value.field == "key"


async def test_a_limit_and_a_cache_stand_on_one_function(world: StoreWorld) -> None:
    """`@limit` outside counts every call, inside those that compute; the functions beside the cached one stay."""
    calls, cache = Calls(), open_cache(world)
    limited = tollhouse.limit("1/minute", key="all", limiter=world.url)

    inside = rcached(ttl=60, key="inside", cache=cache)(limited(_counting(calls)))
    outside = limited(rcached(ttl=60, key="outside", cache=cache)(_counting(calls, "other")))

    assert [await inside(), await inside(), await outside()] == [1, 1, 2]
    with pytest.raises(RateLimited):
        await outside()
    assert function_cache(outside).place.endswith("other")


def test_a_function_without_a_cache_has_none() -> None:
    """What asks for the cache of another function is a ConfigurationError."""
    with pytest.raises(ConfigurationError):
        function_cache(_async_key)


def _counting(calls: Calls, name: str = "count") -> Callable[[], Coroutine[Any, Any, int]]:
    async def count() -> int:
        return calls()

    count.__qualname__ = count.__name__ = name
    return count
