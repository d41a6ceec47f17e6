"""Fixtures of every test: one real Valkey for the run, and the worlds."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.worlds import StoreWorld, embedded_world, fake_world
from tollhouse.stores.embedded.server import EmbeddedServer

_QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("ci", max_examples=200, deadline=None, suppress_health_check=_QUIET, print_blob=True)
settings.register_profile("long", max_examples=2_000, deadline=None, suppress_health_check=_QUIET, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def valkey_socket() -> Iterator[Path]:
    """The socket of the one embedded server of this run."""
    server = EmbeddedServer.start()
    yield server.socket_path
    server.stop()


@pytest.fixture
async def embedded(valkey_socket: Path) -> AsyncIterator[StoreWorld]:
    """The world on the real server."""
    async with embedded_world(valkey_socket) as world:
        yield world


@pytest.fixture(params=["fake", "embedded"])
async def world(request: pytest.FixtureRequest, valkey_socket: Path) -> AsyncIterator[StoreWorld]:
    """Every world in turn."""
    opened = fake_world() if request.param == "fake" else embedded_world(valkey_socket)
    async with opened as world:
        yield world
