"""Inspection of entries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.caches import GatedLoader, open_cache
from tests.worlds import World
from tollhouse.cache.management.inspection import VALUE_CHARACTERS_MAX


async def test_an_entry_is_explained(world: World):
    """S4-45, S4-56, cache/inspect: whether a read would be a hit, else why not; nothing is counted."""
    cache = open_cache(world)
    see = cache.inspection.key
    absent = await see("model:1")
    await cache.set("model:1", "x" * 10_000, tags=["a", "b"], ttl_s=60)
    await world.advance(1_000)
    hit = await see("model:1")
    await cache.invalidate_tags("a")
    tagged = await see("model:1")
    await cache.clear()
    cleared = await see("model:1")
    await world.command("cache", "SET", hit.name, "foreign")
    foreign = await see("model:1")

    assert (absent.result, absent.size_bytes, absent.age_ms) == ("absent", 0, None)
    assert (hit.result, hit.age_ms, hit.load_ms) == ("hit", 1_000, 0)
    assert hit.ttl_ms is not None
    assert 50_000 < hit.ttl_ms <= 59_000
    assert 0 < hit.size_bytes < 1_000 < hit.unpacked_bytes
    assert [tag.is_invalidated for tag in hit.tags] == [False, False]
    assert (tagged.result, sorted(tag.is_invalidated for tag in tagged.tags)) == ("invalidated", [False, True])
    assert (tagged.cleared, cleared.cleared) == (False, True)
    assert (foreign.result, foreign.tags) == ("unusable", ())
    assert (await cache.stats()).stats.hits == 0


async def test_loads_and_holds_are_explained(world: World):
    """A key that is being loaded, or kept out of the cache, says for how long."""
    cache, load = open_cache(world), GatedLoader("value")
    reader = asyncio.create_task(cache.get_or_load("model:1", load))
    await load.began.wait()
    loading = await cache.inspection.key("model:1")
    load.gate.set()
    await reader
    await cache.invalidate("model:1", hold_ms=5_000)
    held = await cache.inspection.key("model:1")

    assert (loading.is_held, held.is_held) == (False, True)
    assert loading.lease_left_ms is not None
    assert held.lease_left_ms is not None


async def test_a_pattern_is_counted(world: World):
    """S4-45: how many entries match, found in bounded steps, with the names of some; a key is a pattern of one."""
    cache = open_cache(world)
    for number in range(30):
        await cache.set(f"model:metrics:{number}", number)
    await cache.set("image:1", 1)

    found = await cache.inspection.pattern("model:metrics:*")

    assert (found.entries, len(found.sample)) == (30, 20)
    assert all(name.startswith("tollhouse:model:{0}:") for name in found.sample)
    assert [(await cache.inspection.pattern(key)).entries for key in ("image:1", "image:2")] == [1, 0]


#   a stored value, its text
VALUES: list[tuple[Any, str]] = [
    ({"name": "Ada", "tags": [1, None]}, '{"name":"Ada","tags":[1,null]}'),
    ({(1, 2): "pair"}, '{"(1, 2)":"pair"}'),
    ("x" * 40_000, '"' + "x" * (VALUE_CHARACTERS_MAX - 1)),
]


@pytest.mark.parametrize(("value", "text"), VALUES)
async def test_a_value_is_shown_as_text(world: World, value: Any, text: str):
    """S4-45: as JSON, what JSON does not have as Python writes it; its beginning if it is long; nothing is counted."""
    cache = open_cache(world)
    await cache.set("model:1", value)
    report, shown = await cache.inspection.key_and_value("model:1")
    await cache.clear()
    late, kept = await cache.inspection.key_and_value("model:1")

    assert (report.result, shown) == ("hit", text)
    assert (late.result, kept) == ("invalidated", text)
    assert (await cache.stats()).stats.hits == 0


async def test_what_is_not_a_value_has_no_text(world: World):
    """A key without an entry, one that has what is not ours, and a damaged body show none."""
    cache = open_cache(world)
    absent = await cache.inspection.key_and_value("model:1")
    await cache.set("model:1", "value")
    name = absent[0].name
    await world.command("cache", "APPEND", name, "more")
    damaged = await cache.inspection.key_and_value("model:1")
    await world.command("cache", "SET", name, "foreign")
    foreign = await cache.inspection.key_and_value("model:1")

    assert [text for _, text in (absent, damaged, foreign)] == [None, None, None]
    assert [report.result for report, _ in (absent, damaged, foreign)] == ["absent", "hit", "unusable"]
