"""`tollhouse check`: whether each store can be written, on which server, and whether a failover would work."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click
import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Column, Table
from rich_click import RichCommand

from tollhouse import logs, wiring
from tollhouse.cli.service_file import load_for_running_service
from tollhouse.settings import Settings
from tollhouse.settings.enabled import turned_off
from tollhouse.stores import status
from tollhouse.stores.opening import Stores
from tollhouse.stores.status import FailoverStatus, StoreStatus
from tollhouse.stores.transport.databases import SEPARATION
from tollhouse.wiring.features import hashing_warnings

_SETTLE_S: Final = 1.0
"""How long to wait for Sentinels that have not answered yet; a Sentinel that takes longer gets a warning."""
_POLL_S: Final = 0.02


class CheckResult(Struct, frozen=True, kw_only=True):
    """The output of `check --json`."""

    ok: bool
    namespace: str
    stores: list[StoreStatus]
    warnings: list[str]


@click.command(cls=RichCommand)
@click.option("--config", type=click.Path(path_type=Path), help="Settings file (default: tollhouse.toml).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(config: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click gives it
    """Check that every store answers and can be written: exit code 0 if all can, else 1.

    The server is that of TOLLHOUSE_URL, or of `url` in the settings file.
    With Sentinels it also shows the state of the replicas, and warns if a failover would fail.
    Without a URL it checks the stores of the service that `tollhouse serve` runs for this user;
    if none runs, those of an embedded server that it starts and stops.
    """
    settings = load_for_running_service(os.environ, config)
    with logs.muted():  # the result has all of it
        result = asyncio.run(_check(settings))
    if as_json:
        click.echo(msgspec.json.encode(result))
    else:
        _show(result)
    sys.exit(0 if result.ok else 1)


async def _check(settings: Settings) -> CheckResult:
    async with wiring.open(settings) as tollhouse:
        await _settle(tollhouse.stores)
        stores = [await status.examine(store) for store in tollhouse.stores.all()]
        keyed = tollhouse.keyring.keyed
    return CheckResult(
        ok=all(store.problem is None for store in stores),
        namespace=settings.namespace,
        stores=stores,
        warnings=[*turned_off(settings), *warnings(stores, keyed=keyed), *hashing_warnings(settings)],
    )


async def _settle(stores: Stores) -> None:
    """Connect every store, and wait up to `_SETTLE_S` for Sentinels that are slower than the others."""
    await asyncio.gather(*(status.check_store(store) for store in stores.all()))
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + _SETTLE_S
    while loop.time() < deadline_s:
        services = [health for store in stores.all() if (health := store.health()) is not None]
        if all(health.sentinels_reachable >= health.sentinels_known for health in services):
            return
        await asyncio.sleep(_POLL_S)


def warnings(stores: Sequence[StoreStatus], *, keyed: bool) -> Iterator[str]:
    """Return what works now but may fail later; a warning that several stores share comes once."""
    if not keyed:
        yield "no secret is set: sessions do not open, and key digests can be guessed; set TOLLHOUSE_SECRET"
    said: dict[str, list[str]] = {}
    for store in stores:
        for warning in _store_warnings(store):
            said.setdefault(warning, []).append(store.store)
    for warning, names in said.items():
        yield f"{', '.join(names)}: {warning}"
    watched = [(store.store, store.watch) for store in stores if store.watch is not None]
    yield from dict.fromkeys(warning for store, watch in watched for warning in _failover_warnings(store, watch))


def _store_warnings(store: StoreStatus) -> Iterator[str]:
    yield from store.warnings
    for missing in store.missing_commands:
        yield f"{missing.command} is not available to the account: {missing.cost}"
    if store.shared_database is not None:
        cost = "FLUSHDB there empties all of them, and no account can be kept to one"
        yield f"share database {store.shared_database}: {cost}; to separate them, {SEPARATION}"


def _failover_warnings(store: str, watch: FailoverStatus) -> Iterator[str]:
    service = watch.service if watch.generation else f"{watch.service} (store {store})"
    reachable, known = watch.sentinels_reachable, watch.sentinels_known
    if reachable < known:
        too_few = reachable * 2 <= known or reachable < watch.quorum
        consequence = "too few for a failover" if too_few else "each missing one makes the next failover less likely"
        reasons = f": {'; '.join(watch.silent)}" if watch.silent else ""
        yield f"{service}: {reachable} of {known} Sentinels answer, {consequence}{reasons}"
    if watch.generation and not watch.replicas_promotable:
        yield f"{service}: no replica can be promoted: a failover would fail, and writes report durable=false"


def _show(result: CheckResult) -> None:
    console = Console()
    console.print(_stores_table(result.stores))
    if result.namespace:
        console.print(f"namespace: {result.namespace}", markup=False)
    watches = {store.watch.service: store.watch for store in result.stores if store.watch is not None}
    if watches:
        console.print(_watches_table(watches.values()))
    for problem, names in problems(result.stores).items():
        console.print(f"{', '.join(names)}: {problem}", markup=False)
    for warning in result.warnings:
        console.print(f"warning: {warning}", markup=False)


def problems(stores: Iterable[StoreStatus]) -> dict[str, list[str]]:
    """Return each problem once, with the stores that have it."""
    found: dict[str, list[str]] = {}
    for store in stores:
        if store.problem is not None:
            found.setdefault(store.problem, []).append(store.store)
    return found


def _stores_table(stores: Iterable[StoreStatus]) -> Table:
    table = Table("store", Column("place", overflow="fold"), "server", "role", "round trip")
    for store in stores:
        far = "-" if store.round_trip_ms is None else f"{store.round_trip_ms:.2f} ms"
        absent = "refused" if store.refused else "down"
        table.add_row(store.store, store.place, store.server or absent, store.role or "-", far)
    return table


def _watches_table(watches: Iterable[FailoverStatus]) -> Table:
    places = (Column(name, overflow="fold") for name in ("service", "primary"))
    table = Table(*places, "generation", "promotable", "Sentinels", "quorum")
    for watch in watches:
        sentinels = f"{watch.sentinels_reachable} of {watch.sentinels_known}" if watch.sentinels_known else "-"
        table.add_row(
            watch.service,
            watch.primary or "unknown",
            str(watch.generation or "-"),
            str(watch.replicas_promotable),
            sentinels,
            str(watch.quorum or "-"),
        )
    return table
