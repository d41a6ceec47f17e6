"""A small HTTP/1.1 client with keep-alive connections, one request at a time on each, as of a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

ANSWER_S: Final = 2.0
"""Default timeout of a request: longer than the service's own deadline, so that its reply at the deadline is seen."""
IDLE_MAX: Final = 64

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class HttpReply(Struct, frozen=True, kw_only=True):
    """A status, the headers by their names in lower case, and the JSON value of the body; {} if it is no JSON."""

    status: int
    headers: Mapping[str, str]
    json: Any


class InvalidReply(ConnectionError):
    """The connection ended within a reply, or the reply was no HTTP: the request may have been served."""


class HttpConnections:
    """A pool of connections to one service; a request that is cancelled closes its own connection alone."""

    def __init__(self, address: str, *, timeout_s: float = ANSWER_S) -> None:
        self._place = urlsplit(address)
        self._timeout_s = timeout_s
        self._idle: list[_Connection] = []

    async def request(self, method: str, path: str, body: object = None, **headers: str) -> HttpReply:
        """Send one request; underscores in header names become hyphens.

        Raises OSError if no connection was made, InvalidReply or TimeoutError if no reply came.
        """
        async with asyncio.timeout(self._timeout_s):
            connection = await self._take()
            try:
                reply = await _exchange(connection, _request(self._place.netloc, method, path, body, headers))
            except BaseException:
                connection[1].transport.abort()
                raise
        self._put_back(connection, reply)
        return reply

    async def aclose(self) -> None:
        """Close the idle connections."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _take(self) -> _Connection:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._place.hostname, self._place.port)

    def _put_back(self, connection: _Connection, reply: HttpReply) -> None:
        if reply.headers.get("connection", "").lower() == "close" or len(self._idle) >= IDLE_MAX:
            connection[1].close()
        else:
            self._idle.append(connection)


def _request(host: str, method: str, path: str, body: object, headers: Mapping[str, str]) -> bytes:
    content = b"" if body is None else msgspec.json.encode(body)
    fields = {"Host": host, "Content-Length": str(len(content))}
    if content:
        fields["Content-Type"] = "application/json"
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content


async def _exchange(connection: _Connection, request: bytes) -> HttpReply:
    reader, writer = connection
    writer.write(request)
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        code = int(status.split()[1])
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
        raise InvalidReply(f"no reply: {error}") from error
    found: Any = msgspec.json.decode(content) if "json" in headers.get("content-type", "") else {}
    return HttpReply(status=code, headers=headers, json=found)
