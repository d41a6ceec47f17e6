"""A server of one test alone, started with options that the shared server of the run does not have."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.failures.fake_sentinel import PATIENCE_S
from tollhouse.stores.embedded.server import server_binary
from tollhouse.wiring import embedded_binary


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
