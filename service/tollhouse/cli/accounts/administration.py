"""`tollhouse accounts add|disable|enable|delete|password`: what an operator does with the account of a user.

A password is never an argument, which a list of processes would show: it is read from standard input, and from a
terminal without echo, twice.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import click
from msgspec import Struct
from rich.console import Console
from rich_click import RichCommand

from tollhouse.accounts.outcomes import AccountCreated, AccountDeleted, PasswordChanged
from tollhouse.accounts.rules import PASSWORD_BYTES_MAX
from tollhouse.cli.query import CONFIG, JSON, accounts_of, print_line, print_result, query, require_secret
from tollhouse.wiring import Tollhouse


class AccountReport(Struct, frozen=True, kw_only=True):
    """The output of a command with `--json`: what was done to which account; `removed` counts the sessions that ended.

    With `done` false nothing was changed, and the exit code is 1.
    """

    store: str
    user: str
    action: str
    done: bool
    removed: int = 0
    durable: bool = False


@click.command("add", cls=RichCommand)
@click.argument("user")
@CONFIG
@JSON
def add_account(*, user: str, config: Path | None, as_json: bool) -> None:
    """Add an account for USER; exit code 1 if the name is taken. The password is read from standard input."""
    password = _read_password()

    async def act(tollhouse: Tollhouse) -> AccountReport:
        made = await tollhouse.accounts.add_account(user, password)
        durable = isinstance(made, AccountCreated) and made.durable
        return _report(tollhouse, made.user, "added", done=isinstance(made, AccountCreated), durable=durable)

    _run(config, act, as_json=as_json)


@click.command("password", cls=RichCommand)
@click.argument("user")
@CONFIG
@JSON
def set_account_password(*, user: str, config: Path | None, as_json: bool) -> None:
    """Set another password for the account of USER, and end its sessions; exit code 1 if there is no account.

    The password is read from standard input.
    """
    password = _read_password()

    async def act(tollhouse: Tollhouse) -> AccountReport:
        match await tollhouse.accounts.set_password(user, password):
            case PasswordChanged() as changed:
                return _report(tollhouse, user, "password changed", removed=changed.removed, durable=changed.durable)
            case _:
                return _report(tollhouse, user, "password changed", done=False)

    _run(config, act, as_json=as_json)


@click.command("disable", cls=RichCommand)
@click.argument("user")
@CONFIG
@JSON
def disable_account(*, user: str, config: Path | None, as_json: bool) -> None:
    """Disable USER, with the account if there is one: no factor opens it, and all sessions end."""

    async def act(tollhouse: Tollhouse) -> AccountReport:
        result = await tollhouse.accounts.disable(user)
        return _report(tollhouse, user, "disabled", removed=result.removed, durable=result.durable)

    _run(config, act, as_json=as_json)


@click.command("enable", cls=RichCommand)
@click.argument("user")
@CONFIG
@JSON
def enable_account(*, user: str, config: Path | None, as_json: bool) -> None:
    """Enable USER, with the account if there is one; the sessions of before stay over."""

    async def act(tollhouse: Tollhouse) -> AccountReport:
        result = await tollhouse.accounts.enable(user)
        return _report(tollhouse, user, "enabled", durable=result.durable)

    _run(config, act, as_json=as_json)


@click.command("delete", cls=RichCommand)
@click.argument("user")
@CONFIG
@JSON
def delete_account(*, user: str, config: Path | None, as_json: bool) -> None:
    """Delete the account of USER, and end its sessions; exit code 1 if there is none."""

    async def act(tollhouse: Tollhouse) -> AccountReport:
        match await tollhouse.accounts.delete_account(user):
            case AccountDeleted() as deleted:
                return _report(tollhouse, user, "deleted", removed=deleted.removed, durable=deleted.durable)
            case _:
                return _report(tollhouse, user, "deleted", done=False)

    _run(config, act, as_json=as_json)


COMMANDS: Final = (add_account, set_account_password, disable_account, enable_account, delete_account)


def _run(config: Path | None, act: Callable[[Tollhouse], Awaitable[AccountReport]], *, as_json: bool) -> None:
    async def ask(tollhouse: Tollhouse) -> AccountReport:
        require_secret(tollhouse)
        return await act(tollhouse)

    report = query(config, ask)
    print_result(report, _show, as_json=as_json)
    sys.exit(0 if report.done else 1)


def _report(
    tollhouse: Tollhouse, user: str, action: str, *, done: bool = True, removed: int = 0, durable: bool = False
) -> AccountReport:
    store = accounts_of(tollhouse)
    return AccountReport(store=store, user=user, action=action, done=done, removed=removed, durable=durable)


def _show(report: AccountReport) -> None:
    console = Console()
    print_line(console, f"accounts: {report.store}")
    if not report.done:
        reason = "the name is taken" if report.action == "added" else "there is no account of this name"
        print_line(console, f"{report.user}: not {report.action}: {reason}")
        return
    print_line(console, f"{report.user}: {report.action}; sessions ended: {report.removed}")


def _read_password() -> str:
    """Return the password: a line of standard input, or what is typed at a terminal, twice."""
    if sys.stdin.isatty():
        typed: str = click.prompt("password", hide_input=True, confirmation_prompt=True)
        return typed
    return sys.stdin.readline(PASSWORD_BYTES_MAX + 2).rstrip("\r\n")
