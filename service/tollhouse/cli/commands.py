"""Every command of `tollhouse`, and what its errors come to: one line, and an exit code."""

from __future__ import annotations

import sys
from typing import Final

import click
from rich_click import RichGroup

from tollhouse.cli.accounts.commands import accounts
from tollhouse.cli.cache import cache
from tollhouse.cli.check import check
from tollhouse.cli.demo import demo
from tollhouse.cli.drill import drill
from tollhouse.cli.limits import limits
from tollhouse.cli.serve import serve
from tollhouse.cli.sessions.commands import sessions
from tollhouse.errors import ConfigurationError, InvalidInput, StoreError
from tollhouse.pages import page_path

_SETTINGS: Final = (
    "Settings are read from tollhouse.toml in this folder and from variables, such as "
    f"TOLLHOUSE_URL=redis://localhost:6379/0. All of them are in {page_path('settings')}"
)


@click.group(cls=RichGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_SETTINGS)
@click.version_option(package_name="tollhouse")
def cli() -> None:
    """Sessions, rate limits and cached results, on Redis and Valkey."""


for command in (serve, check, demo, limits, cache, sessions, accounts, drill):
    cli.add_command(command)


def run() -> None:
    """Run a command. A wrong setting or value is one line and exit code 2; a store that fails, exit code 1."""
    try:
        cli.main(prog_name="tollhouse")
    except (ConfigurationError, InvalidInput, StoreError) as error:
        click.echo(f"tollhouse: {error}", err=True)
        sys.exit(2 if isinstance(error, ConfigurationError | InvalidInput) else 1)
