"""Liveness, readiness and Prometheus metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Literal, TypeVar

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromQuery
from msgspec import Struct

from tollhouse.http.authentication import check_role
from tollhouse.http.openapi import KEY, problems
from tollhouse.metrics import Metrics
from tollhouse.stores.opening import AnyStore, Stores
from tollhouse.stores.status import ConnectionState, StoreStatus, check_store, examine

T = TypeVar("T")
REMEMBERED_S: Final = 1.0
"""How long the answer of a probe holds."""

Status = Literal["ok", "degraded", "unavailable"]

_CHARSET: Final = "; charset=utf-8"
"""What Litestar adds to the content type of a text, so that it would be there twice."""


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
    return Response({"status": "ok"})


def _has_query(scope: Any) -> bool:
    return bool(scope["query_string"])


@get(
    ["/readyz", "/healthz"],
    opt={"query": ("verbose",), "auth": _has_query},
    responses={
        **problems(400, 401, 403, 429),
        503: ResponseSpec(Readiness | ReadinessReport, description="Not ready."),
    },
    security=[{}, *KEY],
)
async def readyz(
    request: Request[Any, Any, Any],
    health: NamedDependency[StoreHealth],
    verbose: FromQuery[Literal["", "true"] | None] = None,
) -> Response[Readiness | ReadinessReport]:
    """Write to every store: 200 if requests can be served, 503 if not. An answer holds for a second.

    `?verbose` adds the versions, addresses and Sentinels of each store, and needs an admin key: behind a proxy on the
    same machine every client seems to be local.
    """
    if verbose is not None:
        check_role(request, "admin")
    found: Readiness | ReadinessReport = await (health.readiness() if verbose is None else health.report())
    return Response(found, status_code=503 if found.status == "unavailable" else 200)


@get("/metrics")
async def metrics(metrics: NamedDependency[Metrics], stores: NamedDependency[Stores]) -> Response[bytes]:
    """Return the metrics of all workers in the Prometheus text format."""
    for store in stores.all():
        _refresh_gauges(store, metrics)
    body, content_type = metrics.render()
    return Response(body, media_type=content_type.removesuffix(_CHARSET))


class StoreHealth:
    """Examines the stores when asked, at most once a second: probes may be frequent, and each writes to every store."""

    def __init__(self, stores: Stores, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._readiness = _Memory(lambda: readiness_of(stores), clock)
        self._report = _Memory(lambda: _report_on(stores, examine), clock)

    async def readiness(self) -> Readiness:
        """Return which stores can be used."""
        return await self._readiness.get()

    async def report(self) -> ReadinessReport:
        """Return all that is known of each store."""
        return await self._report.get()


class _Memory(Generic[T]):
    """What was found a second ago at most; those who ask meanwhile wait for the same answer."""

    def __init__(self, look: Callable[[], Awaitable[T]], clock: Callable[[], float]) -> None:
        self._look = look
        self._clock = clock
        self._lock = asyncio.Lock()
        self._found: tuple[float, T] | None = None

    async def get(self) -> T:
        async with self._lock:
            if self._found is None or self._clock() - self._found[0] >= REMEMBERED_S:
                found = await self._look()
                self._found = self._clock(), found
            return self._found[1]


async def readiness_of(stores: Stores) -> Readiness:
    """Write to the four stores concurrently."""
    report = await _report_on(stores, check_store)
    connections: dict[str, ConnectionState] = {store.store: store.connection for store in report.stores}
    return Readiness(status=report.status, **connections)


async def _report_on(stores: Stores, look: Callable[[AnyStore], Awaitable[StoreStatus]]) -> ReadinessReport:
    statuses = await asyncio.gather(*(look(store) for store in stores.all()))
    lost = {status.store for status in statuses if status.connection == "disconnected"}
    status: Status = "unavailable" if lost - {"cache"} else "degraded" if lost else "ok"
    return ReadinessReport(status=status, stores=statuses)


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
