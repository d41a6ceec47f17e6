"""The peer that drills compare with: redis-py's asyncio client for Sentinel, as its documentation sets it up."""

from __future__ import annotations

from typing import Any, Final, cast

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import ConnectionError as ConnectionFailed
from redis.exceptions import MaxConnectionsError, ResponseError
from redis.exceptions import TimeoutError as AnswerMissed

from tollhouse.errors import Outcome
from tollhouse.stores import urls

SOCKET_S: Final = 0.3
"""How long it waits for a connection, and for any one reply."""
_NOT_SENT: Final = (MasterNotFoundError, MaxConnectionsError)
_PREVIOUS: Final = "The previous master is now a slave"


class RedisPyClient:
    """Reads and writes plain keys on whichever server redis-py takes for the primary; counts its connections."""

    def __init__(self, url: str) -> None:
        place = urls.parse("url", url)
        assert isinstance(place.target, urls.SentinelService), "the comparison is one of clients for Sentinel"
        self.connections = 0
        limits: dict[str, Any] = {"socket_timeout": SOCKET_S, "socket_connect_timeout": SOCKET_S}
        self._sentinel: Any = Sentinel(
            place.target.hosts,
            sentinel_kwargs={"password": place.target.password, **limits},
            password=place.password,
            **limits,
        )
        self._client: Any = self._sentinel.master_for(
            place.target.service, db=place.db, redis_connect_func=self._connected
        )

    @property
    def in_use(self) -> int:
        """Count the connections that the pool has lent out."""
        return len(self._client.connection_pool._in_use_connections)

    async def set(self, key: str, value: str) -> None:
        """Write a key that is gone after an hour."""
        await self._client.set(key, value, ex=3600)

    async def delete(self, key: str) -> bool:
        """Remove a key; tell whether it was there."""
        return bool(await self._client.delete(key))

    async def get(self, key: str) -> str | None:
        """Read a key."""
        value = cast("bytes | None", await self._client.get(key))
        return None if value is None else value.decode()

    def outcome(self, error: BaseException) -> Outcome | None:
        """Say what a call that raised this may have done; None for what no outage explains."""
        if isinstance(error, _NOT_SENT) or (isinstance(error, ConnectionFailed) and "connecting to" in str(error)):
            return "not-sent"
        if isinstance(error, ResponseError) or str(error) == _PREVIOUS:
            return "rejected"
        return "ambiguous" if isinstance(error, ConnectionFailed | AnswerMissed | OSError) else None

    async def aclose(self) -> None:
        """End all connections."""
        await self._client.aclose()
        for sentinel in self._sentinel.sentinels:
            await sentinel.aclose()

    async def _connected(self, connection: Any) -> None:
        """Count a connection, then prepare it as redis-py does by itself."""
        self.connections += 1
        await connection.on_connect()
