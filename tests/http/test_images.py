"""The example of images: what its document asks for, check by check, on a real server."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.http.images import CAT, Images, images_at
from tests.worlds import StoreWorld, embedded_world

PATIENCE_S = 10


@pytest.fixture
async def images(embedded: StoreWorld, tmp_path: Path) -> AsyncIterator[Images]:
    async with images_at(embedded.url, tmp_path, CACHE_KEY_PREFIX="chitram") as images:
        yield images


class HeldThreads(ThreadPoolExecutor):
    """Threads of an event loop, one of which can be told to keep what it has read until the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self._holds_next: Future[None] | None = None

    def hold_next(self) -> asyncio.Future[None]:
        """Hold the next call; return what is done when it has its result."""
        self._holds_next = Future()
        return asyncio.wrap_future(self._holds_next)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        reached, self._holds_next = self._holds_next, None
        if reached is None:
            return super().submit(function, *args, **kwargs)
        return super().submit(self._held, reached, function, *args, **kwargs)

    def _held(self, reached: Future[None], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        reached.set_result(None)
        assert self.gate.wait(PATIENCE_S)
        return result


async def keys(world: StoreWorld) -> list[bytes]:
    """Return the keys of cached images, which begin with a word that can be read."""
    return await world.command("cache", "KEYS", "chitram:image:*")


async def test_the_start_is_logged(embedded: StoreWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """S1-43, check 1: the application says at its start whether the cache is connected."""
    with caplog.at_level(logging.INFO, "images"):
        async with images_at(embedded.url, tmp_path):
            pass

    assert [record.getMessage() for record in caplog.records if record.name == "images"] == ["Redis cache connected"]


async def test_an_upload_leaves_the_key_to_the_first_read(images: Images, embedded: StoreWorld) -> None:
    """S1-44, check 2: the upload invalidates, and the first read creates the key; so check 3 can be a MISS."""
    response = await images.ask("POST", "/api/v1/images", CAT)
    after_upload = await keys(embedded)
    found = await images.ask("GET", f"/api/v1/images/{response.json()['id']}")

    assert (response.status_code, found.json()) == (201, response.json())
    assert {**CAT, "id": str(UUID(response.json()["id"]))} == response.json()
    assert (after_upload, len(await keys(embedded))) == ([], 1)


async def test_the_first_read_asks_the_database(images: Images) -> None:
    """S1-45, check 3: it is a MISS, and the answer is what the database has now."""
    path = await images.upload()
    images.execute("UPDATE images SET size = 7")

    assert await images.read(path) == ("MISS", 7)


async def test_the_second_read_asks_the_cache_alone(images: Images) -> None:
    """S1-46, check 4: it is a HIT, and works without a database."""
    path = await images.upload()
    first = await images.read(path)
    with images.without_database():
        second = await images.read(path)

    assert (first, second) == (("MISS", CAT["size"]), ("HIT", CAT["size"]))


async def test_a_delete_removes_the_key(images: Images, embedded: StoreWorld) -> None:
    """S1-23, S1-47, check 5: the key is gone, and so is the image."""
    path = await images.upload()
    await images.read(path)
    before = len(await keys(embedded))

    deleted = await images.ask("DELETE", path)

    assert (before, await keys(embedded)) == (1, [])
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert [(await images.ask(method, path)).status_code for method in ("GET", "DELETE")] == [404, 404]


async def test_health_says_that_the_cache_is_connected(images: Images) -> None:
    """S1-27, S1-49, check 7."""
    assert (await images.ask("GET", "/health")).json() == {"status": "ok", "cache": "connected"}


async def test_a_change_is_read_at_once(images: Images) -> None:
    """S1-24: the change invalidates and writes no cache; what it does not name stays."""
    path = await images.upload()
    await images.read(path)

    changed = await images.ask("PATCH", path, {"size": 7})
    found = await images.ask("GET", path)

    assert (changed.status_code, found.headers["x-cache"]) == (200, "MISS")
    assert changed.json() == found.json() == {**CAT, "size": 7, "id": path.rpartition("/")[2]}


def test_a_read_that_began_before_a_change_is_not_cached(valkey_socket: Path, tmp_path: Path) -> None:
    """P6, S1-31: however late the old row arrives, every read after the change has the new one."""
    threads = HeldThreads()

    async def race() -> list[tuple[str, int]]:
        asyncio.get_running_loop().set_default_executor(threads)
        async with embedded_world(valkey_socket) as world, images_at(world.url, tmp_path) as images:
            path = await images.upload()
            reached = threads.hold_next()
            slow = asyncio.create_task(images.read(path))
            await asyncio.wait_for(reached, PATIENCE_S)
            changed = await images.ask("PATCH", path, {"size": 7})
            assert (changed.status_code, slow.done()) == (200, False)
            threads.gate.set()
            return [await slow, await images.read(path), await images.read(path)]

    assert asyncio.run(race()) == [("MISS", CAT["size"]), ("MISS", 7), ("HIT", 7)]


async def test_a_disabled_cache_is_not_used(embedded: StoreWorld, tmp_path: Path) -> None:
    """S1-26, S1-39: with CACHE_ENABLED=false each read asks the database, and X-Cache is DISABLED."""
    async with images_at(embedded.url, tmp_path, CACHE_ENABLED="false", CACHE_KEY_PREFIX="chitram") as images:
        path = await images.upload()
        first = await images.read(path)
        images.execute("UPDATE images SET size = 7")
        second = await images.read(path)

    assert (first, second) == (("DISABLED", CAT["size"]), ("DISABLED", 7))
    assert await keys(embedded) == []


async def test_a_row_lives_as_long_as_the_variable_says(embedded: StoreWorld, tmp_path: Path) -> None:
    """S1-21, S1-40: CACHE_TTL_SECONDS is the longest lifetime."""
    async with images_at(embedded.url, tmp_path, CACHE_TTL_SECONDS="60", CACHE_KEY_PREFIX="chitram") as images:
        await images.read(await images.upload())
        (key,) = await keys(embedded)

        assert 53_000 < await embedded.command("cache", "PTTL", key) <= 60_000


#    method, path below the images, body, status
BAD: list[tuple[str, str, Any, int]] = [
    ("GET", f"/{uuid4()}", None, 404),
    ("PATCH", f"/{uuid4()}", {"size": 1}, 404),
    ("DELETE", f"/{uuid4()}", None, 404),
    ("GET", "/7", None, 422),
    ("POST", "", {"filename": "cat.png"}, 422),
    ("POST", "", {**CAT, "size": -1}, 422),
    ("POST", "", {**CAT, "size": 2**63}, 422),
    ("POST", "", {**CAT, "filename": ""}, 422),
]


async def test_bad_requests_are_no_failures(images: Images) -> None:
    """An unknown image is 404, and a value that the table cannot have 422."""
    statuses = [(await images.ask(method, f"/api/v1/images{path}", body)).status_code for method, path, body, _ in BAD]

    assert statuses == [row[-1] for row in BAD]
