"""The peers that keep sessions in Redis, each with what it does in its store for a request that changes nothing.

- Litestar's server-side sessions on its `RedisStore`, and starsessions on its own: both load the session and write it
  back with every response, whether or not it was changed (Litestar's middleware in `wrapped_send`, starsessions' in
  `send_wrapper`).
- Flask-Session does the same (`SESSION_REFRESH_EACH_REQUEST`, Flask's default): a GET and a SET of MessagePack. It is
  synchronous; here its two commands are sent by redis-py's asyncio client, as those of the others are.

GET alone is no session library: it is the least that one on redis-py could do.

Each has a connection for every concurrent request, and stores of a session what Tollhouse returns of one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import redis.asyncio as redis
from litestar.middleware.session.server_side import ServerSideSessionBackend, ServerSideSessionConfig
from litestar.stores.redis import RedisStore

from bench.session_library import SessionLibrary

LIFETIME_S = 24 * 3600


@asynccontextmanager
async def peers(url: str, concurrency: int) -> AsyncIterator[list[SessionLibrary]]:
    """Yield all of them on the server at this URL, with a connection for each concurrent request."""
    client = redis.Redis.from_url(url, max_connections=concurrency)
    try:
        yield [litestar(client), starsessions(client), flask_session(client), get_alone(client)]
    finally:
        await client.aclose()


def contents(user: str) -> dict[str, Any]:
    """Return what is stored of a session: what Tollhouse returns of one."""
    now_ms = time.time_ns() // 1_000_000
    return {"user": user, "policy": "default", "device": None, "created_at": now_ms, "last_seen_at": now_ms}


def litestar(client: redis.Redis) -> SessionLibrary:
    """Return Litestar's server-side sessions."""
    store = RedisStore(client)
    backend = ServerSideSessionBackend(ServerSideSessionConfig(max_age=LIFETIME_S))

    async def create(user: str) -> str:
        sid = backend.generate_session_id()
        await backend.set(sid, backend.serialize_data(contents(user)), store)
        return sid

    async def verify(sid: str) -> dict[str, Any]:
        data = await backend.get(sid, store)
        if data is None:
            return {}
        session = backend.deserialize_data(data)
        await backend.set(sid, backend.serialize_data(session), store)
        return session

    return SessionLibrary(
        name="Litestar, server-side sessions",
        create=create,
        verify=verify,
        end=lambda sid: backend.delete(sid, store),
    )


def starsessions(client: redis.Redis) -> SessionLibrary:
    """Return starsessions, with the default serializer of its middleware."""
    from starsessions.serializers import JsonSerializer
    from starsessions.session import generate_session_id
    from starsessions.stores.redis import RedisStore as StarsessionsStore

    store, serializer = StarsessionsStore(connection=client), JsonSerializer()

    async def create(user: str) -> str:
        now_s = time.time()
        metadata = {"lifetime": LIFETIME_S, "created": now_s, "last_access": now_s}
        data = serializer.serialize({**contents(user), "__metadata__": metadata})
        return await store.write(generate_session_id(), data, LIFETIME_S, LIFETIME_S)

    async def verify(sid: str) -> dict[str, Any]:
        session = serializer.deserialize(await store.read(sid, LIFETIME_S))
        if session:
            metadata = session["__metadata__"]
            metadata["last_access"] = time.time()
            remaining_s = int(metadata["created"] + metadata["lifetime"] - time.time())
            await store.write(sid, serializer.serialize(session), LIFETIME_S, remaining_s)
        return session

    return SessionLibrary(name="starsessions", create=create, verify=verify, end=store.remove)


def flask_session(client: redis.Redis) -> SessionLibrary:
    """Return the commands of Flask-Session."""

    async def create(user: str) -> str:
        sid = secrets.token_urlsafe(32)
        await client.set(f"session:{sid}", msgspec.msgpack.encode(contents(user)), ex=LIFETIME_S)
        return sid

    async def verify(sid: str) -> dict[str, Any]:
        data = await client.get(f"session:{sid}")
        if data is None:
            return {}
        session = msgspec.msgpack.decode(data)
        await client.set(f"session:{sid}", msgspec.msgpack.encode(session), ex=LIFETIME_S)
        return session

    return SessionLibrary(
        name="GET and SET, as Flask-Session",
        create=create,
        verify=verify,
        end=lambda sid: client.delete(f"session:{sid}"),
    )


def get_alone(client: redis.Redis) -> SessionLibrary:
    """Return the least: one GET of redis-py."""
    stored = flask_session(client)
    return SessionLibrary(
        name="redis-py, GET alone",
        create=stored.create,
        verify=lambda sid: client.get(f"session:{sid}"),
        end=stored.end,
        verifies_by=("get",),
        reference=True,
    )
