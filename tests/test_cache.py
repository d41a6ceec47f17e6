"""S4-61: what the guide of the cache tests, under the path and the names that it lists.

All else that holds for `CacheService` is specified in `tests/spec/caching`.
"""

from __future__ import annotations

import pytest

import tollhouse
from tests.caches import Seam, open_cache
from tests.worlds import World
from tollhouse import CacheKeys, CacheService, CacheTTL

KEY = CacheKeys.model_metrics("abc-123")
METRICS = {"accuracy": 0.93, "f1": 0.91}


@pytest.fixture
async def seam(world: World) -> Seam:
    return Seam(world.stores.cache)


@pytest.fixture
async def cache_service(world: World, seam: Seam) -> CacheService:
    return CacheService(open_cache(world, seam))


class TestCacheService:
    async def test_cache_set_and_get(self, cache_service: CacheService) -> None:
        """S4-27, S4-28, S4-61: what is stored is found; before that there is nothing."""
        assert await cache_service.get(key=KEY) is None

        assert await cache_service.set(key=KEY, value=METRICS, ttl=CacheTTL.LONG)

        assert await cache_service.get(key=KEY) == METRICS

    async def test_cache_ttl(self, world: World, cache_service: CacheService) -> None:
        """S4-60: after its lifetime a value is gone."""
        await cache_service.set(key=KEY, value=METRICS, ttl=CacheTTL.VERY_SHORT)

        await world.advance(300_000)

        assert await cache_service.get(key=KEY) is None

    async def test_cache_delete(self, cache_service: CacheService) -> None:
        """S4-29: what is deleted is gone, and deleting it again finds nothing."""
        await cache_service.set(key=KEY, value=METRICS, ttl=CacheTTL.LONG)

        assert [await cache_service.delete(key=KEY) for _ in range(2)] == [True, False]

        assert await cache_service.get(key=KEY) is None

    async def test_cache_delete_pattern(self, cache_service: CacheService) -> None:
        """S4-30: the values that match are gone, and counted; others stay."""
        for key in (KEY, CacheKeys.model_metrics("def-456"), CacheKeys.feature_importance("abc-123")):
            await cache_service.set(key=key, value=METRICS, ttl=CacheTTL.LONG)

        assert await cache_service.delete_pattern("model:metrics:*") == 2

        assert await cache_service.get(key=KEY) is None
        assert await cache_service.get(key=CacheKeys.feature_importance("abc-123")) == METRICS

    async def test_cache_clear_all(self, cache_service: CacheService) -> None:
        """S4-31: everything is gone, and counted."""
        await cache_service.set(key=KEY, value=METRICS, ttl=CacheTTL.LONG)

        assert [await cache_service.clear_all() for _ in range(2)] == [1, 0]

        assert await cache_service.get(key=KEY) is None

    async def test_cache_stats(self, cache_service: CacheService) -> None:
        """S4-42, S4-43: hits and misses are counted, and the rate is text."""
        await cache_service.get(key=KEY)
        await cache_service.set(key=KEY, value=METRICS, ttl=CacheTTL.LONG)
        await cache_service.get(key=KEY)

        stats = await cache_service.get_stats()

        assert (stats["stats"]["hits"], stats["stats"]["misses"], stats["stats"]["hit_rate"]) == (1, 1, "50.0%")
        assert (stats["available"], stats["message"]) == (True, "Cache is healthy")

    async def test_cache_unavailable(self, seam: Seam, cache_service: CacheService) -> None:
        """S4-01, S4-52: without Redis nothing is found or stored, and nothing raises."""
        await cache_service.set(key=KEY, value=METRICS, ttl=CacheTTL.LONG)
        seam.failing.add("everything")

        assert not cache_service.is_available()
        assert await cache_service.get(key=KEY) is None
        assert not await cache_service.set(key=KEY, value=METRICS, ttl=CacheTTL.LONG)


def test_the_service_and_the_manager_are_one() -> None:
    """S3-08, S4-01: `CacheService` is `CacheManager`."""
    assert tollhouse.CacheService is tollhouse.CacheManager
