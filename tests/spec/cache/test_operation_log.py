"""The log of operations, for developers who ask why a value is or is not there."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.caches import Loader, open_cache
from tests.worlds import World

SECRET = "ada@example.org"


async def use(world: World) -> None:
    """Use every verb that looks up, stores or invalidates."""
    cache, key = open_cache(world), f"user:{SECRET}"
    await cache.get(key)
    await cache.set(key, "value", tags=[SECRET])
    await cache.get(key)
    await cache.get_or_load(key, Loader("value"))
    await cache.invalidate(key)
    await cache.get_or_load(key, Loader("value"), tags=[SECRET])
    await cache.invalidate_tags(*(f"{SECRET} {number}" for number in range(20)))
    await cache.look_up(key)
    await cache.clear()


def shown(records: list[logging.LogRecord]) -> list[tuple[Any, ...]]:
    """Return the events with the fields that say what happened."""
    fields = ("family", "result", "stored", "removed", "count")
    found = [vars(record) for record in records if record.name == "tollhouse.cache"]
    return [(one["event"], *(one[name] for name in fields if name in one)) for one in found]


async def test_each_operation_is_logged_at_debug(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """S1-28, S1-42: reads with their results, writes, and invalidations with what they found."""
    with caplog.at_level(logging.DEBUG, "tollhouse.cache"):
        await use(world)

    assert shown(caplog.records) == [
        ("cache read", "user", "miss"),
        ("cache write", True),
        ("cache read", "user", "hit"),
        ("cache read", "user", "hit"),
        ("cache keys invalidated", 1, 1),
        ("cache write", True),
        ("cache read", "user", "miss"),
        ("cache tags invalidated", 20),
        ("cache read", "user", "hit"),
        ("cache tags invalidated", 1),
    ]


async def test_the_log_names_what_the_server_has(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """P10: a name can be looked up on the server; neither keys nor tags are shown, and of many names only some."""
    with caplog.at_level(logging.DEBUG, "tollhouse.cache"):
        await open_cache(world).get_or_load(f"user:{SECRET}", Loader("value"))
        (name,) = {vars(record)["key"] for record in caplog.records}
        await use(world)

    assert name.startswith("tollhouse:user:{0}:")
    assert SECRET not in caplog.text
    assert max(len(vars(record).get("tags", ())) for record in caplog.records) == 8


async def test_nothing_is_logged_above_debug(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Operations are many: without the setting none is logged."""
    with caplog.at_level(logging.INFO, "tollhouse.cache"):
        await use(world)

    assert shown(caplog.records) == []
