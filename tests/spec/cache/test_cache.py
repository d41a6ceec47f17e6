"""Cached values: loaded once, found until they expire, and gone when they are invalidated."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from tests.caches import FILL, GET_OR_LEASE, RELEASE, GatedLoader, Loader, Seam, open_cache, reads
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.reading.loader import Bounds
from tollhouse.cache.ttl import TTL_S_MAX, CacheTTL
from tollhouse.clock import monotonic_ms
from tollhouse.errors import ConfigurationError, InvalidInput, LoadFailed, StoreUnavailable
from tollhouse.keyring import Keyring


@dataclass
class Point:
    """A value of a type of the application."""

    x: int
    rest: tuple[int, int]


@pytest.fixture
async def cache(world: World) -> Cache:
    return open_cache(world)


async def test_a_value_is_loaded_once_and_found_afterwards(cache: Cache):
    """S1-03, S1-45, S1-46: the first read loads (MISS), the second finds (HIT) and does not load."""
    load = Loader("first", "second")

    found = [await cache.fetch("k", load), await cache.fetch("k", load)]

    assert [(each.value, each.status) for each in found] == [("first", "MISS"), ("first", "HIT")]
    assert load.calls == 1


@pytest.mark.parametrize("value", [None, 0, "", [], {}, False])
async def test_a_falsy_value_is_a_value(cache: Cache, value: Any):
    """Any stored value is a hit: None is not a miss."""
    load = Loader(value, "another")

    assert await cache.get_or_load("k", load) == value
    assert await cache.get_or_load("k", load) == value
    assert load.calls == 1


async def test_first_and_later_answers_are_alike(cache: Cache):
    """A loaded value is returned as it will be found: a tuple is a list from the start."""
    load = Loader({"pair": (1, 2)})

    found = [await cache.get_or_load("k", load), await cache.get_or_load("k", load)]

    assert found == [{"pair": [1, 2]}, {"pair": [1, 2]}]


async def test_a_value_has_the_type_that_the_caller_gives(cache: Cache):
    """With `type` the first answer and later ones are of that type, `fetch` and `get_or_load` alike."""
    load = Loader(Point(1, (2, 3)))

    loaded = await cache.get_or_load("k", load, type=Point)
    found = await cache.fetch("k", load, type=Point)

    assert (loaded, found.value, found.status) == (Point(1, (2, 3)), Point(1, (2, 3)), "HIT")
    assert load.calls == 1


async def test_a_stored_value_of_another_type_is_loaded_again(cache: Cache):
    """A value that an older release stored, with other fields, is a miss and is replaced."""
    await cache.get_or_load("k", Loader({"x": "one"}))
    load = Loader(Point(1, (2, 3)))

    loaded = await cache.fetch("k", load, type=Point)

    assert (loaded.value, loaded.status) == (Point(1, (2, 3)), "MISS")
    assert (await cache.fetch("k", load, type=Point)).status == "HIT"


async def test_a_loaded_value_of_another_type_is_an_error(cache: Cache):
    """A loader that returns something else than the type fails; the wrong value is not returned."""
    with pytest.raises(LoadFailed):
        await cache.get_or_load("k", Loader({"x": "one"}), type=Point)


async def test_a_type_that_cannot_be_decoded_is_refused_before_a_load(cache: Cache):
    """The caller learns at once that no stored value can have the type."""
    load = Loader(1)

    with pytest.raises(InvalidInput) as refused:
        await cache.get_or_load("k", load, type=[dict])

    assert (refused.value.field, load.calls) == ("type", 0)


async def test_callers_own_their_copies(cache: Cache):
    """A caller that changes its value does not change the next caller's."""
    load = Loader({"list": [1]})

    (await cache.get_or_load("k", load))["list"].append(2)

    assert await cache.get_or_load("k", load) == {"list": [1]}


async def test_a_value_is_found_by_every_process(world: World, cache: Cache):
    """S0-13, S1-05: another process that opens the same store finds what this one loaded."""
    await cache.get_or_load("k", Loader("theirs"))
    other = world.open_stores()

    found = await open_cache(world, other.cache).fetch("k", Loader("own"))

    assert (found.value, found.status) == ("theirs", "HIT")


async def test_a_value_expires(world: World, cache: Cache):
    """S1-08, S1-25: after its lifetime a value is loaded again; its age and what remains are reported meanwhile."""
    load = Loader("old", "new")
    loaded = await cache.fetch("k", load, ttl_s=60)
    await world.advance(45_000)
    found = await cache.fetch("k", load, ttl_s=60)
    await world.advance(15_000)

    assert (loaded.age_ms, loaded.ttl_ms) == (0, 60_000)
    assert (found.status, found.age_ms, found.ttl_ms) == ("HIT", 45_000, 15_000)
    assert await cache.get_or_load("k", load, ttl_s=60) == "new"


async def test_a_lifetime_is_an_upper_bound(world: World):
    """Values loaded together do not expire together: a lifetime is up to a tenth shorter, and never longer."""
    whole, least = open_cache(world, uniform=lambda: 0.0), open_cache(world, uniform=lambda: 0.999_999_999)

    loaded = [
        await whole.fetch("a", Loader(1), ttl_s=100),
        await least.fetch("b", Loader(1), ttl_s=100),
        await least.fetch("c", Loader(1), ttl_s=1),
    ]

    assert [one.ttl_ms for one in loaded] == [100_000, 90_000, 900]


async def test_the_default_lifetime_is_an_hour(cache: Cache):
    """S1-21, S1-40: 3600 s unless set."""
    assert (await cache.fetch("k", Loader(1))).ttl_ms == 3_600_000


def test_the_named_lifetimes():
    """S4-11 to S4-17: seven lifetimes in seconds."""
    assert {each.name: each.value for each in CacheTTL} == {
        "VERY_SHORT": 300,
        "SHORT": 900,
        "MEDIUM": 1800,
        "LONG": 3600,
        "VERY_LONG": 7200,
        "DAY": 86400,
        "WEEK": 604800,
    }


async def test_keys_do_not_meet(cache: Cache):
    """Keys that differ in one word, in their order or in their number of words have a value each."""
    keys = ["a:k", "b:k", "a:b:k", "k:a", "k", "a", "a::k", "a:k:"]

    assert [await cache.get_or_load(key, Loader(key)) for key in keys] == keys


async def test_no_word_of_a_caller_is_in_a_name_or_in_the_clock(world: World, cache: Cache):
    """P10, S4-59: keys and tags are stored as keyed digests; of a key of several words the first stays readable."""
    for key in ("alice@example.org", "user:alice", "model:alice:1", "Alice:1"):
        await cache.get_or_load(key, Loader("value"), tags=["user:alice"])
    await cache.invalidate_tags("user:alice")

    names = await world.command("cache", "KEYS", "*")
    fields = await world.command("cache", "HGETALL", "tollhouse:@clock:{0}")

    assert not any(b"alice" in text.lower() for text in [*names, *map(bytes, map(_as_bytes, fields))])
    assert any(name.startswith(b"tollhouse:user:{0}:") for name in names)


def _as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


async def test_every_entry_has_an_expiry(world: World, cache: Cache):
    """S4-60, P10: all keys but the clock expire."""
    await cache.get_or_load("k", Loader(1), ttl_s=TTL_S_MAX)

    left = {name: await world.command("cache", "PTTL", name) for name in await world.command("cache", "KEYS", "*")}

    assert sorted(name for name, ms in left.items() if ms < 0) == [b"tollhouse:@clock:{0}"]


async def test_a_prefix_keeps_caches_apart(world: World):
    """S1-20, S1-41: caches under two prefixes do not see each other."""
    own, other = open_cache(world, prefix="chitram"), open_cache(world)

    assert await own.get_or_load("k", Loader("own")) == "own"
    assert await other.get_or_load("k", Loader("other")) == "other"
    assert any(name.startswith(b"chitram:") for name in await world.command("cache", "KEYS", "*"))


async def test_invalidating_a_key_removes_its_value(cache: Cache):
    """S1-23: after an invalidation the value is loaded again; the result is whether there was one."""
    load = Loader("old", "new")
    await cache.get_or_load("f:k", load)

    assert [await cache.invalidate("k"), await cache.invalidate("f:k")] == [False, True]

    assert await cache.get_or_load("f:k", load) == "new"


async def test_invalidating_a_tag_removes_its_entries(cache: Cache):
    """S0-14, S0-19, S4-06: each value with one of the tags is loaded again, and no other."""
    keys = {"a": ("model:1",), "b": ("model:2", "comparisons"), "c": ("model:3", "comparisons"), "d": ()}
    load = {key: Loader("old", "new") for key in keys}
    for key, tags in keys.items():
        await cache.get_or_load(key, load[key], tags=tags)

    await cache.invalidate_tags("model:1", "comparisons")
    await cache.invalidate_tags()

    values = {key: await cache.get_or_load(key, load[key], tags=tags) for key, tags in keys.items()}
    assert values == {"a": "new", "b": "new", "c": "new", "d": "old"}


async def test_clearing_removes_everything_of_this_cache(world: World):
    """S4-41: one step for any number of values; other prefixes keep theirs."""
    own, other = open_cache(world), open_cache(world, prefix="other")
    load, kept = Loader("old", "new"), Loader("old", "new")
    await own.get_or_load("k", load)
    await other.get_or_load("k", kept)

    await own.clear()

    assert await own.get_or_load("k", load) == "new"
    assert await other.get_or_load("k", kept) == "old"


KEPT = (
    "model:metrics:1",
    "model:metrics:2:top_5",
    "model:comparison:1",
    "model:metrics",
    "models:metrics:1",
    "account:1",
    "session:1",
    "lease:1",
    "plain",
    "A:1",
)
#    the pattern, and the keys that it means
PATTERNS: list[tuple[str, set[str]]] = [
    ("model:metrics:*", {"model:metrics:1", "model:metrics:2:top_5"}),
    ("model:*", {"model:metrics:1", "model:metrics:2:top_5", "model:comparison:1", "model:metrics"}),
    ("model:*:1", {"model:metrics:1", "model:comparison:1"}),
    ("*:metrics:1", {"model:metrics:1", "models:metrics:1"}),
    ("*:1", {"account:1", "session:1", "lease:1"}),
    ("account:*", {"account:1"}),
    ("session:*", {"session:1"}),
    ("cache:*", set()),
    ("plain", {"plain"}),
    ("A:1", {"A:1"}),
    ("*", set(KEPT)),
]


@pytest.mark.parametrize(("pattern", "meant"), PATTERNS)
async def test_deleting_by_pattern_removes_the_keys_that_match(cache: Cache, pattern: str, meant: set[str]):
    """S3-16, S4-07, S4-30: `*` is a word, and one or more at the end; the result is how many values there were."""
    for key in KEPT:
        await cache.get_or_load(key, Loader("old"))

    deleted = await cache.delete_pattern(pattern)

    gone = {key for key in KEPT if (await cache.fetch(key, Loader("new"))).status == "MISS"}
    assert (deleted, gone) == (len(meant), meant)


async def test_deleting_by_pattern_covers_every_secret(world: World):
    """After a rotation, a pattern also finds the entries that were stored under the older secret."""
    rotated = Keyring(secrets=(b"the next secret, also of 32 bytes", *world.keyring.secrets))
    before, after = open_cache(world), Cache(world.stores.cache, rotated, world.metrics)
    for key in ("model:metrics:1", "model:metrics:2", "plain"):
        await before.get_or_load(key, Loader("old"))
    await after.get_or_load("model:metrics:1", Loader("old"))

    assert [await after.delete_pattern(pattern) for pattern in ("model:metrics:*", "plain", "*")] == [3, 1, 0]


async def test_deleting_by_pattern_stays_inside_the_cache(world: World, cache: Cache):
    """S0-15: a pattern that matches everything leaves other state, other caches and the clock alone."""
    await cache.get_or_load("k", Loader("old"))
    others = [
        "tollhouse:session:{0}:" + "0" * 32,
        "tollhouse:rate:{ab}:" + "0" * 32 + ":api",
        "tollhouse:account:{0}:" + "0" * 32,
        "chitram:cache:{0}:" + "0" * 32,
        "tollhouse:@lease:{0}:" + "0" * 32,
    ]
    for name in others:
        await world.command("cache", "SET", name, "state")

    assert await cache.delete_pattern("*") == 1

    left = await world.command("cache", "KEYS", "*")
    assert sorted(left) == sorted([*(name.encode() for name in others), b"tollhouse:@clock:{0}"])


async def test_deleting_by_pattern_scans_in_several_steps(cache: Cache):
    """More values than one step of the walk are all found."""
    load = Loader("value")
    for number in range(1_100):
        await cache.get_or_load(f"f:{number}", load)

    assert await cache.delete_pattern("f:*") == 1_100


@pytest.mark.parametrize(("failing", "outcome"), [("cache/invalidate_tags", "not-sent"), ("scan", "ambiguous")])
async def test_deleting_by_pattern_that_breaks_off_is_ambiguous(world: World, failing: str, outcome: str):
    """Once the first step ran, the whole is not undone by a later one that finds no server."""
    seam = Seam(world.stores.cache)
    seam.failing.add(failing)

    with pytest.raises(StoreUnavailable) as raised:
        await open_cache(world, seam).delete_pattern("f:*")

    assert raised.value.outcome == outcome


@pytest.mark.parametrize("invalidate", ["key", "tag", "all", "pattern"])
async def test_a_slow_fill_does_not_store_an_invalidated_value(world: World, invalidate: str):
    """P6: a value loaded before the invalidation and stored after it is refused; the caller who loaded it has it."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)
    steps = {
        "key": lambda: cache.invalidate("k"),
        "tag": lambda: cache.invalidate_tags("t"),
        "all": cache.clear,
        "pattern": lambda: cache.delete_pattern("f:*"),
    }
    load = Loader("old", "new")
    seam.before[FILL] = steps[invalidate]

    slow = await cache.fetch("k", load, tags=["t"])
    after = await cache.fetch("k", load, tags=["t"])

    assert (slow.value, slow.status, slow.ttl_ms) == ("old", "MISS", 0)
    assert (after.value, after.status) == ("new", "MISS")
    assert await cache.get_or_load("k", load, tags=["t"]) == "new"


async def test_an_accepted_fill_ends_its_lease_by_itself(world: World):
    """S0-21: a load costs two calls: one to get the lease, one to fill."""
    seam = Seam(world.stores.cache)

    await open_cache(world, seam).get_or_load("k", Loader("value"))

    assert dict(seam.calls) == {GET_OR_LEASE: 1, FILL: 1}


async def test_a_failed_load_is_not_stored_and_frees_the_lease(cache: Cache):
    """An error of the loader passes through unchanged, and the next reader loads at once."""
    error = KeyError("mine")

    async def fail() -> None:
        raise error

    with pytest.raises(KeyError) as raised:
        await cache.get_or_load("k", fail)

    assert raised.value is error
    assert (await cache.fetch("k", Loader("later"))).status == "MISS"


async def test_a_value_that_cannot_be_written_is_a_failed_load(cache: Cache):
    """A value that msgspec cannot encode is LoadFailed, and nothing is stored."""
    with pytest.raises(LoadFailed):
        await cache.get_or_load("k", Loader(object()))

    assert (await cache.fetch("k", Loader(1))).status == "MISS"


async def test_a_value_that_cannot_be_read_back_is_a_failed_load(world: World):
    """A value that could be encoded but not decoded is refused when it is loaded."""
    cache = open_cache(world, codec="json")

    with pytest.raises(LoadFailed):
        await cache.get_or_load("k", Loader(msgspec.Raw(b"not json")))


async def test_a_value_that_is_too_large_is_answered_and_not_stored(world: World):
    """S0-20: entries are bounded; a larger value costs a load each time."""
    cache = open_cache(world, bounds=Bounds(entry_bytes=10_000))
    noise = random.Random(1).randbytes(10_000)
    load = Loader(noise)

    found = [await cache.fetch("k", load), await cache.fetch("k", load)]

    assert [(each.value, each.status, each.ttl_ms) for each in found] == [(noise, "MISS", 0)] * 2
    assert await world.command("cache", "KEYS", "*") == [b"tollhouse:@clock:{0}"]


async def test_large_values_are_compressed_and_stored(world: World, cache: Cache):
    """S2-19: a value far above the threshold is compressed, and encoded and decoded in a thread."""
    text = "all the same " * 50_000

    loaded, found = await cache.fetch("k", Loader(text)), await cache.fetch("k", Loader("other"))

    (name,) = await world.command("cache", "KEYS", "tollhouse:cache:*")
    assert (loaded.value, found.value, found.status) == (text, text, "HIT")
    assert await world.command("cache", "STRLEN", name) < 10_000


async def test_past_the_cache(world: World, cache: Cache):
    """S4-19, S4-49: without use_cache the value is loaded, and nothing is read or stored."""
    load = Loader("first", "second", "third")
    await cache.get_or_load("k", load)

    past = await cache.fetch("k", load, use_cache=False)

    assert (past.value, past.status, past.ttl_ms) == ("second", "BYPASS", 0)
    assert await cache.get_or_load("k", load) == "first"
    assert reads(world.metrics, "cache", "bypass") == 1


async def test_a_cache_that_is_switched_off_loads_each_time(world: World):
    """S1-26, S1-39: with enabled=False every result is DISABLED, and the store is not used."""
    cache = open_cache(world, enabled=False)
    load = Loader("first", "second")

    found = [await cache.fetch("k", load), await cache.fetch("k", load)]

    assert [(each.value, each.status) for each in found] == [("first", "DISABLED"), ("second", "DISABLED")]
    assert await world.command("cache", "DBSIZE") == 0


async def test_a_body_that_is_not_ours_is_removed_and_counted(world: World, cache: Cache):
    """A stored body that belongs to another key or is damaged is a miss, and is removed."""
    load = Loader("value", "fresh")
    await cache.get_or_load("k", load)
    (name,) = await world.command("cache", "KEYS", "tollhouse:cache:*")
    stored = await world.command("cache", "GET", name)
    await world.command("cache", "SETRANGE", name, len(stored) - len(b"\xa5value") - 1, b"?")

    found = await cache.fetch("k", load)

    assert (found.value, found.status) == ("fresh", "MISS")
    assert (await cache.fetch("k", load)).status == "HIT"
    assert world.metrics.registry.get_sample_value("tollhouse_state_discarded_total", {"kind": "cache-entry"}) == 1


async def test_without_a_secret_the_cache_works_with_plain_digests(world: World):
    """Without a secret, limits and cache use digests that are not keyed."""
    cache = Cache(world.stores.cache, Keyring(), world.metrics)
    load = Loader("value")

    assert [await cache.get_or_load("k", load), await cache.get_or_load("k", load)] == ["value", "value"]
    assert load.calls == 1


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"key": ""}, "key"),
        ({"key": "k" * 1025}, "key"),
        ({"key": "\ud800"}, "key"),
        ({"key": 7}, "key"),
        ({"key": b"k"}, "key"),
        ({"key": None}, "key"),
        ({"tags": [7]}, "tag"),
        ({"family": 7}, "family"),
        ({"tags": "model:1"}, "tags"),
        ({"tags": b"model:1"}, "tags"),
        ({"ttl_s": 1.5}, "ttl_s"),
        ({"ttl_s": True}, "ttl_s"),
        ({"tags": [""]}, "tag"),
        ({"tags": ["t" * 129]}, "tag"),
        ({"tags": [str(number) for number in range(65)]}, "tags"),
        ({"ttl_s": 0}, "ttl_s"),
        ({"ttl_s": TTL_S_MAX + 1}, "ttl_s"),
    ],
)
async def test_wrong_words_are_refused_by_name(cache: Cache, options: dict[str, Any], field: str):
    """S4-60: keys, tags and lifetimes have types and bounds; the error names the field, and nothing is loaded."""
    load = Loader(1)

    with pytest.raises(InvalidInput) as raised:
        await cache.fetch(**{"key": "k", "load": load, **options})

    assert raised.value.field == field
    assert load.calls == 0


@pytest.mark.parametrize("pattern", ["", "p" * 1025, b"p*", "model:met*", "model*", "A:*", ":*", "a:\ud800:*"])
async def test_a_wrong_pattern_is_refused(cache: Cache, pattern: Any):
    """A pattern is text of whole words, and its first is one that stays readable; a part of a word matches nothing."""
    with pytest.raises(InvalidInput) as refused:
        await cache.delete_pattern(pattern)

    assert refused.value.field == "pattern"


@pytest.mark.parametrize("options", [{"prefix": "a:b"}, {"prefix": ""}, {"ttl_ms": 999}, {"ttl_ms": 10**12}])
async def test_wrong_settings_are_refused(world: World, options: dict[str, Any]):
    """A prefix that could run into other names, and a lifetime out of bounds, are configuration errors."""
    with pytest.raises(ConfigurationError):
        open_cache(world, **options)


async def test_the_longest_words_are_accepted(cache: Cache):
    """The bounds themselves are allowed."""
    found = await cache.fetch("k" * 1024, Loader(1), tags=[f"{number:0128d}" for number in range(64)], ttl_s=TTL_S_MAX)

    assert found.ttl_ms == TTL_S_MAX * 1000
    assert (await cache.fetch("k" * 1024, Loader(2))).value == 1
    assert await cache.get_or_load("k" + ":" * 1023, Loader(3)) == 3


async def test_reads_are_counted_by_family_and_result(world: World, cache: Cache):
    """S0-17, S3-21: each read is counted once, under the first word of its key."""
    load = GatedLoader("value")
    load.gate.set()
    await cache.get_or_load("image:1", load)
    await cache.get_or_load("image:1", load)

    counted = {result: reads(world.metrics, "image", result) for result in ("miss", "hit", "error")}

    assert counted == {"miss": 1, "hit": 1, "error": 0}


async def test_a_hit_reports_how_long_the_load_took(world: World):
    """S0-04: the time that a hit saved is that of the load it made unnecessary; the age counts from its end."""
    cache = open_cache(world)

    async def slow() -> str:
        await world.advance(250)
        return "value"

    await cache.get_or_load("k", slow)
    found = await cache.fetch("k", slow)

    assert (found.load_ms, found.age_ms, found.ttl_ms) == (250, 0, 3_600_000)
    assert world.metrics.registry.get_sample_value("tollhouse_cache_saved_seconds_total", {"cache": "cache"}) == 0.25


async def test_a_caller_cancelled_during_the_lookup_leaves_no_lease(world: World):
    """A caller that is cancelled before the reply releases the lease that it may have been granted."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)
    reader: asyncio.Task[Any]

    async def leave() -> None:
        reader.cancel()
        await asyncio.sleep(0)

    seam.after[GET_OR_LEASE] = leave
    reader = asyncio.create_task(cache.get_or_load("k", Loader("never")))
    await asyncio.wait([reader])

    assert reader.cancelled()
    await seam.until(RELEASE, 1)
    assert (await cache.fetch("k", Loader("value"))).status == "MISS"


async def test_the_defaults_work(world: World):
    """S1-32: a store, a keyring and metrics are enough; clock, randomness and sleep are the real ones."""
    cache = Cache(world.stores.cache, world.keyring, world.metrics)
    before_ms = monotonic_ms()

    found = await cache.fetch("k", Loader("value"))

    assert found.load_ms <= monotonic_ms() - before_ms
    assert 3_240_000 <= found.ttl_ms <= 3_960_000
    await cache.aclose()
