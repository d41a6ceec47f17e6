"""The service on the real server of the run, with empty databases."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.http.client import Service, service_at
from tests.worlds import embedded_world


@pytest.fixture
async def service(valkey_socket: Path) -> AsyncGenerator[Service]:
    async with embedded_world(valkey_socket), service_at(f"unix://{valkey_socket}") as service:
        yield service
