"""redis-py under drill: each operation becomes one plain write or read, the least that such a client can do."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from tollhouse.drill.clients.client import DEADLINE_MS, Answer, State
from tollhouse.drill.results.history import Failure, Operation
from tollhouse.stores.redis_py import RedisPyClient
from tollhouse.wiring import Tollhouse


class PlainClient:
    """Writes and reads keys that hold their own name; every call is given up at the deadline."""

    def __init__(self, url: str) -> None:
        self._peer = RedisPyClient(url)

    async def call(self, operation: Operation, subject: str) -> Answer:
        """Write the key of that subject, read it, or remove it."""
        async with asyncio.timeout(DEADLINE_MS / 1000):
            if operation in ("verify", "get"):
                value = await self._peer.get(subject)
                return Answer(accepted=value is not None, foreign=value not in (subject, None))
            if operation == "revoke":
                return Answer(accepted=await self._peer.delete(subject))
            await self._peer.set(subject, subject)
            return Answer()

    def failure(self, error: BaseException) -> Failure:
        """Say what a call that raised this may have done, as far as redis-py tells."""
        return self._peer.outcome(error) or "defect"

    async def held(self, server: Tollhouse, subjects: Collection[str]) -> set[str]:
        """Tell which of the keys a server has."""
        return {subject for subject in subjects if await server.stores.sessions.command("EXISTS", subject)}

    def state(self) -> State:
        """Tell how the pool stands: a connection that a call did not give back is one in flight."""
        return State(in_flight=self._peer.in_use, connections=self._peer.connections)

    async def aclose(self) -> None:
        """End all connections."""
        await self._peer.aclose()
