"""Health: alive, ready, and what Prometheus reads."""

from __future__ import annotations

import asyncio
from typing import Literal

from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from msgspec import Struct

from tollhouse.errors import StoreError
from tollhouse.metrics import Metrics
from tollhouse.stores.stores import AnyStore, Stores

_NO_STORE = {"Cache-Control": "no-store"}
Connection = Literal["connected", "disconnected"]


class Health(Struct, frozen=True, kw_only=True):
    """Which stores answer. A lost cache degrades; any other lost store means not ready."""

    status: Literal["ok", "degraded", "unavailable"]
    sessions: Connection
    limits: Connection
    cache: Connection
    accounts: Connection


@get("/livez")
async def livez() -> Response[dict[str, str]]:
    """Say that the process answers; no store is asked."""
    return Response({"status": "ok"}, headers=_NO_STORE)


@get(["/readyz", "/healthz"])
async def readyz(stores: NamedDependency[Stores]) -> Response[Health]:
    """Ask every store: 200 while requests can be served, 503 where they cannot."""
    health = await health_of(stores)
    status = 503 if health.status == "unavailable" else 200
    return Response(health, status_code=status, headers=_NO_STORE)


@get("/metrics")
async def metrics(metrics: NamedDependency[Metrics]) -> Response[bytes]:
    """Give all counts in the Prometheus text format, for all workers."""
    body, content_type = metrics.render()
    return Response(body, media_type=content_type or MediaType.TEXT, headers=_NO_STORE)


async def health_of(stores: Stores) -> Health:
    """Ping the four stores at once."""
    answers = await asyncio.gather(*(_connection(store) for store in stores.all()))
    sessions, limits, cache, accounts = answers
    required = (sessions, limits, accounts)
    serving = "ok" if cache == "connected" else "degraded"
    status = "unavailable" if "disconnected" in required else serving
    return Health(status=status, sessions=sessions, limits=limits, cache=cache, accounts=accounts)


async def _connection(store: AnyStore) -> Connection:
    try:
        await store.ping()
    except StoreError:
        return "disconnected"
    return "connected"


HANDLERS = [livez, readyz, metrics]
