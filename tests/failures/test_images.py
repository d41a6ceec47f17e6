"""The example of images when Redis is gone, and as a process that takes its server from variables."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.failures.own_server import own_server
from tests.http.images import CAT, images_at
from tests.http.test_examples import started
from tests.worlds import StoreWorld

PASSWORD = "sesame"


@asynccontextmanager
async def server_of_its_own(*options: str) -> AsyncIterator[tuple[StoreWorld, int]]:
    """Run a server that can be stopped; yield its world and its process."""
    async with own_server(*options) as url:
        world = StoreWorld("own", url)
        try:
            found = re.search(r"process_id:(\d+)", (await world.command("cache", "INFO", "server")).decode())
            assert found is not None
            yield world, int(found[1])
        finally:
            await world.stores.aclose()


@contextmanager
def paused(process: int) -> Iterator[None]:
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


async def test_without_redis_the_database_answers(tmp_path: Path) -> None:
    """S1-17, S1-48, S1-49, checks 6 and 7: reads and writes go on without an error, and health says disconnected."""
    async with server_of_its_own() as (world, process), images_at(world.url, tmp_path) as images:
        path = await images.upload()
        before = [await images.read(path) for _ in range(2)]
        os.kill(process, signal.SIGKILL)

        during = await images.read(path)
        changed = (await images.ask("PATCH", path, {"size": 7})).status_code
        after = await images.read(path)
        other = await images.upload()
        deleted = (await images.ask("DELETE", other)).status_code
        health = await images.ask("GET", "/health")

    assert before == [("MISS", CAT["size"]), ("HIT", CAT["size"])]
    assert (during, changed, after, deleted) == (("BYPASS", CAT["size"]), 200, ("BYPASS", 7), 204)
    assert (health.status_code, health.json()["cache"]) == (200, "disconnected")


async def test_a_change_without_redis_is_not_forgotten(tmp_path: Path) -> None:
    """P6: the row that Redis still has when it is back is not served again."""
    async with server_of_its_own() as (world, process), images_at(world.url, tmp_path) as images:
        path = await images.upload()
        await images.read(path)
        with paused(process):
            changed = (await images.ask("PATCH", path, {"size": 7})).status_code
        found = [await images.read(path) for _ in range(20)]

    assert changed == 200
    assert {size for _, size in found} == {7}


async def test_the_application_starts_without_redis(tmp_path: Path) -> None:
    """S1-17: a server that is not there is no reason not to start."""
    async with images_at("unix:///nowhere/redis.sock", tmp_path) as images:
        assert await images.read(await images.upload()) == ("BYPASS", CAT["size"])


async def test_the_variables_name_the_server(tmp_path: Path) -> None:
    """S1-28, S1-35 to S1-38, S1-41 to S1-43: a process needs nothing but REDIS_* and CACHE_*, and logs what it does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    environ = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": port, "REDIS_PASSWORD": PASSWORD, "REDIS_DB": "3"}
    environ |= {"CACHE_KEY_PREFIX": "chitram", "CACHE_DEBUG": "true", "IMAGES_DB": str(tmp_path / "images.db")}
    options = ("--port", port, "--requirepass", PASSWORD)
    async with own_server(*options) as url, started("examples.images:app", **environ) as (client, log):
        world = StoreWorld("own", url.replace("unix://", f"unix://:{PASSWORD}@") + "?db=3")
        uploaded = await client.post("/api/v1/images", json=CAT)
        found = [await client.get(f"/api/v1/images/{uploaded.json()['id']}") for _ in range(2)]
        keys = await world.command("cache", "KEYS", "chitram:image:*")
        await world.stores.aclose()

    assert [response.headers["x-cache"] for response in found] == ["MISS", "HIT"]
    assert len(keys) == 1
    assert [line for line in log if "Redis cache connected" in line]
    assert len([line for line in log if "cache read" in line]) == 2
