"""What tests of ASGI applications share: a client, and a count of the server's connections."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from tests.worlds import StoreWorld


async def get(app: Any, path: str = "/", peer: str = "192.0.2.1", **headers: str) -> httpx2.Response:
    """Send one request to an application, as `peer`."""
    transport = httpx2.ASGITransport(app=app, client=(peer, 4711))
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as client:
        return await client.get(path, headers=headers)


async def connections(world: StoreWorld) -> int:
    """Count the connections that the world's server has."""
    return len((await world.command("limits", "CLIENT", "LIST")).splitlines())


async def until_connections(world: StoreWorld, count: int) -> None:
    """Wait until the server has noticed that only `count` connections are left."""
    async with asyncio.timeout(5):
        while await connections(world) > count:
            pass
