"""The recipes of the five documents: what a back end does with a cache, seen by the queries that its database gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.caches import open_cache
from tests.worlds import StoreWorld, World
from tollhouse.cache.cache import Cache
from tollhouse.cache.ttl import CacheTTL
from tollhouse.caching.decorators import rcached
from tollhouse.caching.facade import CacheManager
from tollhouse.caching.invalidating import invalidate_cache
from tollhouse.caching.keys import CacheKeys

IMAGE = "7f0c1e52-50b6-4b3e-9e0a-0c6f4a1b2c3d"
EVENTS = ("update", "delete", "upload", "validate")


class Database:
    """Rows by id, and the number of queries that they cost."""

    def __init__(self, **rows: Any) -> None:
        self.rows = rows
        self.queries = 0

    def one(self, row: str) -> Any:
        self.queries += 1
        return self.rows.get(row)


@pytest.fixture
async def cache(world: World) -> Cache:
    return open_cache(world)


async def test_what_a_model_is_stays_cached_until_an_event_changes_it(cache: Cache) -> None:
    """S0-02, S0-28, S0-31 to S0-33: an update, a deletion, an upload of its file and its validation each end it."""
    database = Database(abc={"name": "trees", "state": "new"})

    @rcached(ttl=CacheTTL.LONG, key=CacheKeys.model, tags=["model:{model_id}"], cache=cache)
    async def model(model_id: str) -> dict[str, str] | None:
        return database.one(model_id)

    def changes(event: str) -> Callable[[str], Awaitable[None]]:
        @invalidate_cache(tags=["model:{model_id}"], cache=cache)
        async def change(model_id: str) -> None:
            database.rows[model_id] = {"name": "trees", "state": event}

        return change

    for number, event in enumerate(EVENTS, start=1):
        assert await model("abc") == await model("abc") == database.rows["abc"]
        assert database.queries == number
        await changes(event)("abc")

    assert (await model("abc") or {})["state"] == EVENTS[-1]


async def test_hot_rows_spare_the_database(world: World, cache: Cache) -> None:
    """S0-04, S1-01, S1-02, S1-29, S2-03: a hundred reads of ten rows are ten queries; the rate of hits says so."""
    database = Database(**{f"row{number}": number for number in range(10)})

    for read in range(100):
        row = f"row{read % 10}"

        async def load(row: str = row) -> Any:
            await world.advance(20)
            return database.one(row)

        assert await cache.get_or_load(f"image:{row}", load) == read % 10

    assert database.queries == 10
    assert (await cache.stats()).stats.hit_rate == 90.0
    saved = world.metrics.registry.get_sample_value("tollhouse_cache_saved_seconds_total", {"cache": "image"})
    assert saved == pytest.approx(90 * 0.02)


async def test_an_image_is_looked_up_by_its_id(world: World) -> None:
    """S1-16, S1-19, S1-20, S1-24, S1-31: look, load, set; an update writes nothing into the cache, it invalidates."""
    database = Database(**{IMAGE: {"filename": "cat.png"}})
    manager = CacheManager(open_cache(world, prefix="chitram"))

    async def get_by_id(image_id: str) -> Any:
        found = await manager.get(f"image:{image_id}")
        if found is None:
            found = database.one(image_id)
            await manager.set(f"image:{image_id}", found, ttl=CacheTTL.LONG)
        return found

    assert [await get_by_id(IMAGE) for _ in range(3)] == [{"filename": "cat.png"}] * 3
    assert database.queries == 1
    names = [name.decode() for name in await world.command("cache", "KEYS", "*")]
    assert any(name.startswith("chitram:image:") and IMAGE not in name for name in names)

    database.rows[IMAGE] = {"filename": "dog.png"}
    assert await get_by_id(IMAGE) == {"filename": "cat.png"}  # a change that nothing announces: until it expires
    assert await manager.invalidate(f"image:{IMAGE}")
    assert [await get_by_id(IMAGE) for _ in range(2)] == [{"filename": "dog.png"}] * 2
    assert database.queries == 2

    database.rows[IMAGE] = {"filename": "cow.png"}
    await world.advance(CacheTTL.LONG * 1000)
    assert await get_by_id(IMAGE) == {"filename": "cow.png"}


async def test_rows_of_a_query_end_with_a_change_of_their_table(cache: Cache) -> None:
    """S0-09, S2-01, S2-07, S2-20 to S2-22: 5 to 15 minutes, by table, query and parameters; other tables stay."""
    database = Database(orders=["tea"], users=["ada"])

    async def rows(table: str, query: str, *params: object) -> Any:
        async def load() -> Any:
            return database.one(table)

        key = CacheKeys.db(table, query, params)
        return await cache.get_or_load(key, load, ttl_s=CacheTTL.SHORT, tags=[f"table:{table}"])

    for _ in range(2):
        assert await rows("orders", "select * from orders where id = ?", 7) == ["tea"]
        assert await rows("orders", "select * from orders where id = ?", 8) == ["tea"]
        assert await rows("users", "select * from users") == ["ada"]
    assert database.queries == 3

    await cache.invalidate_tags("table:orders")
    assert await rows("users", "select * from users") == ["ada"]
    assert database.queries == 3
    assert await rows("orders", "select * from orders where id = ?", 7) == ["tea"]
    assert database.queries == 4


@pytest.mark.parametrize(("endpoint", "ttl_s"), [("/busy", 60), ("/calm", 3600)])
async def test_a_response_has_the_lifetime_of_its_endpoint(world: StoreWorld, endpoint: str, ttl_s: int) -> None:
    """S2-23, S2-24: 1 to 60 minutes, by endpoint; its parameters are one digest."""
    database = Database(**{endpoint: ["one", "two"]})
    cache = open_cache(world)

    async def answer(params: dict[str, Any]) -> Any:
        async def load() -> Any:
            return database.one(endpoint)

        return await cache.get_or_load(CacheKeys.api(endpoint, params), load, ttl_s=ttl_s)

    assert await answer({"page": 1, "size": 2}) == await answer({"size": 2, "page": 1}) == ["one", "two"]
    await world.advance((ttl_s - 10) * 1000)
    await answer({"page": 1, "size": 2})
    assert database.queries == 1
    await world.advance(10_000)
    await answer({"page": 1, "size": 2})
    assert database.queries == 2
