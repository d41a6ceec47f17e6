"""Counts by family: what processes count, and how it comes together in the store."""

from __future__ import annotations

import asyncio

import pytest

from tests.caches import FILL, GatedLoader, Loader, Seam, open_cache
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.management.calls import ManagementCalls
from tollhouse.cache.management.families import FamilyCounters, Tally, tally_of
from tollhouse.cache.management.stats import FamilyStats
from tollhouse.errors import Outcome, StoreUnavailable
from tollhouse.metrics import FAMILIES_MAX, Metrics

FAMILIES = "tollhouse:@families:{0}"
ADD_COUNTS = "cache/add_counts"


async def families(cache: Cache) -> dict[str, FamilyStats]:
    return (await cache.stats()).detail.families


def metric(world: World, name: str, **labels: str) -> float | None:
    return world.metrics.registry.get_sample_value(f"tollhouse_cache_{name}_total", labels)


async def test_processes_count_together_by_family(world: World):
    """S3-21, S4-64: hits by layer, misses by cause, bytes and time saved of each first word, over all processes."""
    other = world.open_stores()
    first, second = open_cache(world), open_cache(world, other.cache)

    async def slow() -> str:
        await world.advance(250)
        return "x" * 10_000

    for cache in (first, second, second):
        await cache.get_or_load("model:metrics:1", slow, tags=["1"])
    await second.invalidate_tags("1")
    await first.get_or_load("model:metrics:1", slow, tags=["1"])
    await second.get_or_load("image:1", Loader("value"))
    await second.aclose()

    told = (await first.stats()).detail

    assert set(told.families) == {"image", "model"}
    model = told.families["model"]
    assert (model.hits_by_layer.store, model.misses, model.hit_rate, model.saved_ms) == (2, 2, 50.0, 500)
    causes = model.misses_by_cause
    assert (causes.absent, causes.invalidated, causes.epoch, causes.unusable) == (1, 1, 0, 0)
    assert model.stored_unpacked_bytes == model.served_unpacked_bytes > 20_000
    assert model.stored_bytes == model.served_bytes < 1_000
    assert (told.all_families.misses, told.all_families.hits_by_layer.store) == (3, 2)
    assert metric(world, "misses", cache="model", cause="invalidated") == 1
    assert metric(world, "bytes", cache="model", way="served") == model.served_bytes
    assert metric(world, "bytes", cache="model", way="stored") == model.stored_bytes


async def test_callers_that_share_a_load_are_coalesced(world: World):
    """S3-21: they are neither hits nor misses, and save the time of the load."""
    cache, load = open_cache(world), GatedLoader("value")
    callers = [asyncio.create_task(cache.get_or_load("model:1", load)) for _ in range(3)]
    await load.began.wait()
    await world.advance(100)
    load.gate.set()
    await asyncio.gather(*callers)

    model = (await families(cache))["model"]

    assert (model.coalesced, model.misses, model.hits_by_layer.store, model.saved_ms) == (2, 1, 0, 200)


async def test_refused_fills_are_counted(world: World):
    """S4-56: a value that was invalidated while it was loaded is not stored, under a lease or after a `get`."""
    cache, load = open_cache(world), GatedLoader("old")
    reader = asyncio.create_task(cache.get_or_load("model:1", load, tags=["1"]))
    await load.began.wait()
    await cache.invalidate_tags("1")
    load.gate.set()
    await reader
    await cache.get("model:2")
    await cache.invalidate("model:2")
    assert not await cache.set("model:2", "old")
    await cache.invalidate("model:3", hold_ms=1_000)
    await cache.get("model:3")
    assert not await cache.set("model:3", "old")

    model = (await families(cache))["model"]

    assert (model.refused_fills, model.stored_bytes) == (3, 0)
    assert metric(world, "refused_fills", cache="model") == 3


async def test_reads_by_every_verb_are_counted(world: World):
    """S4-54, S4-56: get, set, look_up and get_many count as get_or_load does; a hit that is no value of a type too."""
    cache = open_cache(world)
    await cache.get("model:1")
    await cache.set("model:1", 1)
    assert await cache.get("model:1") == 1
    assert await cache.look_up("model:2") is None
    assert await cache.look_up("model:1") is not None
    assert await cache.look_up("model:1", type=list[str]) is None

    async def load_many(keys: list[str]) -> dict[str, int]:
        return dict.fromkeys(keys, 2)

    await cache.get_many(["model:1", "model:3"], load_many)
    await cache.fetch("model:1", Loader(3), use_cache=False)

    model = (await families(cache))["model"]

    assert (model.hits_by_layer.store, model.misses_by_cause.absent, model.bypassed) == (3, 3, 1)
    assert model.stored_bytes > 0


async def test_every_cause_of_a_miss_is_counted(world: World):
    """S4-56: absent, invalidated, of another epoch, or unusable, also for values by key."""
    cache = open_cache(world)
    await cache.set("model:1", 1, tags=["1"])
    await cache.invalidate_tags("1")
    await cache.get("model:1")
    await cache.set("model:2", 1)
    await world.command("cache", "DEL", "tollhouse:@clock:{0}")
    await cache.get("model:2")
    entry, *_ = await world.command("cache", "KEYS", "tollhouse:model:*")
    await world.command("cache", "SET", entry, "foreign")
    await cache.get("model:1")
    await cache.get("model:2")

    causes = (await families(cache))["model"].misses_by_cause

    assert (causes.invalidated, causes.unusable) == (1, 1)
    assert causes.epoch >= 1


async def test_families_beyond_the_bound_are_one(world: World):
    """The first word of a key may come from a client: neither process nor store has more families than the bound."""
    cache = open_cache(world)
    for number in range(FAMILIES_MAX + 3):
        await cache.get(f"family{number}:1")

    told = await families(cache)

    assert len(told) == FAMILIES_MAX + 1
    assert told["other"].misses == 3


async def counters(world: World, seam: Seam, flush_s: float = 60.0) -> FamilyCounters:
    calls = ManagementCalls(seam, "tollhouse:@clock:{0}")
    return FamilyCounters(calls, FAMILIES, world.metrics, flush_s=flush_s)


async def sums(world: World) -> dict[str, Tally]:
    calls = ManagementCalls(world.stores.cache, "tollhouse:@clock:{0}")
    return {family: tally_of(numbers) for family, numbers in (await calls.counts(FAMILIES)).families.items()}


async def test_counts_are_sent_soon(world: World):
    """Without any call for statistics; only while there is something to send."""
    seam = Seam(world.stores.cache)
    counted = await counters(world, seam, flush_s=0.0)
    counted.missed("model", "absent")
    await seam.until(ADD_COUNTS, 1)

    counted.missed("model", "absent")
    await seam.until(ADD_COUNTS, 2)
    await counted.aclose()

    assert (await sums(world))["model"].absent == 2
    assert seam.calls[ADD_COUNTS] == 2


#   what happened to the call, the counts in the end
OUTAGES: list[tuple[Outcome, int]] = [("not-sent", 2), ("ambiguous", 0), ("rejected", 0)]


@pytest.mark.parametrize(("outcome", "absent"), OUTAGES)
async def test_counts_outlive_an_outage_if_they_were_not_sent(world: World, outcome: Outcome, absent: int):
    """What may have been added is not added twice: figures are lost rather than wrong."""
    seam = Seam(world.stores.cache)
    seam.outcome, seam.failing = outcome, {ADD_COUNTS}
    counted = await counters(world, seam)
    counted.missed("model", "absent")
    with pytest.raises(StoreUnavailable):
        await counted.flush()
    counted.missed("model", "absent")
    await counted.aclose()
    seam.failing.clear()

    await counted.flush()

    assert (await sums(world)).get("model", Tally()).absent == absent


async def test_many_families_are_sent_in_steps(world: World):
    """One call adds to 64 families at most; an outage between two keeps the rest."""
    seam = Seam(world.stores.cache)
    counted = await counters(world, seam)
    for number in range(150):
        counted.missed(f"family{number}", "absent")

    async def fail() -> None:
        seam.failing.add(ADD_COUNTS)

    seam.after[ADD_COUNTS] = fail
    with pytest.raises(StoreUnavailable):
        await counted.flush()
    seam.failing.clear()
    await counted.flush()

    assert len(await sums(world)) == 150
    assert seam.calls[ADD_COUNTS] == 3


def test_counts_without_an_event_loop_are_kept() -> None:
    """Under trio a cache loads without the store: nothing is scheduled, and nothing fails."""
    counted = FamilyCounters(ManagementCalls(Seam(None), "clock"), FAMILIES, Metrics())

    counted.read("model", "digest", "bypass")
    counted.read("model", "digest", "bypass")


def test_sums_of_another_release_are_read() -> None:
    """Numbers that a release does not know are left out, those that it misses are 0."""
    known = len(tally_of().numbers().split())

    assert vars(tally_of("7")) == vars(tally_of()) | {"hits": 7}
    assert tally_of(" ".join(["1"] * (known + 2))).numbers() == " ".join(["1"] * known)


async def test_a_closed_cache_sends_what_it_has_counted(world: World):
    """The end of a process loses nothing."""
    seam = Seam(world.stores.cache)
    cache = open_cache(world, seam)
    await cache.get_or_load("model:1", Loader(1))
    await seam.until(FILL, 1)

    await cache.aclose()

    assert (await sums(world))["model"].absent == 1


def test_sums_are_added() -> None:
    """Each number on its own."""
    assert vars(tally_of("1 2", "3 4 5")) == vars(tally_of()) | {"hits": 4, "coalesced": 6, "bypassed": 5}
