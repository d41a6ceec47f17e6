"""redis-py under drill: each operation is one plain write or read, the least that such a client can do."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from tollhouse.drill.clients.client import DEADLINE_MS, CallResult, ClientState
from tollhouse.drill.results.history import Failure, Operation
from tollhouse.stores.redis_py import RedisPyClient
from tollhouse.wiring import Tollhouse


class PlainClient:
    """Writes and reads keys that hold their own name; every call is cancelled at the deadline."""

    def __init__(self, url: str) -> None:
        self._peer = RedisPyClient(url)

    async def call(self, operation: Operation, subject: str) -> CallResult:
        """Write, read or delete the key of that subject."""
        async with asyncio.timeout(DEADLINE_MS / 1000):
            if operation in ("verify", "get"):
                value = await self._peer.get(subject)
                return CallResult(accepted=value is not None, foreign=value not in (subject, None))
            if operation == "revoke":
                return CallResult(accepted=await self._peer.delete(subject))
            await self._peer.set(subject, subject)
            return CallResult()

    def failure(self, error: BaseException) -> Failure:
        """Return what a call that raised `error` may have done, as far as redis-py tells."""
        return self._peer.outcome(error) or "defect"

    async def surviving(self, server: Tollhouse, subjects: Collection[str]) -> set[str]:
        """Return those keys that a server has."""
        return {subject for subject in subjects if await server.stores.sessions.command("EXISTS", subject)}

    def state(self) -> ClientState:
        """Return the state of the pool: a connection that a call did not return counts as in flight."""
        return ClientState(in_flight=self._peer.in_use, connections=self._peer.connections)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._peer.aclose()
