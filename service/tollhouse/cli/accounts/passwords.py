"""`tollhouse accounts passwords`: a filter of leaked passwords, and what is wrong with one password."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path
from typing import Final

import click
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich_click import RichCommand, RichGroup

from tollhouse.accounts.blocklist.filter_builder import FALSE_POSITIVES, build_filter
from tollhouse.accounts.blocklist.weakness import RULES
from tollhouse.accounts.rules import password_bytes
from tollhouse.cli.query import CONFIG, JSON, print_line, print_result
from tollhouse.cli.service_file import load_for_running_service
from tollhouse.wiring.features import password_rules

_SUFFIX: Final = ".filter"


class FilterReport(Struct, frozen=True, kw_only=True):
    """The output of `passwords build --json`: the file, its size, and what it promises."""

    file: str
    file_bytes: int
    entries: int
    skipped: int
    digests: bool
    false_positives: float


class PasswordCheck(Struct, frozen=True, kw_only=True):
    """The output of `passwords check --json`: the rules that the password breaks; none if it can be used."""

    rules: tuple[str, ...]


@click.group(cls=RichGroup)
def passwords() -> None:
    """Build a filter of leaked passwords, or check one password."""


@passwords.command("build", cls=RichCommand)
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="The filter to write (default: FILE.filter)."
)
@click.option(
    "--false-positives",
    type=click.FloatRange(1e-9, 0.1),
    default=FALSE_POSITIVES,
    show_default=True,
    help="Share of other passwords that are refused, too. A tenth of it makes the filter a quarter larger.",
)
@JSON
def build_passwords(*, source: Path, output: Path | None, false_positives: float, as_json: bool) -> None:
    """Write a filter of the passwords in FILE, for the setting `password_filter`.

    A line is a password, or its SHA-1 digest in hexadecimal digits and perhaps `:COUNT`. The filter takes the place of
    an older one as a whole, and services with the setting use it from then on.
    """
    target = source.with_name(source.name + _SUFFIX) if output is None else output
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("building", total=source.stat().st_size)
        built = build_filter(source, target, false_positives, lambda size: progress.advance(task, size))
    head = built.head
    result = FilterReport(
        file=str(target),
        file_bytes=head.file_bytes,
        entries=head.entries,
        skipped=built.skipped,
        digests=built.digests,
        false_positives=head.false_positives(),
    )
    print_result(result, _show_built, as_json=as_json)


@passwords.command("check", cls=RichCommand)
@CONFIG
@click.option("--name", default="", help="Name of the account, whose words the password may not be made of.")
@JSON
def check_password(*, config: Path | None, name: str, as_json: bool) -> None:
    """Print what is wrong with a password: exit code 0 if it can be used, else 1.

    The password is read from the terminal without echo, or is the first line of standard input.
    """
    settings = load_for_running_service(os.environ, config)
    password = click.prompt("password", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    password_bytes(password)
    checked = PasswordCheck(rules=password_rules(settings).broken(unicodedata.normalize("NFC", password), name))
    print_result(checked, _show_checked, as_json=as_json)
    sys.exit(1 if checked.rules else 0)


def _show_built(built: FilterReport) -> None:
    kind = "digests" if built.digests else "passwords"
    console = Console()
    print_line(console, f"{built.file}: {built.entries:,} {kind} in {built.file_bytes:,} bytes")
    print_line(console, f"false positives {built.false_positives:.2g}; lines left out: {built.skipped:,}")
    print_line(console, f"set TOLLHOUSE_PASSWORD_FILTER={built.file}")


def _show_checked(checked: PasswordCheck) -> None:
    console = Console()
    for rule in checked.rules:
        print_line(console, f"{rule}: {RULES[rule]}")
    if not checked.rules:
        print_line(console, "the password can be used")
