"""Liveness, readiness and Prometheus metrics."""

from __future__ import annotations

import asyncio
from typing import Literal

from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from msgspec import Struct

from tollhouse.errors import StoreError
from tollhouse.metrics import Metrics
from tollhouse.stores.opening import AnyStore, Stores
from tollhouse.stores.status import ConnectionState, StoreStatus, check_store

_NO_STORE = {"Cache-Control": "no-store"}
Status = Literal["ok", "degraded", "unavailable"]


class Readiness(Struct, frozen=True, kw_only=True):
    """Which stores answer. Without the cache the service is degraded; without another store it is not ready."""

    status: Status
    sessions: ConnectionState
    limits: ConnectionState
    cache: ConnectionState
    accounts: ConnectionState


class ReadinessReport(Struct, frozen=True, kw_only=True):
    """The same status, with the server, the primary and the Sentinels of every store."""

    status: Status
    stores: list[StoreStatus]


@get("/livez")
async def livez() -> Response[dict[str, str]]:
    """Return 200 if the process answers; no store is called."""
    return Response({"status": "ok"}, headers=_NO_STORE)


@get(["/readyz", "/healthz"], opt={"query": ("verbose",)})
async def readyz(
    stores: NamedDependency[Stores], verbose: FromQuery[Literal["", "true"] | None] = None
) -> Response[Readiness | ReadinessReport]:
    """Ping every store: 200 if requests can be served, 503 if not; `?verbose` adds the status of each store."""
    health: Readiness | ReadinessReport = await readiness_of(stores) if verbose is None else await _report_on(stores)
    status = 503 if health.status == "unavailable" else 200
    return Response(health, status_code=status, headers=_NO_STORE)


@get("/metrics")
async def metrics(metrics: NamedDependency[Metrics], stores: NamedDependency[Stores]) -> Response[bytes]:
    """Return the metrics of all workers in the Prometheus text format."""
    for store in stores.all():
        _refresh_gauges(store, metrics)
    body, content_type = metrics.render()
    return Response(body, media_type=content_type or MediaType.TEXT, headers=_NO_STORE)


async def readiness_of(stores: Stores) -> Readiness:
    """Ping the four stores concurrently."""
    answers = await asyncio.gather(*(_connection(store) for store in stores.all()))
    sessions, limits, cache, accounts = answers
    return Readiness(status=_status(answers), sessions=sessions, limits=limits, cache=cache, accounts=accounts)


async def _report_on(stores: Stores) -> ReadinessReport:
    statuses = await asyncio.gather(*(check_store(store) for store in stores.all()))
    return ReadinessReport(status=_status([status.connection for status in statuses]), stores=statuses)


def _status(answers: list[ConnectionState]) -> Status:
    """Return the status of the service; `answers` are those of sessions, limits, cache and accounts."""
    sessions, limits, cache, accounts = answers
    if "disconnected" in (sessions, limits, accounts):
        return "unavailable"
    return "ok" if cache == "connected" else "degraded"


async def _connection(store: AnyStore) -> ConnectionState:
    try:
        await store.ping()
    except StoreError:
        return "disconnected"
    return "connected"


def _refresh_gauges(store: AnyStore, metrics: Metrics) -> None:
    """Refresh the gauges of a store; they change without a call, so they are read at scrape time."""
    metrics.store_connections(store.name, store.connections)
    watch = store.health()
    if watch is not None:
        metrics.store_watch(
            store.name,
            generation=0 if watch.generation is None else watch.generation.number,
            sentinels_known=watch.sentinels_known,
            sentinels_reachable=watch.sentinels_reachable,
            replicas_promotable=watch.promotable,
        )


HANDLERS = [livez, readyz, metrics]
