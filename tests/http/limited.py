"""A service with policies of every kind, and shorthands for its verbs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.http.client import SERVICE, Service, service_at
from tests.worlds import embedded_world
from tollhouse.settings.model import LimitSettings, PolicySettings

POLICIES = {
    "api": PolicySettings(limit="5/minute; 8/hour"),
    "tenant": PolicySettings(limit="10/hour"),
    "bucket": PolicySettings(limit="10/second burst 20", algorithm="gcra"),
    "jobs": PolicySettings(limit="2/minute", algorithm="concurrency"),
    "tokens": PolicySettings(limit="100/hour"),
    "banned": PolicySettings(limit="5/minute", deny=("mallory",), allow=("root",)),
    "watched": PolicySettings(limit="1/minute", shadow=True),
    "strict": PolicySettings(limit="5/minute", on_outage="closed"),
    "lenient": PolicySettings(limit="5/minute", on_outage="open"),
}


class Limited:
    """The verbs over HTTP, with a service key."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def ask(self, verb: str, body: Any, **headers: str) -> httpx2.Response:
        return await self.service.ask("POST", f"/v1/limits/{verb}", json=body, headers={**SERVICE, **headers})

    async def on(self, verb: str, policy: str = "api", key: str = "ada", **members: Any) -> httpx2.Response:
        return await self.ask(verb, {"policy": policy, "key": key, **members})

    async def left(self, policy: str = "api", key: str = "ada") -> list[int]:
        """Return what remains of each limit."""
        response = await self.on("peek", policy, key)
        return [limit["remaining"] for limit in response.json()["limits"]]


@asynccontextmanager
async def limited_at(url: str, **changes: Any) -> AsyncIterator[Limited]:
    async with service_at(url, limits=LimitSettings(policies=POLICIES, **changes)) as service:
        yield Limited(service)


@asynccontextmanager
async def limited_on(valkey_socket: Path, **changes: Any) -> AsyncIterator[Limited]:
    """Serve on the real server of the run, with empty databases."""
    async with embedded_world(valkey_socket), limited_at(f"unix://{valkey_socket}", **changes) as limited:
        yield limited
