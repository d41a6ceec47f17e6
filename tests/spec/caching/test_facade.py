"""CacheManager, also CacheService: the names that the guides have, over a cache that serves nothing invalidated."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import Any

import pytest

import tollhouse
from tests.caches import Loader, Seam, open_cache
from tests.worlds import StoreWorld, World
from tollhouse.caching.facade import CacheManager, CacheService
from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.settings import Settings
from tollhouse.settings.model import CacheSettings

KEY = "model:metrics:abc-123"
MISSING = "missing"


class Money:
    """A class of the application that msgspec does not know."""

    def __init__(self, amount: Fraction, currency: str) -> None:
        self.amount, self.currency = amount, currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and (self.amount, self.currency) == (other.amount, other.currency)

    __hash__ = None  # type: ignore[assignment] - it is compared only


SERIALIZERS = {
    Money: (lambda money: [money.amount, money.currency], lambda parts: Money(*parts)),
    Fraction: (str, Fraction),
}


@pytest.fixture
async def seam(world: World) -> Seam:
    return Seam(world.stores.cache)


@pytest.fixture
async def manager(world: World, seam: Seam) -> CacheManager:
    return CacheManager(open_cache(world, seam))


@pytest.mark.parametrize("value", [None, 0, "", [], {}, False, "text", {"accuracy": 0.9, "runs": [1, 2]}])
async def test_values_are_set_got_and_deleted(manager: CacheManager, value: Any):
    """S0-22, S1-10, S3-09, S3-14, S4-27 to S4-29, S4-61: by keyword as in the guide; None, 0, "" and [] are values."""
    assert await manager.get(key=KEY, default=MISSING) == MISSING
    assert await manager.set(key=KEY, value=value, ttl=1800)
    assert await manager.get(key=KEY, default=MISSING) == value

    assert await manager.delete(key=KEY)
    assert not await manager.invalidate(KEY)
    assert await manager.get(KEY) is None


async def test_patterns_and_clearing_return_how_many_there_were(manager: CacheManager):
    """S3-16, S3-17, S4-30, S4-31: `delete_pattern` and `clear_all` return a count."""
    for key in ("model:metrics:1", "model:metrics:2", "model:comparison:1", "model:comparison:2", "image:1"):
        await manager.set(key, "value")

    assert await manager.delete_pattern("model:metrics:*") == 2
    assert await manager.invalidate_pattern("model:comparison:*") == 2
    assert await manager.clear_all() == 1
    assert await manager.get("image:1") is None


async def test_the_recipe_of_the_guide_stores_nothing_that_was_invalidated(manager: CacheManager):
    """S4-32, P6: get, load, set; an invalidation in between refuses the `set`, and the next round stores."""
    assert await manager.get(KEY) is None
    await manager.delete(KEY)

    assert not await manager.set(KEY, "old", 1800)
    assert await manager.get(KEY) is None
    assert await manager.set(KEY, "new", 1800)

    assert await manager.get("other") is None
    await manager.invalidate_tags("t")
    assert not await manager.set("other", "old", tags=["t"])


async def test_a_lifetime_is_given_in_seconds(world: World, seam: Seam):
    """S3-08, S3-25, S4-27, S4-60: of a call, else of the manager, else of the cache; the named ones are accepted."""
    manager = CacheManager(open_cache(world, seam), ttl=tollhouse.CacheTTL.SHORT)
    await manager.set("a", 1, tollhouse.CacheTTL.VERY_SHORT)
    await manager.set("b", 1)
    await CacheManager(manager.cache).set("c", 1)

    await world.advance(300_000)
    assert [await manager.get(key) for key in "abc"] == [None, 1, 1]
    await world.advance(600_000)
    assert [await manager.get(key) for key in "abc"] == [None, None, 1]


async def test_while_the_store_is_down_nothing_raises(seam: Seam, manager: CacheManager):
    """S0-16, S0-23, S0-24, S3-28, S4-01: get misses, set and delete are False, counts are 0, and stats say so."""
    await manager.set(KEY, "value")
    assert manager.is_available()
    seam.failing.add("everything")

    assert await manager.get(KEY, MISSING) == MISSING
    assert [await manager.set(KEY, 1), await manager.delete(KEY), await manager.invalidate_tags("t")] == [False] * 3
    assert [await manager.delete_pattern("model:*"), await manager.clear_all()] == [0, 0]
    assert (await manager.get_stats())["available"] is False
    assert not manager.is_available()


INVALIDATIONS: dict[str, list[Any]] = {
    "delete": [KEY],
    "invalidate": [KEY],
    "invalidate_tags": ["t"],
    "delete_pattern": ["model:*"],
    "clear_all": [],
}


@pytest.mark.parametrize("call", INVALIDATIONS)
async def test_an_invalidation_that_could_not_be_sent_is_made_up_for(seam: Seam, manager: CacheManager, call: str):
    """P6: it is False or 0, and this process reads nothing older afterwards, by the manager or the cache below."""
    await manager.set(KEY, "old", tags=["t"])
    seam.failing.add("everything")
    assert not await getattr(manager, call)(*INVALIDATIONS[call])
    assert await manager.get(KEY) is None
    seam.failing.clear()

    assert await manager.cache.get_or_load("another", Loader(1)) == 1
    assert await manager.get(KEY, MISSING) == MISSING
    assert await manager.set(KEY, "new")
    assert await manager.get(KEY) == "new"


@pytest.mark.parametrize("call", INVALIDATIONS)
async def test_a_caller_that_leaves_does_not_stop_an_invalidation(seam: Seam, manager: CacheManager, call: str):
    """P6: a request that is cancelled while it invalidates has changed its data."""
    await manager.set(KEY, "old", tags=["t"])
    reached, gate = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await gate.wait()

    for script in ("cache/invalidate", "cache/invalidate_tags"):
        seam.before[script] = wait
    caller = asyncio.create_task(getattr(manager, call)(*INVALIDATIONS[call]))
    await reached.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.set()
    await manager.cache.aclose()

    assert await manager.get(KEY) is None


async def test_bad_input_raises_also_while_the_store_is_down(seam: Seam, manager: CacheManager):
    """InvalidInput names the argument: it is a mistake of the program, not an outage."""
    seam.failing.add("everything")
    calls = {
        "key": [lambda: manager.get(7), lambda: manager.set(b"k", 1), lambda: manager.delete("")],
        "ttl": [lambda: manager.set(KEY, 1, 1.5), lambda: manager.set(KEY, 1, 0)],
        "tags": [lambda: manager.set(KEY, 1, tags="model:1")],
        "value": [lambda: manager.set(KEY, object())],
        "pattern": [lambda: manager.delete_pattern("model:met*")],
        "type": [lambda: manager.get(KEY, type=[dict])],
    }

    for field, wrong in calls.items():
        for call in wrong:
            with pytest.raises(InvalidInput) as refused:
                await call()
            assert refused.value.field == field


async def test_the_stats_have_the_shape_of_the_guide(manager: CacheManager):
    """S3-22, S4-42 to S4-44: a dict; the rate is text, its number and more stand in `detail`; keys are the entries."""
    for key in ("a", "b"):
        await manager.get(key)
        await manager.set(key, 1)
    for _ in range(16):
        await manager.get("a")

    told = await manager.get_stats()

    assert set(told) == {"available", "stats", "config", "message", "detail"}
    assert {name: value for name, value in told["stats"].items() if name != "used_memory"} == {
        "total_keys": 2,
        "hits": 16,
        "misses": 2,
        "hit_rate": "88.9%",
    }
    assert (told["available"], told["message"], told["detail"]["hit_rate"]) == (True, "Cache is healthy", 88.89)
    assert told["config"]["ttl_week"] == 604_800


async def test_the_rate_before_the_first_lookup_is_nought(manager: CacheManager):
    """S4-43: without lookups the rate is 0.0%."""
    assert (await manager.get_stats())["stats"]["hit_rate"] == "0.0%"


async def test_values_are_stored_as_json(world: World, manager: CacheManager):
    """S1-22, S3-19, S4-45: who reads the server finds JSON; msgpack has bytes."""
    packed = CacheManager(manager.cache, codec="msgpack")
    await manager.set(KEY, {"accuracy": 0.9})
    await packed.set("bytes", b"\xff")

    (name,) = await world.command("cache", "KEYS", "tollhouse:model:*")
    assert (await world.command("cache", "GET", name)).endswith(b'{"accuracy":0.9}')
    assert [await manager.get(KEY), await packed.get("bytes")] == [{"accuracy": 0.9}, b"\xff"]


async def test_objects_of_own_classes_have_serializers(world: World, manager: CacheManager):
    """S3-18, S3-20: at any depth of lists and dicts; a dict that looks like a stored object is told from one."""
    rich = CacheManager(manager.cache, serializers=SERIALIZERS)
    value = {"prices": [Money(Fraction(1, 3), "EUR"), 7], "pair": (1, None), "$type": {"value": Fraction(1, 2)}}

    await rich.set(KEY, value)
    await rich.set("plain", {"a": [1]})

    assert await rich.get(KEY) == {**value, "pair": [1, None]}
    assert await rich.get("plain") == {"a": [1]}
    assert await CacheManager(manager.cache, serializers={Fraction: SERIALIZERS[Fraction]}).get(KEY, MISSING) == MISSING


async def test_get_or_load_of_the_cache_below_shares_the_values(manager: CacheManager):
    """What a manager stores is found by reads that load, and the other way round."""
    await manager.set("a", "set")
    await manager.cache.get_or_load("b", Loader("loaded"))

    assert await manager.cache.get_or_load("a", Loader("other")) == "set"
    assert await manager.get("b") == "loaded"


@pytest.fixture
async def settings(fake: StoreWorld) -> Settings:
    return Settings(url=fake.url, secret=(b"s" * 32,), cache=CacheSettings(key_prefix="chitram", ttl_s=60))


async def test_a_manager_opens_what_it_is_given(fake: StoreWorld, settings: Settings):
    """S1-20, S1-40, S1-41: prefix and lifetime are those of the settings; a Tollhouse stays open, all others close."""
    own, prefixed = CacheManager(settings), CacheManager(settings, prefix="mine")
    async with tollhouse.open(settings) as th:
        shared, apart = CacheManager(th), CacheManager(th, prefix="mine")
        assert await own.set("k", "own")
        assert await prefixed.set("k", "prefixed")

        assert [await one.get("k") for one in (shared, apart)] == ["own", "prefixed"]
        assert shared.cache is th.cache
        assert {name.partition(b":")[0] for name in await fake.command("cache", "KEYS", "*")} == {b"chitram", b"mine"}
        for one in (own, prefixed, shared, apart):
            await one.aclose()
        assert await shared.get("k") == "own"


async def test_without_a_target_the_settings_are_read(monkeypatch: pytest.MonkeyPatch):
    """S1-32, S1-39, S4-10: the variables decide, such as CACHE_ENABLED."""
    monkeypatch.setenv("TOLLHOUSE_URL", "fake://of-the-environment")
    monkeypatch.setenv("CACHE_ENABLED", "false")
    manager = CacheService()

    assert not await manager.set("k", 1)
    assert not manager.is_available()
    await manager.aclose()


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"codec": "pickle"}, "codec"),
        ({"target": 7}, "target"),
        ({"prefix": "a:b", "target": "fake://x"}, "key_prefix"),
    ],
)
async def test_wrong_options_are_told(options: dict[str, Any], setting: str):
    """ConfigurationError names the option."""
    with pytest.raises(ConfigurationError) as refused:
        CacheManager(**options)

    assert refused.value.setting == setting


async def test_a_cache_has_its_prefix_already(world: World):
    """A prefix beside a Cache would not be used, so it is refused."""
    with pytest.raises(ConfigurationError):
        CacheManager(open_cache(world), prefix="mine")


async def test_tasks_of_one_request_do_not_share_their_misses(manager: CacheManager):
    """S4-32: a miss of another task says nothing about what this one has loaded."""

    async def miss_and_delete() -> None:
        assert await manager.get(KEY) is None
        await manager.delete(KEY)

    await asyncio.create_task(miss_and_delete())

    assert await manager.set(KEY, "value")
