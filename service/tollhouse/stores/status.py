"""The status of one store and of its failover service, for operators: bounded in size and without credentials."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import StoreError, StoreRefused, StoreUnavailable
from tollhouse.stores.discovery.locator import ServiceHealth
from tollhouse.stores.opening import AnyStore
from tollhouse.stores.rights import MissingCommand
from tollhouse.stores.urls import format_host

TEXT_MAX: Final = 300
"""Bound of a text from elsewhere, such as a reason or a list of hosts."""
PROBLEM_MAX: Final = 600
"""Bound of a problem, which ends with its remedy."""
SILENT_MAX: Final = 8
"""Bound of the silent servers that are listed one by one."""

_KEPT: Final = ("sessions", "accounts")
_EVICTED: Final = "these among them; set noeviction, and give the cache a server of its own with TOLLHOUSE_CACHE_URL"
_FULL: Final = 0.9

ConnectionState = Literal["connected", "disconnected"]


class FailoverStatus(Struct, frozen=True, kw_only=True):
    """The primary, how long it has been the primary, and what is ready to replace it.

    With a list of servers instead of Sentinels, the Sentinel counts are 0. `why` is how the primary was found, `reason`
    why it is in doubt, and `silent` has one reason for each Sentinel or server that does not answer.
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
    """The state of one store; `problem` is null when it is well, `watch` when it has one fixed server.

    It is connected if it answers and a script has written to it; `refused` if it is not, and only a change of the setup
    helps, such as another password. `warnings` says what may fail later.

    `shared_database` is the number of the logical database if other stores have keys there too. `replication_id` is
    null also when the account may not run INFO. Only `examine` fills `missing_commands` and `warnings`.
    """

    store: str
    place: str
    connection: ConnectionState
    server: str | None
    role: str | None
    replication_id: str | None
    round_trip_ms: float | None
    watch: FailoverStatus | None
    problem: str | None
    refused: bool = False
    shared_database: int | None = None
    missing_commands: tuple[MissingCommand, ...] = ()
    warnings: tuple[str, ...] = ()


def place_of(store: AnyStore) -> str:
    """Return the URL of a store without credentials, with the database that it uses if that is known."""
    url = store.url if store.server is None else replace(store.url, db=store.server.database)
    return _bounded(url.redacted())


async def check_store(store: AnyStore) -> StoreStatus:
    """Ask a store, write to it by a script, and return its status."""
    round_trip_ms, server, problem = None, None, None
    try:
        round_trip_ms = round(await store.ping(), 3)
        server = store.server
        await store.probe()
    except StoreRefused as error:
        problem = _bounded(f"{error.reason}; {error.remedy}", PROBLEM_MAX)
    except StoreUnavailable as error:
        problem = _bounded(error.reason, PROBLEM_MAX)  # without the name of the store: several may have the same one
    except StoreError as error:
        problem = _bounded(str(error))
    health = store.health()
    return StoreStatus(
        store=store.name,
        place=place_of(store),
        connection="connected" if problem is None else "disconnected",
        server=None if server is None else _bounded(f"{server.software} {server.version}"),
        role=None if server is None else _bounded(server.role),
        replication_id=None if server is None else _bounded(server.primary) or None,
        round_trip_ms=round_trip_ms,
        watch=None if health is None else failover_status(health, time.monotonic()),
        problem=problem,
        refused=problem is not None and store.is_refused,
        shared_database=server.database if server is not None and server.shares_database else None,
    )


async def examine(store: AnyStore) -> StoreStatus:
    """Return the status of a store, with the commands that its account lacks and what may fail later."""
    status = await check_store(store)
    missing = await missing_commands(store)
    try:
        memory = await store.info("memory")
    except StoreError:
        memory = {}
    return replace(status, missing_commands=missing, warnings=tuple(memory_warnings(store.name, memory)))


def memory_warnings(store: str, memory: Mapping[str, str]) -> Iterator[str]:
    """Return what the memory of a server means for one of its stores; `memory` is that section of INFO."""
    bound, policy = int(memory.get("maxmemory", 0)), memory.get("maxmemory_policy", "noeviction")
    if not bound:
        return
    if store in _KEPT and policy != "noeviction":
        yield f"the server evicts keys if its memory is full (maxmemory-policy {policy}), {_EVICTED}"
    if int(memory.get("used_memory", 0)) >= _FULL * bound:
        yield "the server uses more than nine tenths of its maxmemory; raise it: a full server refuses writes or evicts"


async def missing_commands(store: AnyStore) -> tuple[MissingCommand, ...]:
    """Return the commands that the account of a store lacks; none if the store does not answer."""
    try:
        return await store.missing_commands()
    except StoreError:
        return ()


def failover_status(health: ServiceHealth, now_s: float) -> FailoverStatus:
    """Return the status of a failover service; `now_s` is on its resolver's clock."""
    current = health.generation
    return FailoverStatus(
        service=_bounded(health.service),
        generation=0 if current is None else current.number,
        primary=None if current is None else _bounded(format_host((current.address.host, current.address.port))),
        why=None if current is None else current.why,
        changed_ms_ago=None if current is None else max(round((now_s - current.at_s) * 1000), 0),
        replicas_promotable=health.promotable,
        sentinels_known=health.sentinels_known,
        sentinels_reachable=health.sentinels_reachable,
        quorum=health.quorum,
        reason=_bounded(health.reason) or None,
        silent=tuple(map(_bounded, health.silent[:SILENT_MAX])),
    )


def _bounded(text: str, bound: int = TEXT_MAX) -> str:
    return text if len(text) <= bound else text[: bound - 1] + "…"
