"""`tollhouse demo`: a short tour over HTTP, against a service and a Valkey that it starts and stops."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich_click import RichCommand

from tollhouse.cli.serve import StartupInfo
from tollhouse.cli.tour import TourStep, take_tour
from tollhouse.errors import ConfigurationError

_STOP_S = 10
_SETTINGS = """\
[limits.policies.demo]
limit = "5/second; 100/minute"
"""


class _Key(msgspec.Struct, frozen=True, kw_only=True):
    admin_key: tuple[str, ...]


@click.command(cls=RichCommand)
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON object.")
def demo(as_json: bool) -> None:  # noqa: FBT001 - click gives it
    """Sign up, log in, reach a limit and recover, ask an AI model twice, revoke a session: exit code 0 or 1.

    It takes some seconds. It starts its own service on a free port and stops it; your data are not touched.
    """
    with _service() as (address, admin_key):
        steps = list(_reported(take_tour(address, admin_key), quiet=as_json))
    ok = bool(steps) and all(step.ok for step in steps)
    if as_json:
        click.echo(msgspec.json.encode({"ok": ok, "steps": steps}))
    else:
        _show(steps, ok=ok)
    sys.exit(0 if ok else 1)


@contextmanager
def _service() -> Generator[tuple[str, str]]:
    """Run `tollhouse serve` with its own settings only; yield its address and its admin key."""
    with tempfile.TemporaryDirectory(prefix="th-") as folder:
        settings = Path(folder) / "tollhouse.toml"
        settings.write_text(_SETTINGS)
        environment = {name: value for name, value in os.environ.items() if not _is_setting(name)}
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "tollhouse", "serve", "--json", "--plain-http", "--port", "0", "--config", settings],
            env={**environment, "XDG_RUNTIME_DIR": folder},
            stdout=subprocess.PIPE,
            stderr=(Path(folder) / "log").open("wb"),
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                output = (Path(folder) / "log").read_text(errors="replace").strip()
                raise ConfigurationError("demo", None, f"the service did not start: {output[-500:]}")
            startup = msgspec.json.decode(line, type=StartupInfo)
            assert startup.admin_key_file is not None
            key = msgspec.json.decode(Path(startup.admin_key_file).read_bytes(), type=_Key)
            yield startup.address, key.admin_key[0]
        finally:
            process.terminate()
            process.wait(_STOP_S)
            if process.stdout is not None:
                process.stdout.close()


def _is_setting(name: str) -> bool:
    return name.startswith(("TOLLHOUSE_", "REDIS_", "CACHE_"))


def _reported(steps: Iterator[TourStep], *, quiet: bool) -> Iterator[TourStep]:
    """Print each step to stderr as it happens, and yield it."""
    console = Console(stderr=True, quiet=quiet)
    for step in steps:
        console.print(f"{'ok  ' if step.ok else 'FAIL'}  {step.name}: {step.saw}", markup=False)
        yield step


def _show(steps: list[TourStep], *, ok: bool) -> None:
    table = Table("step", "expected", "seen", "ok")
    for step in steps:
        table.add_row(step.name, step.expected, step.saw, "yes" if step.ok else "NO")
    console = Console()
    console.print(table)
    console.print("All steps passed." if ok else "A step failed.")
