"""Services on the real server of the run, with empty databases at the beginning of each test."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.http.client import Service, service_at
from tests.http.limited import Limited, limited_on
from tests.worlds import embedded_world


@pytest.fixture(scope="module")
async def served(valkey_socket: Path) -> AsyncGenerator[Service]:
    """One service for the tests of a module: making its application takes longer than most of them."""
    async with embedded_world(valkey_socket), service_at(f"unix://{valkey_socket}") as service:
        yield service


@pytest.fixture
async def own_service(valkey_socket: Path) -> AsyncGenerator[Service]:
    """A service of one test alone, for what a process counts."""
    async with embedded_world(valkey_socket), service_at(f"unix://{valkey_socket}") as service:
        yield service


@pytest.fixture
async def service(served: Service) -> Service:
    await served.renew()
    return served


@pytest.fixture(scope="module")
async def limited(valkey_socket: Path) -> AsyncGenerator[Limited]:
    """One service with policies of every kind, for the tests of a module."""
    async with limited_on(valkey_socket) as limited:
        yield limited


@pytest.fixture
async def limits(limited: Limited) -> Limited:
    await limited.service.renew()
    return limited
