"""`tollhouse check`: are the stores there, which servers are they, and what would a failover find."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click
import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Column, Table
from rich_click import RichCommand

from tollhouse import wiring
from tollhouse.cli import service_file as running
from tollhouse.settings import Settings, load
from tollhouse.stores import status as facts
from tollhouse.stores.opening import Stores
from tollhouse.stores.status import FailoverStatus, StoreStatus

_SETTLE_S: Final = 1.0
"""How long Sentinels that have not answered yet are waited for; who is silent for longer is worth a warning."""
_STEP_S: Final = 0.02


class CheckResult(Struct, frozen=True, kw_only=True):
    """What `check --json` prints."""

    ok: bool
    stores: list[StoreStatus]
    warnings: list[str]


@click.command(cls=RichCommand)
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; tollhouse.toml unless given.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(config: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click gives it
    """Ask every store whether it is there: exit code 0 if all are, else 1.

    Where Sentinels watch, it tells what they know, and warns of what a failover would meet.
    Without a URL it asks the stores of the service that `tollhouse serve` runs for this user,
    and where none runs, those of an embedded server that it starts and stops.
    """
    checked = asyncio.run(_check(running.point_at_running_service(load(os.environ, config))))
    if as_json:
        click.echo(msgspec.json.encode(checked))
    else:
        _show(checked)
    sys.exit(0 if checked.ok else 1)


async def _check(settings: Settings) -> CheckResult:
    async with wiring.open(settings) as tollhouse:
        await _settle(tollhouse.stores)
        stores = [await facts.ask(store) for store in tollhouse.stores.all()]
        keyed = tollhouse.keyring.keyed
    return CheckResult(
        ok=all(store.problem is None for store in stores), stores=stores, warnings=list(warnings(stores, keyed=keyed))
    )


async def _settle(stores: Stores) -> None:
    """Have every store connect, and give Sentinels that are farther away than the others time to answer."""
    await asyncio.gather(*(facts.ask(store) for store in stores.all()))
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + _SETTLE_S
    while loop.time() < give_up_s:
        watched = [health for store in stores.all() if (health := store.watch()) is not None]
        if all(health.sentinels_reachable >= health.sentinels_known for health in watched):
            return
        await asyncio.sleep(_STEP_S)


def warnings(stores: Iterable[StoreStatus], *, keyed: bool) -> Iterator[str]:
    """Say what works now and will not later; what concerns several stores alike is said once."""
    if not keyed:
        yield "no secret is set: sessions refuse to open, and key digests can be guessed; set TOLLHOUSE_SECRET"
    watched = [(store.store, store.watch) for store in stores if store.watch is not None]
    yield from dict.fromkeys(warning for store, watch in watched for warning in _of_watch(store, watch))


def _of_watch(store: str, watch: FailoverStatus) -> Iterator[str]:
    service = watch.service if watch.generation else f"{watch.service} (store {store})"
    reachable, known = watch.sentinels_reachable, watch.sentinels_known
    if reachable < known:
        few = reachable * 2 <= known or reachable < watch.quorum
        follows = "too few for a failover" if few else "one that is missing weakens the next failover"
        said = f": {'; '.join(watch.silent)}" if watch.silent else ""
        yield f"{service}: {reachable} of {known} Sentinels answer, {follows}{said}"
    if watch.generation and not watch.replicas_promotable:
        yield f"{service}: no replica could be promoted: a failover would find none, and durable writes say false"


def _show(checked: CheckResult) -> None:
    console = Console()
    console.print(_stores_table(checked.stores))
    watches = {store.watch.service: store.watch for store in checked.stores if store.watch is not None}
    if watches:
        console.print(_watches_table(watches.values()))
    for store in checked.stores:
        if store.problem is not None:
            console.print(f"{store.store}: {store.problem}", markup=False)
    for warning in checked.warnings:
        console.print(f"warning: {warning}", markup=False)


def _stores_table(stores: Iterable[StoreStatus]) -> Table:
    table = Table("store", Column("place", overflow="fold"), "server", "role", "round trip")
    for store in stores:
        far = "-" if store.round_trip_ms is None else f"{store.round_trip_ms:.2f} ms"
        table.add_row(store.store, store.place, store.server or "down", store.role or "-", far)
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
