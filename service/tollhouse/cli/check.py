"""`tollhouse check`: are the stores there, which servers are they, and how far away."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click
import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich_click import RichCommand

from tollhouse import wiring
from tollhouse.cli import running
from tollhouse.errors import StoreError
from tollhouse.settings import Settings, load
from tollhouse.stores.stores import AnyStore


class StoreCheck(Struct, frozen=True, kw_only=True):
    """What one store answered; `problem` is null where it is well."""

    store: str
    place: str
    server: str | None
    role: str | None
    round_trip_ms: float | None
    problem: str | None


class Checked(Struct, frozen=True, kw_only=True):
    """What `check --json` prints."""

    ok: bool
    stores: list[StoreCheck]
    warnings: list[str]


@click.command(cls=RichCommand)
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; tollhouse.toml unless given.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(config: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click gives it
    """Ask every store whether it is there: exit code 0 if all are, else 1.

    Without a URL it asks the stores of the service that `tollhouse serve` runs for this user,
    and where none runs, those of an embedded server that it starts and stops.
    """
    checked = asyncio.run(_check(running.joined(load(os.environ, config))))
    if as_json:
        click.echo(msgspec.json.encode(checked))
    else:
        _show(checked)
    sys.exit(0 if checked.ok else 1)


async def _check(settings: Settings) -> Checked:
    async with wiring.open(settings) as tollhouse:
        stores = [await _ask(store) for store in tollhouse.stores.all()]
        keyed = tollhouse.keyring.keyed
    warnings = (
        []
        if keyed
        else [
            "no secret is set: sessions refuse to open, and key digests can be guessed; set TOLLHOUSE_SECRET",
        ]
    )
    return Checked(ok=all(store.problem is None for store in stores), stores=stores, warnings=warnings)


async def _ask(store: AnyStore) -> StoreCheck:
    place = store.url.shown()
    try:
        round_trip_ms = await store.ping()
    except StoreError as error:
        return StoreCheck(store=store.name, place=place, server=None, role=None, round_trip_ms=None, problem=str(error))
    server = store.server
    assert server is not None
    return StoreCheck(
        store=store.name,
        place=place,
        server=f"{server.software} {server.version}",
        role=server.role,
        round_trip_ms=round(round_trip_ms, 3),
        problem=None,
    )


def _show(checked: Checked) -> None:
    table = Table("store", "place", "server", "role", "round trip")
    for store in checked.stores:
        far = "-" if store.round_trip_ms is None else f"{store.round_trip_ms:.2f} ms"
        table.add_row(store.store, store.place, store.server or "down", store.role or "-", far)
    console = Console()
    console.print(table)
    for store in checked.stores:
        if store.problem is not None:
            console.print(f"{store.store}: {store.problem}", markup=False)
    for warning in checked.warnings:
        console.print(f"warning: {warning}", markup=False)
