"""Cache statistics."""

from __future__ import annotations

import random
from fnmatch import fnmatch

import msgspec
import pytest

from tests.caches import Loader, Seam, open_cache
from tests.worlds import World
from tollhouse.cache.key_names import KeyNames
from tollhouse.cache.management.stats import describe, hit_rate
from tollhouse.cache.management.walks import count_entries
from tollhouse.errors import Outcome
from tollhouse.keyring import Keyring


@pytest.mark.parametrize(
    ("hits", "misses", "percent"), [(1245, 156, 88.87), (0, 0, 0.0), (1, 0, 100.0), (0, 1, 0.0), (1, 2, 33.33)]
)
def test_the_hit_rate_is_in_percent_to_two_places(hits: int, misses: int, percent: float):
    """S4-44: 1245 hits and 156 misses are 88.87 %."""
    assert hit_rate(hits, misses) == percent


async def test_all_processes_count_together(world: World):
    """S4-42: a miss in one process and hits in another are one sum, without waiting for anything."""
    other = world.open_stores()
    first, second = open_cache(world), open_cache(world, other.cache)
    load = Loader("value")
    await first.get_or_load("k", load, tags=["t"])
    await second.get_or_load("k", load, tags=["t"])
    await second.get_or_load("k", load, tags=["t"])
    await second.invalidate_tags("t")
    await first.get_or_load("k", load, tags=["t"])

    told = [await first.stats(), await second.stats()]

    assert [(each.stats.hits, each.stats.misses, each.stats.hit_rate) for each in told] == [(2, 2, 50.0)] * 2
    assert told[0].detail.misses_by_cause == told[1].detail.misses_by_cause
    causes = told[0].detail.misses_by_cause
    assert (causes.absent, causes.invalidated, causes.epoch, causes.unusable) == (1, 1, 0, 0)
    assert told[0].detail.invalidations == 1


async def test_the_stats_have_exactly_the_fields_that_dashboards_read(world: World):
    """S4-43: available, stats, config and message, with their fields; details are in a block of their own."""
    cache = open_cache(world)
    await cache.get_or_load("k", Loader("value"))

    told = msgspec.to_builtins(await cache.stats())

    assert set(told) == {"available", "stats", "config", "message", "detail"}
    assert set(told["stats"]) == {"used_memory", "total_keys", "hits", "misses", "hit_rate"}
    assert told["config"] == {
        "ttl_very_short": 300,
        "ttl_short": 900,
        "ttl_medium": 1800,
        "ttl_long": 3600,
        "ttl_very_long": 7200,
        "ttl_day": 86400,
        "ttl_week": 604800,
    }
    assert (told["available"], told["message"]) == (True, "Cache is healthy")
    assert (told["stats"]["total_keys"], await world.command("cache", "DBSIZE")) == (1, 3)
    assert told["detail"]["default_ttl_s"] == 3600


async def test_the_memory_is_that_of_the_server(embedded: World):
    """S4-57: used_memory is what the server reports, readable and in bytes."""
    told = await open_cache(embedded).stats()

    assert told.stats.used_memory[-1] in "KMG"
    assert told.detail.used_memory_bytes > 100_000


def test_a_server_without_info_has_unknown_memory():
    """Without INFO the memory is `unknown`, not an error."""
    told = describe("Cache is healthy", None, {}, default_ttl_s=3600, entry_bytes_max=1)

    assert (told.stats.used_memory, told.detail.used_memory_bytes) == ("unknown", 0)


async def test_stats_of_a_store_that_is_down(world: World):
    """S4-43: available is false, and nothing is raised."""
    seam = Seam(world.stores.cache)
    seam.failing.add("everything")

    told = await open_cache(world, seam).stats()

    assert (told.available, told.message, told.stats.hits) == (False, "Cache is unavailable", 0)


async def test_stats_of_a_cache_that_is_switched_off(world: World):
    """S1-39: a disabled cache reports that."""
    told = await open_cache(world, enabled=False).stats()

    assert (told.available, told.message) == (False, "Cache is disabled")


@pytest.mark.parametrize(("outcome", "available"), [("rejected", True), ("not-sent", False)])
async def test_stats_of_a_cache_whose_keys_are_not_listed(world: World, outcome: Outcome, *, available: bool):
    """An account without the right to list keys learns all but their number; an outage is one."""
    seam = Seam(world.stores.cache)
    seam.outcome = outcome
    seam.failing.add("scan")
    cache = open_cache(world, seam)
    await cache.get_or_load("k", Loader("value"))

    told = await cache.stats()

    assert (told.available, told.stats.misses, told.stats.total_keys) == (available, int(available), 0)


class Keys:
    """A database with entries of one cache among other keys, in an order of its own."""

    def __init__(self, names: KeyNames, entries: int, others: int) -> None:
        of_cache = [names.entries(f"image:{number}")[0] for number in range(entries)]
        known = [one.entry for one in of_cache] + [one.lease for one in of_cache[: entries // 2]]
        self.names = known + [f"tollhouse:session:{{aa}}:{number}" for number in range(others)]
        random.Random(1).shuffle(self.names)
        self.steps = 0

    async def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[str]]:
        self.steps += 1
        following = cursor + count
        found = [name for name in self.names[cursor:following] if fnmatch(name, match)]
        return following if following < len(self.names) else 0, found


#    entries, other keys, how many are looked at, the count, its tolerance, steps
COUNTED = [
    (0, 0, 20_000, 0, 0, 1),
    (700, 1_700, 20_000, 700, 0, 3),
    (3_000, 3_000, 2_000, 3_000, 300, 2),
    (0, 30_000, 5_000, 0, 0, 5),
]


@pytest.mark.parametrize(("entries", "others", "walked", "count", "tolerance", "steps"), COUNTED)
async def test_entries_among_other_keys_are_counted(
    entries: int, others: int, walked: int, count: int, tolerance: int, steps: int
) -> None:
    """In a shared database the count is exact as far as the walk goes, and an estimate beyond; leases are none."""
    names = KeyNames(Keyring(secrets=(b"a secret for tests, 32 bytes or more",)), "tollhouse")
    keys = Keys(names, entries, others)

    found = await count_entries(keys, names.everything, len(keys.names), walked_max=walked)  # type: ignore[arg-type] - scan is all

    assert abs(found - count) <= tolerance
    assert keys.steps == steps


async def test_a_key_of_another_program_is_left_alone(world: World):
    """A name in a shared database may be any bytes, our prefix before it: it is neither counted nor deleted."""
    cache = open_cache(world)
    foreign = [b"tollhouse:image:{0}:\xff\xfe", b"tollhouse:\xff:{0}:" + b"0" * 20, "tollhouse:image:{0}:é".encode()]
    for name in foreign:
        await world.command("cache", "SET", name, "value")
    await cache.get_or_load("image:1", Loader("value"))
    await cache.get_or_load("image:2", Loader("value"))

    told = await cache.stats()
    deleted = await cache.delete_pattern("image:*")
    cleared = await cache.clear_all()

    assert (told.stats.total_keys, deleted, cleared) == (2, 2, 0)
    assert await world.command("cache", "EXISTS", *foreign) == len(foreign)
