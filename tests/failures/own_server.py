"""Servers of one test alone: with options that the shared server of the run does not have, or to be killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.failures.fake_sentinel import PATIENCE_S
from tollhouse.errors import StoreUnavailable
from tollhouse.stores.embedded.server import server_binary
from tollhouse.wiring import Tollhouse, embedded_binary


@asynccontextmanager
async def own_server(*options: str) -> AsyncIterator[str]:
    """Run a server with these options of its command line; yield its URL."""
    folder = Path(tempfile.mkdtemp(prefix="th-"))
    socket = folder / "s"
    command = [str(server_binary(embedded_binary())), "--port", "0", "--unixsocket", str(socket), "--save", ""]
    process = subprocess.Popen([*command, "--dir", str(folder), *options], stdout=subprocess.DEVNULL)  # noqa: ASYNC220 - it returns at once
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not socket.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.01)
        yield f"unix://{socket}"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


class RestartedServer:
    """A server that is killed, frozen and started again; it keeps only what it is told to save."""

    def __init__(self, *options: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="th-"))
        self._socket = self._folder / "s"
        self.data = self._folder / "data"
        self.data.mkdir()
        places = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--dir", str(self.data)]
        self._command = [str(server_binary(embedded_binary())), *places, *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the server, whether it runs or not."""
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Start it with the data of its folder; it does not answer yet when this returns."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """Kill it; what it did not save is lost."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._socket.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Keep it from answering until `thaw`."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume a frozen server."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def remove(self) -> None:
        """Kill it, and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder)


async def answers(client: Tollhouse) -> None:
    """Wait until the server of the cache answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await client.stores.cache.command("PING")
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return
