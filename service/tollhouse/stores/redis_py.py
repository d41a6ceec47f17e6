"""The client that drills and benchmarks compare with: redis-py's asyncio client for Sentinel, set up as documented.

It is here because redis-py is imported in `stores/` only.
"""

from __future__ import annotations

from typing import Any, Final, cast

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import ConnectionError as ConnectionFailed
from redis.exceptions import MaxConnectionsError, ResponseError
from redis.exceptions import TimeoutError as ReplyTimeout

from tollhouse.errors import Outcome
from tollhouse.stores import urls

SOCKET_S: Final = 0.3
"""How long it waits for a connection, and for any one reply."""
_NOT_SENT: Final = (MasterNotFoundError, MaxConnectionsError)
_PREVIOUS: Final = "The previous master is now a slave"


class RedisPyClient:
    """Reads and writes plain keys on the server that redis-py takes for the primary; counts its connections."""

    def __init__(self, url: str) -> None:
        parsed = urls.parse("url", url)
        assert isinstance(parsed.target, urls.SentinelService), "the comparison is one of clients for Sentinel"
        self.connections = 0
        limits: dict[str, Any] = {"socket_timeout": SOCKET_S, "socket_connect_timeout": SOCKET_S}
        self._sentinel: Any = Sentinel(
            parsed.target.hosts,
            sentinel_kwargs={"password": parsed.target.password, **limits},
            password=parsed.password,
            **limits,
        )
        self._client: Any = self._sentinel.master_for(
            parsed.target.service, db=parsed.db, redis_connect_func=self._on_connect
        )

    @property
    def in_use(self) -> int:
        """The number of connections that the pool has lent out."""
        return len(self._client.connection_pool._in_use_connections)

    async def set(self, key: str, value: str) -> None:
        """Write a key that expires after an hour."""
        await self._client.set(key, value, ex=3600)

    async def delete(self, key: str) -> bool:
        """Delete a key; return whether it existed."""
        return bool(await self._client.delete(key))

    async def get(self, key: str) -> str | None:
        """Return the value of a key; None if it does not exist."""
        value = cast("bytes | None", await self._client.get(key))
        return None if value is None else value.decode()

    def outcome(self, error: BaseException) -> Outcome | None:
        """Return what a call that raised `error` may have done; None for an error that no outage explains."""
        if isinstance(error, _NOT_SENT) or (isinstance(error, ConnectionFailed) and "connecting to" in str(error)):
            return "not-sent"
        if isinstance(error, ResponseError) or str(error) == _PREVIOUS:
            return "rejected"
        return "ambiguous" if isinstance(error, ConnectionFailed | ReplyTimeout | OSError) else None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        for sentinel in self._sentinel.sentinels:
            await sentinel.aclose()

    async def _on_connect(self, connection: Any) -> None:
        """Count a connection, then set it up as redis-py does by default."""
        self.connections += 1
        await connection.on_connect()
