"""P6 on a real server that loses what was invalidated: it is killed, and starts again from an older snapshot."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import tollhouse
from tests.caches import Loader
from tests.failures.fake_sentinel import PATIENCE_S
from tollhouse.errors import StoreUnavailable
from tollhouse.stores.embedded.server import server_binary
from tollhouse.wiring import Tollhouse, embedded_binary

ROUNDS = 12


class RestartedServer:
    """A server that keeps only what it is told to save."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "s"
        program = str(server_binary(embedded_binary()))
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(folder)]
        self._command = [program, *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.socket.unlink(missing_ok=True)


@pytest.fixture
def server() -> Iterator[RestartedServer]:
    """A server with a folder of its own, in a short path."""
    folder = Path(tempfile.mkdtemp(prefix="th-"))
    server = RestartedServer(folder)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder)


async def answers(client: Tollhouse) -> None:
    """Wait until the server answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await client.stores.cache.command("PING")
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


async def test_a_restart_from_an_old_snapshot_brings_no_invalidated_value_back(server: RestartedServer):
    """P6: the snapshot has the old value and a clock that knows of no invalidation, and yet the new value is loaded."""
    async with tollhouse.open(f"unix://{server.socket}") as client:
        await answers(client)
        for number in range(ROUNDS):
            key, tags = f"k{number}", [f"t{number}"]
            await client.cache.get_or_load(key, Loader("old"), tags=tags)
            await client.stores.cache.command("SAVE")
            await (client.cache.invalidate_tags(*tags) if number % 2 else client.cache.invalidate(key))

            server.kill()
            server.start()
            await answers(client)

            assert await client.stores.cache.command("DBSIZE") > 0
            found = [await client.cache.fetch(key, Loader("new"), tags=tags) for _ in range(2)]
            assert [(each.value, each.status) for each in found] == [("new", "MISS"), ("new", "HIT")]


async def test_a_load_that_began_before_a_restart_is_not_stored(server: RestartedServer):
    """P6: its lease is in the snapshot, but the invalidation that ended it is not."""
    async with tollhouse.open(f"unix://{server.socket}") as client:
        await answers(client)

        async def load() -> str:
            await client.stores.cache.command("SAVE")
            await client.cache.invalidate("k")
            server.kill()
            server.start()
            await answers(client)
            return "old"

        assert await client.cache.get_or_load("k", load) == "old"

        assert await client.cache.get_or_load("k", Loader("new")) == "new"
