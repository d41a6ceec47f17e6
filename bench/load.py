"""Load on an HTTP server from this process: keep-alive connections, each sending again as soon as it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from bench.rounds import Round, Stopwatch

HOST = "127.0.0.1"


class Connection(asyncio.Protocol):
    """One keep-alive connection; any status that is not accepted ends the measurement.

    It reads no more of an answer than it must, so that it costs little beside the server that it asks.
    """

    def __init__(self, requests: Iterator[bytes], accepted: Sequence[int]) -> None:
        self._requests = requests
        self._accepted = tuple(b"HTTP/1.1 %d" % status for status in accepted)
        self._answer = b""
        self._asked_s = 0.0
        self._until_s = 0.0
        self._finished: asyncio.Future[None] | None = None
        self.waits_s: list[float] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask_until(self, until_s: float) -> asyncio.Future[None]:
        """Send requests until then; the future is done when the last reply has arrived."""
        self._until_s = until_s
        self.waits_s = []
        self._finished = asyncio.get_running_loop().create_future()
        self._ask()
        return self._finished

    def data_received(self, data: bytes) -> None:
        self._answer = answer = self._answer + data if self._answer else data
        if not _whole(answer):
            return
        self._answer = b""
        assert self._finished is not None
        now_s = time.perf_counter()
        self.waits_s.append(now_s - self._asked_s)
        if not answer.startswith(self._accepted):
            self._finished.set_exception(RuntimeError(answer.decode()))
        elif now_s < self._until_s:
            self._ask()
        else:
            self._finished.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        if self._finished is not None and not self._finished.done():
            self._finished.set_exception(RuntimeError("the server closed a connection"))

    def close(self) -> None:
        self._transport.close()

    def _ask(self) -> None:
        self._asked_s = time.perf_counter()
        self._transport.write(next(self._requests))


async def connected(
    port: int, requests: Iterator[bytes], connections: int, accepted: Sequence[int] = (200,)
) -> list[Connection]:
    """Open `connections` connections, which share the requests; until the server accepts, they wait in its backlog."""
    loop = asyncio.get_running_loop()
    make = partial(Connection, requests, accepted)
    pairs = [await loop.create_connection(make, HOST, port) for _ in range(connections)]
    return [connection for _, connection in pairs]


async def loaded(connections: list[Connection], seconds: float) -> Round:
    """Send on all connections for the duration of a round."""
    watch = Stopwatch()
    end_s = time.perf_counter() + seconds
    await asyncio.gather(*(one.ask_until(end_s) for one in connections))
    return watch.round([wait_s for one in connections for wait_s in one.waits_s])


def _whole(answer: bytes) -> bool:
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    at = answer.index(b"content-length: ", 0, head) + 16
    return len(answer) >= head + 4 + int(answer[at : answer.index(b"\r", at)])
