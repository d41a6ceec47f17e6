"""The network between the nodes of a cluster: proxies on the announced addresses, which a fault cuts or slows down.

Each node listens on another port of its own address and announces that of its proxy. A proxy knows by the source
address which machine a connection is from, and calls the node from that same address. So single links are cut without
rights on the machine, in one process, and the nodes see addresses as six machines would have them.

| fault of a link | a connection that is open                     | a new connection                                  |
|-----------------|-----------------------------------------------|---------------------------------------------------|
| cut             | bytes wait, as they do until TCP sends again  | is silent, and ends when the link works again     |
| resting         | what the called node sends waits              | the same                                          |
| reset           | ends, and with it every byte that waited      |                                                   |

A link rests to one side only: a replica that gets nothing from its primary goes on to say what it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Final, Self

from tollhouse.stores.urls import Host

CLIENTS: Final = "127.0.0.1"
"""The address that clients call from, when they call 127.x.y.z."""
CHUNK_BYTES: Final = 65_536

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Links:
    """The proxies of all nodes; they run in the event loop that opened them, until `aclose`."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._side: frozenset[str] = frozenset()
        self._resting: frozenset[tuple[str, str]] = frozenset()
        self._servers: list[asyncio.Server] = []
        self._open: dict[asyncio.Task[None], tuple[str, str]] = {}

    @classmethod
    async def open(cls, routes: Mapping[Host, Host]) -> Self:
        """Listen on every announced address, and pass its connections on to the address beside it."""
        links = cls()
        for (host, port), node in routes.items():
            accept = partial(links._accept, node)
            links._servers.append(await asyncio.start_server(accept, host, port))
        return links

    def separate(self, side: Collection[str]) -> None:
        """Cut the machines of `side` from all others, in both directions."""
        self._side = frozenset(side)
        self._wake()

    def rest(self, callers: Collection[str], called: str) -> None:
        """Hold what `called` sends over the connections that `callers` made to it."""
        self._resting = frozenset((caller, called) for caller in callers)
        self._wake()

    def reset(self, callers: Collection[str], called: str) -> None:
        """End the connections of `callers` to `called`; what waits there is lost, as with the machine that sent it."""
        for task, (caller, node) in self._open.items():
            if caller in callers and node == called:
                task.cancel()

    def heal(self) -> None:
        """End every cut and every rest; what waited goes on its way."""
        self._side, self._resting = frozenset(), frozenset()
        self._wake()

    async def aclose(self) -> None:
        """Stop listening, and end every connection."""
        for server in self._servers:
            server.close()
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)
        await asyncio.sleep(0)  # a transport that was aborted closes its socket in the next iteration of the loop

    async def _accept(self, node: Host, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; its task is the server's own, and ends with the connection."""
        task = asyncio.current_task()
        assert task is not None
        caller = writer.get_extra_info("peername")[0]
        self._open[task] = caller, node[0]
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._serve(caller, node, (reader, writer))
        finally:
            writer.transport.abort()
            del self._open[task]

    async def _serve(self, caller: str, node: Host, inward: _Streams) -> None:
        if self._is_cut(caller, node[0]):
            await self._until(lambda: not self._is_cut(caller, node[0]))
            return
        outward = await asyncio.open_connection(*node, local_addr=(caller, 0))
        try:
            async with asyncio.TaskGroup() as both:
                to_node = both.create_task(self._pump(inward, outward, lambda: self._is_cut(caller, node[0])))
                to_caller = both.create_task(self._pump(outward, inward, lambda: self._is_held(caller, node[0])))
                await asyncio.wait((to_node, to_caller), return_when=asyncio.FIRST_COMPLETED)
                to_node.cancel()
                to_caller.cancel()
        finally:
            outward[1].transport.abort()

    async def _pump(self, source: _Streams, sink: _Streams, held: Callable[[], bool]) -> None:
        """Pass on bytes until one side ends; while they are held, no more are read than the stream buffers."""
        with suppress(OSError):
            while chunk := await source[0].read(CHUNK_BYTES):
                await self._until(lambda: not held())
                sink[1].write(chunk)
                await sink[1].drain()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    def _is_cut(self, caller: str, called: str) -> bool:
        return (caller in self._side) is not (called in self._side)

    def _is_held(self, caller: str, called: str) -> bool:
        return (caller, called) in self._resting or self._is_cut(caller, called)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
