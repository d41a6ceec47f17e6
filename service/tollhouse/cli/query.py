"""Queries of commands: on the stores of the settings, or on those of the service that runs for this user."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec
from rich.console import Console

from tollhouse import wiring
from tollhouse.cli.service_file import load_for_running_service
from tollhouse.errors import ConfigurationError
from tollhouse.settings import Settings
from tollhouse.stores.status import place_of
from tollhouse.wiring import Tollhouse

T = TypeVar("T")

CONFIG: Final = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Settings file (default: tollhouse.toml, else that of the running service).",
)
JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

_NO_SERVER: Final = "warning: no server is set, and no service of this user runs: this is a new one; set TOLLHOUSE_URL"
_UNSET: Final = "give the secret of the service, in TOLLHOUSE_SECRET_FILE for example: nothing is found without"
_UNKEYED: Final = "warning: no secret is set; a service with a secret uses other key names"


def imported_on_use(_: Settings) -> None:
    """Return none: the models of the settings are imported if they are used."""


def query(
    config: Path | None,
    ask: Callable[[Tollhouse], Awaitable[T]],
    models: Callable[[Settings], Any] = imported_on_use,
    *,
    warns: bool = True,
) -> T:
    """Return what `ask` returns on the stores of the settings, or of the running service, with these models.

    It `warns` if these may not be the stores of a service; a second query of one command need not.
    """

    async def run() -> T:
        settings = load_for_running_service(os.environ, config)
        async with wiring.open(settings, models=models(settings)) as tollhouse:
            if warns:
                _warn(settings, tollhouse)
            return await ask(tollhouse)

    return asyncio.run(run())


def _warn(settings: Settings, tollhouse: Tollhouse) -> None:
    if settings.url == "embedded://" and not any(settings.store_urls().values()):
        click.echo(_NO_SERVER, err=True)
    elif not tollhouse.keyring.keyed:
        click.echo(_UNKEYED, err=True)


def cache_of(tollhouse: Tollhouse) -> str:
    """Return which cache a command uses: its store, without credentials, and the first words of its key names."""
    names = f"{tollhouse.settings.cache.key_prefix}:…"
    return f"{place_of(tollhouse.stores.cache)}, keys {names}{_namespace(tollhouse)}"


def sessions_of(tollhouse: Tollhouse) -> str:
    """Return which sessions a command uses: their store, without credentials, and the namespace."""
    return f"{place_of(tollhouse.stores.sessions)}{_namespace(tollhouse)}"


def accounts_of(tollhouse: Tollhouse) -> str:
    """Return which accounts a command uses: their store, without credentials, and the namespace."""
    return f"{place_of(tollhouse.stores.accounts)}{_namespace(tollhouse)}"


def require_secret(tollhouse: Tollhouse) -> None:
    """Raise ConfigurationError if there is no secret: what a service has stored under one is not found then."""
    if not tollhouse.keyring.keyed:
        raise ConfigurationError("TOLLHOUSE_SECRET", None, _UNSET)


def print_result(value: T, render: Callable[[T], Any], *, as_json: bool) -> None:
    """Print a value as JSON, or as `render` does."""
    if as_json:
        click.echo(msgspec.json.encode(value))
    else:
        render(value)


def print_line(console: Console, sentence: str) -> None:
    """Print a line without wrapping it, so that it can be searched and copied."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _namespace(tollhouse: Tollhouse) -> str:
    return f", namespace {tollhouse.namespace.name}" if tollhouse.namespace.name else ""
