"""The pytest plugin of Tollhouse: fixtures for tests of an app that uses it. Nothing happens without one of them.

It stands beside the package because pytest imports it for every test run of an environment, and importing the package
takes longer than that is worth.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tollhouse.testing import World

pytest.register_assert_rewrite("tollhouse.testing.credential_stores")


@pytest.fixture
def tollhouse_url() -> str:
    """Return the URL of the test's world, a new one for each test.

    Override it in `conftest.py` with the URL of an app that is made once, such as `fake://tests`.
    """
    return f"fake://{secrets.token_hex(8)}"


@pytest.fixture
def tollhouse_world(tollhouse_url: str) -> Iterator[World]:
    """Provide a world behind `tollhouse_url` that is empty, with a clock that stands still. The cache is off."""
    from tollhouse.testing import World, cache_off

    with World(tollhouse_url) as world, cache_off():
        yield world


@pytest.fixture
def tollhouse_cache(tollhouse_world: World) -> Iterator[World]:
    """Provide the world with the cache on."""
    from tollhouse.testing import cache_on

    with cache_on():
        yield tollhouse_world


@pytest.fixture
def tollhouse_cache_off() -> Iterator[None]:
    """Turn the cache off during the test, on whatever server."""
    from tollhouse.testing import cache_off

    with cache_off():
        yield


@pytest.fixture
def tollhouse_limits_off() -> Iterator[None]:
    """Turn limits off during the test, on whatever server."""
    from tollhouse.testing import limits_off

    with limits_off():
        yield
