"""What a client sends to a server, recorded on a unix socket between them, to be sent again as it was."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import hiredis
from msgspec import Struct

_CHUNK_BYTES = 256 * 1024
_SCRIPTS = (b"EVALSHA", b"EVAL")


class Call(Struct, frozen=True, kw_only=True):
    """A script call as it went over the wire, on a connection to that database."""

    database: int
    keys: int
    data: bytes


class Recorder:
    """Passes on what clients of `url` and the server say to each other, and keeps the script calls while it records."""

    def __init__(self, socket_path: Path, server_path: Path) -> None:
        self.url = f"unix://{socket_path}"
        self._server_path = server_path
        self._calls: list[Call] | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def recorded(self, work: Callable[[], Awaitable[object]]) -> list[Call]:
        """Return the script calls that are sent until the work is done."""
        self._calls = []
        try:
            await work()
            return self._calls
        finally:
            self._calls = None

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client, until one of the two ends the connection."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        answers, server = await asyncio.open_unix_connection(str(self._server_path))
        try:
            await asyncio.gather(self._pass_on(reader, server), _copy(answers, writer))
        finally:
            for end in (writer, server):
                end.close()

    async def ended(self) -> None:
        """Return when all connections are closed, which their clients do."""
        await asyncio.gather(*self._serving)

    async def _pass_on(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        commands, database = hiredis.Reader(), 0  # a command is a list of texts, as a reply may be
        while data := await reader.read(_CHUNK_BYTES):
            commands.feed(data)
            server.write(data)
            while (command := commands.gets()) is not False:
                if command[0].upper() == b"SELECT":
                    database = int(command[1])
                elif self._calls is not None and command[0].upper() in _SCRIPTS:
                    frame = hiredis.pack_command(tuple(command))
                    self._calls.append(Call(database=database, keys=int(command[2]), data=frame))
        server.close()


@contextlib.asynccontextmanager
async def recording(server_path: Path) -> AsyncIterator[Recorder]:
    """Yield a recorder in front of the server behind this socket."""
    with tempfile.TemporaryDirectory(prefix="th-") as folder:
        recorder = Recorder(Path(folder) / "s.sock", server_path)
        async with await asyncio.start_unix_server(recorder.connect, recorder.url.removeprefix("unix://")):
            yield recorder
            await recorder.ended()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
    writer.close()
