"""What an application shows of its stores: whether they are connected, and what the cache does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.worlds import StoreWorld
from tollhouse import wiring
from tollhouse.errors import InvalidInput
from tollhouse.settings import Settings
from tollhouse.settings.model import CacheSettings
from tollhouse.stores.urls import STORES
from tollhouse.testing import World


@pytest.fixture
def cache_log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("tollhouse.cache")
    level = logger.level
    yield logger
    logger.setLevel(level)


async def test_a_store_that_answers_is_connected(world: StoreWorld) -> None:
    """S1-27, S1-49: each store is asked by its name, and the word is that of the service's /healthz."""
    async with wiring.open(world.url) as th:
        found = [await th.connection(store) for store in STORES]

    assert found == ["connected"] * 4


async def test_a_store_that_does_not_answer_is_disconnected() -> None:
    """S1-49: the store is asked anew each time, and its error is no error of the caller."""
    with World() as world:
        async with wiring.open(world.url) as th:
            before = await th.connection("cache")
            with world.down("cache"):
                during, other = await th.connection("cache"), await th.connection("limits")
            after = await th.connection("cache")

    assert (before, during, other, after) == ("connected", "disconnected", "connected", "connected")


@pytest.mark.parametrize("store", ["caches", "", 7])
async def test_an_unknown_store_is_refused(store: Any) -> None:
    """A store that there is not is InvalidInput."""
    async with wiring.open("fake://") as th:
        with pytest.raises(InvalidInput) as refused:
            await th.connection(store)

    assert refused.value.field == "store"


@pytest.mark.parametrize("debug", [True, False])
async def test_the_setting_lets_the_cache_log_in_any_application(cache_log: logging.Logger, debug: bool) -> None:
    """S1-28, S1-42: with CACHE_DEBUG=true the cache logs each operation, also if the application configures logging."""
    cache_log.setLevel(logging.NOTSET)

    await wiring.open(Settings(url="fake://", cache=CacheSettings(debug=debug))).aclose()

    assert cache_log.isEnabledFor(logging.DEBUG) is debug
