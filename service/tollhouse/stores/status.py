"""The status of one store and of its failover service, for operators: bounded in size and without credentials."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

from tollhouse.errors import StoreError
from tollhouse.stores.discovery.locator import ServiceHealth
from tollhouse.stores.opening import AnyStore
from tollhouse.stores.transport.handshake import ServerInfo
from tollhouse.stores.urls import format_host

TEXT_MAX: Final = 300
"""Longest text of others that is passed on, such as a reason or a list of hosts."""
SILENT_MAX: Final = 8
"""How many of those that do not answer are told of, one by one."""

ConnectionState = Literal["connected", "disconnected"]


class FailoverStatus(Struct, frozen=True, kw_only=True):
    """Who is the primary, since when, and what stands ready to replace it.

    Without Sentinels, where several servers are listed, their counts are 0. `why` is how the primary was found,
    `reason` what makes it doubtful, and `silent` says of each Sentinel or server that does not answer why.
    """

    service: str
    generation: int
    primary: str | None
    why: str | None
    changed_ms_ago: int | None
    replicas_promotable: int
    sentinels_known: int
    sentinels_reachable: int
    quorum: int
    reason: str | None
    silent: tuple[str, ...]


class StoreStatus(Struct, frozen=True, kw_only=True):
    """What one store answered; `problem` is null where it is well, `watch` where nobody watches it."""

    store: str
    place: str
    connection: ConnectionState
    server: str | None
    role: str | None
    replication_id: str | None
    round_trip_ms: float | None
    watch: FailoverStatus | None
    problem: str | None


async def ask(store: AnyStore, clock: Callable[[], float] = time.monotonic) -> StoreStatus:
    """Ask a store whether it is there; `clock` is the one by which generations are dated."""
    round_trip_ms, server, problem = None, None, None
    try:
        round_trip_ms = round(await store.ping(), 3)
        server = store.server
    except StoreError as error:
        problem = _bounded(str(error))
    health = store.watch()
    return StoreStatus(
        store=store.name,
        place=_bounded(store.url.redacted()),
        connection="connected" if problem is None else "disconnected",
        server=None if server is None else _bounded(f"{server.software} {server.version}"),
        role=None if server is None else _bounded(server.role),
        replication_id=_replication_id(server),
        round_trip_ms=round_trip_ms,
        watch=None if health is None else failover_status(health, clock()),
        problem=problem,
    )


def failover_status(health: ServiceHealth, now_s: float) -> FailoverStatus:
    """Put what a resolver knows into words; `now_s` is on its clock."""
    present = health.generation
    return FailoverStatus(
        service=_bounded(health.service),
        generation=0 if present is None else present.number,
        primary=None if present is None else _bounded(format_host((present.address.host, present.address.port))),
        why=None if present is None else present.why,
        changed_ms_ago=None if present is None else max(round((now_s - present.at_s) * 1000), 0),
        replicas_promotable=health.promotable,
        sentinels_known=health.sentinels_known,
        sentinels_reachable=health.sentinels_reachable,
        quorum=health.quorum,
        reason=_bounded(health.reason) or None,
        silent=tuple(map(_bounded, health.silent[:SILENT_MAX])),
    )


def _replication_id(server: ServerInfo | None) -> str | None:
    """Give the id; None too where the account may not ask for it."""
    return (_bounded(server.primary) or None) if server is not None else None


def _bounded(text: str) -> str:
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
