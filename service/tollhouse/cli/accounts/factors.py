"""`tollhouse accounts factors`: what an operator sees of the factors of a user, and removes if all are lost."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from msgspec import Struct
from rich.console import Console
from rich_click import RichCommand

from tollhouse.accounts.factors.outcomes import FactorsRemoved
from tollhouse.accounts.names import canonical
from tollhouse.cli.query import CONFIG, JSON, accounts_of, print_line, print_result, query, require_secret
from tollhouse.wiring import Tollhouse


class FactorReport(Struct, frozen=True, kw_only=True):
    """The output with `--json`: the second factors that the account has, or had if `done` says that they are removed.

    `removed` counts the sessions that ended. Without an account `known` is false.
    """

    store: str
    user: str
    known: bool = False
    done: bool = False
    totp: bool = False
    recovery_codes: int = 0
    passkeys: int = 0
    removed: int = 0
    durable: bool = False


@click.command("factors", cls=RichCommand)
@click.argument("user")
@click.option("--remove", is_flag=True, help="Remove them all, and end the sessions of the user.")
@CONFIG
@JSON
def factors(*, user: str, remove: bool, config: Path | None, as_json: bool) -> None:
    """Count the second factors of USER, or remove them all; exit code 1 if there is no account.

    Removing is for a user who has lost all of them: check first who asks for it, as closely as at the sign-up. From
    then on the password alone opens the account.
    """

    async def ask(tollhouse: Tollhouse) -> FactorReport:
        require_secret(tollhouse)
        return await (_removed(tollhouse, user) if remove else _counted(tollhouse, user))

    report = query(config, ask)
    print_result(report, _show, as_json=as_json)
    sys.exit(0 if report.known else 1)


async def _counted(tollhouse: Tollhouse, user: str) -> FactorReport:
    name, store = canonical(user), accounts_of(tollhouse)
    found = await tollhouse.accounts.factors.overview(name)
    if found is None:
        return FactorReport(store=store, user=name)
    return FactorReport(
        store=store,
        user=name,
        known=True,
        totp=found.totp,
        recovery_codes=found.recovery_codes_left,
        passkeys=found.passkeys,
    )


async def _removed(tollhouse: Tollhouse, user: str) -> FactorReport:
    store = accounts_of(tollhouse)
    match await tollhouse.accounts.remove_factors(user):
        case FactorsRemoved() as had:
            return FactorReport(
                store=store,
                user=had.user,
                known=True,
                done=True,
                totp=had.totp,
                recovery_codes=had.recovery_codes,
                passkeys=had.passkeys,
                removed=had.removed,
                durable=had.durable,
            )
        case _:
            return FactorReport(store=store, user=canonical(user))


def _show(report: FactorReport) -> None:
    console = Console()
    print_line(console, f"accounts: {report.store}")
    if not report.known:
        print_line(console, f"{report.user}: there is no account of this name")
        return
    totp = "one-time passwords" if report.totp else "no one-time passwords"
    print_line(console, f"{report.user}: {totp}, recovery codes: {report.recovery_codes}, passkeys: {report.passkeys}")
    if report.done:
        print_line(console, f"all of these are removed; sessions ended: {report.removed}")
