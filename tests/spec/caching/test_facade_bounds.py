"""Values of hostile size at every verb of the cache: refused in bounded time by an error that names the argument."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.caches import Loader, Seam, open_cache
from tests.worlds import World
from tollhouse import CacheKeys, CacheManager, invalidate_cache, rcached
from tollhouse.cache.cache import Cache
from tollhouse.errors import InvalidInput, LoadFailed

TEN_MB = 10_000_000
REFUSED_S = 0.5
"""What a refusal may take on a busy machine; most take less than a millisecond."""
SHOWN_MAX = 500
HUGE = 1 << TEN_MB


def nested(kind: type, depth: int = 100_000) -> Any:
    value: Any = kind()
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


LOAD = Loader(1)
NO_TEXT: list[Any] = [b"k", None, 7, math.nan, 10**5000, HUGE, nested(list), object(), ["k"]]
NO_NAME: list[Any] = ["", "k" * TEN_MB, "\ud800", *NO_TEXT]
NO_TAGS: list[Any] = [
    map(str, range(TEN_MB)),
    itertools.repeat("t"),
    "t" * TEN_MB,
    7,
    [""],
    [nested(list)],
    ["t" * 129],
]
NO_NUMBER: list[Any] = ["9" * TEN_MB, b"7", 1.5, math.nan, math.inf, -1, 10**5000, HUGE, nested(list), True, object()]

Call = Callable[[Cache, Any], Awaitable[object]]


async def pending(cache: Cache, name: str, value: Any) -> None:
    async with cache.after_commit() as block:
        getattr(block, name)(value)


def manager(cache: Cache) -> CacheManager:
    return CacheManager(cache, serializers={complex: (lambda number: [number.real, number.imag], complex)})


CALLS: dict[str, tuple[str, Call, list[Any]]] = {
    "get_or_load": ("key", lambda cache, value: cache.get_or_load(value, LOAD), NO_NAME),
    "get_many": ("key", lambda cache, value: cache.get_many([value], LOAD), ["", "k" * TEN_MB, "\ud800", b"k", 7]),
    "get_many of none": ("keys", lambda cache, value: cache.get_many(value, LOAD), ["k" * TEN_MB, b"k", 7, [[]]]),
    "get_many of too many": (
        "keys",
        lambda cache, value: cache.get_many(value, LOAD),
        [itertools.repeat("k"), map(str, range(TEN_MB))],
    ),
    "warm": ("keys", lambda cache, value: cache.warm([value], LOAD), [[], {}, nested(list)]),
    "look_up": ("key", lambda cache, value: cache.look_up(value), NO_NAME),
    "get": ("key", lambda cache, value: cache.get(value), NO_NAME),
    "set": ("key", lambda cache, value: cache.set(value, 1), NO_NAME),
    "value": (
        "value",
        lambda cache, value: cache.set("k", value),
        ["\ud800", HUGE, nested(list), nested(dict), object()],
    ),
    "value of a manager": (
        "value",
        lambda cache, value: manager(cache).set("k", value),
        [HUGE, nested(list), nested(dict)],
    ),
    "codec": (
        "codec",
        lambda cache, value: cache.set("k", 1, codec=value),
        ["pickle", "j" * TEN_MB, b"json", 7, [], HUGE],
    ),
    "codec of a load": ("codec", lambda cache, value: cache.fetch("k", LOAD, codec=value), ["pickle", []]),
    "tags": ("tags", lambda cache, value: cache.set("k", 1, tags=value), NO_TAGS[:4]),
    "tag": ("tag", lambda cache, value: cache.set("k", 1, tags=value), NO_TAGS[4:]),
    "tags of a load": ("tags", lambda cache, value: cache.get_or_load("k", LOAD, tags=value), NO_TAGS[2:4]),
    "tags of a value": ("tags", lambda cache, value: cache.get_or_load("k", LOAD, tags=lambda _: value), NO_TAGS[2:4]),
    "ttl_s": ("ttl_s", lambda cache, value: cache.get_or_load("k", LOAD, ttl_s=value), NO_NUMBER),
    "none_ttl_s": ("none_ttl_s", lambda cache, value: cache.get_or_load("k", LOAD, none_ttl_s=value), NO_NUMBER),
    "ttl": ("ttl", lambda cache, value: manager(cache).set("k", 1, value), NO_NUMBER),
    "jitter": (
        "jitter",
        lambda cache, value: cache.get_or_load("k", LOAD, jitter=value),
        [math.nan, HUGE, "0.1", True],
    ),
    "hold_ms": ("hold_ms", lambda cache, value: cache.invalidate("k", hold_ms=value), NO_NUMBER),
    "type": (
        "type",
        lambda cache, value: cache.get("k", type=value),
        ["t" * TEN_MB, b"t" * TEN_MB, HUGE, nested(list)],
    ),
    "family": ("family", lambda cache, value: cache.fetch("k", LOAD, family=value), [b"f", 7, nested(list)]),
    "invalidate": ("key", lambda cache, value: cache.invalidate(value), NO_NAME),
    "invalidate_tags": ("tag", lambda cache, value: cache.invalidate_tags(value), NO_NAME),
    "delete_pattern": ("pattern", lambda cache, value: cache.delete_pattern(value), [*NO_NAME, "a" * TEN_MB + ":*"]),
    "pending tags": ("tag", lambda cache, value: pending(cache, "tags", value), NO_NAME),
    "pending keys": ("key", lambda cache, value: pending(cache, "keys", value), NO_NAME),
    "pending patterns": ("pattern", lambda cache, value: pending(cache, "patterns", value), NO_NAME),
    "argument in a tag": (
        "number",
        lambda cache, value: invalidate_cache(tags=["t:{number}"], cache=cache)(_plain)(value),
        ["t" * TEN_MB, HUGE, 10**5000, nested(list), object()],
    ),
    "argument in a pattern": (
        "number",
        lambda cache, value: invalidate_cache(patterns=["k:{number}"], cache=cache)(_plain)(value),
        ["t" * TEN_MB, HUGE, 10**5000, b"k"],
    ),
    "argument": (
        "number",
        lambda cache, value: rcached(ttl=60, cache=cache)(_plain)(value),
        ["t" * TEN_MB, HUGE, nested(list), nested(dict), object(), [0] * 100_000],
    ),
}


async def _plain(number: Any) -> int:
    return 1


@pytest.mark.parametrize("verb", CALLS)
async def test_a_hostile_value_is_refused_at_once_by_name(fake: World, verb: str):
    """Nothing is sent to the store, and the message stays short."""
    field, call, values = CALLS[verb]
    seam = Seam(fake.stores.cache)
    cache = open_cache(fake, seam)

    for value in values:
        began_s = time.monotonic()
        with pytest.raises(InvalidInput) as refused:
            await call(cache, value)
        assert time.monotonic() - began_s < REFUSED_S
        assert refused.value.field == field
        assert len(str(refused.value)) < SHOWN_MAX
    assert not seam.calls or verb == "tags of a value"


IDS: list[Callable[[Any], str]] = [CacheKeys.model, CacheKeys.model_list, lambda given: CacheKeys.db("t", "q", [given])]


@pytest.mark.parametrize("make", IDS)
def test_a_hostile_id_makes_no_key(make: Callable[[Any], str]):
    """It is refused by name, in bounded time."""
    for value in ("i" * TEN_MB, HUGE, nested(list), object()):
        began_s = time.monotonic()
        with pytest.raises(InvalidInput) as refused:
            make(value)
        assert time.monotonic() - began_s < REFUSED_S
        assert len(str(refused.value)) < SHOWN_MAX


async def test_a_result_that_is_nested_too_deeply_is_a_failed_load(fake: World):
    """The function has returned it, so no argument is to blame."""

    @rcached(ttl=60, cache=manager(open_cache(fake)))
    async def deep() -> Any:
        return nested(list)

    with pytest.raises(LoadFailed):
        await deep()


async def test_many_keys_and_tags_go_in_bounded_steps(fake: World):
    """A block that names 1,100 keys and as many tags invalidates all of them, and no call of the store is long."""
    seam = Seam(fake.stores.cache)
    cache = open_cache(fake, seam)
    keys = [f"k:{number}" for number in range(1_100)]
    for key in (keys[0], keys[-1]):
        await cache.set(key, "old")

    async with cache.after_commit() as block:
        block.keys(*keys)
        block.tags(*keys)

    assert [await cache.get(key) for key in (keys[0], keys[-1])] == [None, None]
    assert (seam.calls["cache/invalidate"], seam.calls["cache/invalidate_tags"]) == (2, 1)
