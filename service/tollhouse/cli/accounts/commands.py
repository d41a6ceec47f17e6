"""`tollhouse accounts`: add, disable and delete accounts; which secrets they need; which passwords are refused."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click
from msgspec import Struct
from rich.console import Console
from rich_click import RichCommand, RichGroup

from tollhouse.accounts.credentials.secret_uses import count_secret_uses
from tollhouse.cli.accounts import administration
from tollhouse.cli.accounts.calibrate import calibrate
from tollhouse.cli.accounts.factors import factors
from tollhouse.cli.accounts.passwords import passwords
from tollhouse.cli.query import CONFIG, JSON, accounts_of, print_line, print_result, query, require_secret
from tollhouse.wiring import Tollhouse


class SecretUses(Struct, frozen=True, kw_only=True):
    """The output of `secrets --json`: accounts by the key id of the secret that they need, and the secrets in use."""

    store: str
    key_ids: tuple[str, ...]
    accounts: Mapping[str, int]

    @property
    def is_rotated(self) -> bool:
        """Whether no account needs another secret than the newest."""
        return not self.accounts.keys() - set(self.key_ids[:1])


@click.group(cls=RichGroup)
def accounts() -> None:
    """Add, disable, enable and delete accounts, set a password, remove lost factors, and show secrets and passwords."""


accounts.add_command(passwords)
for _command in administration.COMMANDS:
    accounts.add_command(_command)
accounts.add_command(factors)
accounts.add_command(calibrate)


@accounts.command("secrets", cls=RichCommand)
@CONFIG
@JSON
def count_secrets(*, config: Path | None, as_json: bool) -> None:
    """Count accounts by the secret that they need: exit code 0 if none needs an older one, which can go then; else 1.

    An account moves to the newest secret when its user logs in. All keys of the database are looked at, in small steps.
    Without a URL the command uses the store of the service that `tollhouse serve` runs for this user. It needs the
    secrets of the service.
    """

    async def ask(tollhouse: Tollhouse) -> SecretUses:
        require_secret(tollhouse)
        uses = await count_secret_uses(tollhouse.stores.accounts, tollhouse.namespace)
        return SecretUses(store=accounts_of(tollhouse), key_ids=tollhouse.keyring.key_ids(), accounts=uses)

    found = query(config, ask)
    print_result(found, _show, as_json=as_json)
    sys.exit(0 if found.is_rotated else 1)


def _show(found: SecretUses) -> None:
    console, (newest, *older) = Console(), found.key_ids
    print_line(console, f"accounts by the key ids of their secrets: {found.store}")
    for key_id in dict.fromkeys((*found.key_ids, *sorted(found.accounts))):
        what = "the newest" if key_id == newest else "an older one"
        known = what if key_id in (newest, *older) else "not set here: these users cannot log in"
        print_line(console, f"{key_id}: {found.accounts.get(key_id, 0):,} ({known})")
