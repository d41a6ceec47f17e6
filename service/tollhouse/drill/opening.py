"""Opens a client by its name, and whatever it needs to run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from tollhouse import wiring
from tollhouse.drill.clients.client import Client, ClientName, Via, settings
from tollhouse.drill.clients.http import HttpClient
from tollhouse.drill.clients.library import LibraryClient
from tollhouse.drill.clients.redis_py import PlainClient
from tollhouse.drill.clients.service_process import served


@asynccontextmanager
async def opened(name: ClientName, via: Via, url: str, secret: bytes) -> AsyncGenerator[Client]:
    """Open a client on the service that the Sentinels of `url` watch; what it started ends with the block."""
    if name == "redis-py":
        async with aclosing(PlainClient(url)) as plain:
            yield plain
        return
    chosen = settings(url, secret)
    async with wiring.open(chosen) as tollhouse:
        library = LibraryClient(tollhouse)
        if via == "library":
            yield library
            return
        async with served(chosen) as service, aclosing(HttpClient(service, library)) as client:
            await client.warm_up()
            yield client
