"""`tollhouse demo`: a short tour over HTTP, against a service and a Valkey that it starts and stops."""

from __future__ import annotations

import asyncio
import secrets
import sys
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich_click import RichCommand

from tollhouse.ai.langid import langid
from tollhouse.cli.tour import TourStep, take_tour
from tollhouse.drill.clients.service_process import run_service
from tollhouse.extras import pip_line
from tollhouse.settings.model import LimitSettings, PolicySettings, Settings

_NO_MODEL: Final = f"AI results, which need py3langid: {pip_line('tollhouse[demo]')}"
_POLICIES = {"demo": PolicySettings(limit="5/second; 100/minute")}


@click.command(cls=RichCommand)
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON object.")
def demo(as_json: bool) -> None:  # noqa: FBT001 - click gives it
    """Sign up, log in, reach a limit and recover, ask an AI model twice, revoke a session: exit code 0 or 1.

    It takes some seconds. It starts its own service on a free port and stops it; your data are not touched. If the AI
    model is not installed, it leaves that part out.
    """
    left_out = [] if langid() else [_NO_MODEL]
    steps = asyncio.run(_run(quiet=as_json, ask_model=not left_out))
    ok = all(step.ok for step in steps)
    if as_json:
        click.echo(msgspec.json.encode({"ok": ok, "steps": steps, "left_out": left_out}))
    else:
        _show(steps, left_out, ok=ok)
    sys.exit(0 if ok else 1)


async def _run(*, quiet: bool, ask_model: bool) -> list[TourStep]:
    """Take the tour of a service with its own settings only; print each step to stderr as it happens."""
    console = Console(stderr=True, quiet=quiet)
    steps: list[TourStep] = []
    settings = Settings(secret=(secrets.token_hex(32).encode(),), limits=LimitSettings(policies=_POLICIES))
    async with run_service(settings) as service:
        async for step in take_tour(service.address, service.key, ask_model=ask_model):
            console.print(f"{'ok  ' if step.ok else 'FAIL'}  {step.name}: {step.saw}", markup=False)
            steps.append(step)
    return steps


def _show(steps: list[TourStep], left_out: list[str], *, ok: bool) -> None:
    table = Table("step", "expected", "seen", "ok")
    for step in steps:
        table.add_row(step.name, step.expected, step.saw, "yes" if step.ok else "NO")
    console = Console()
    console.print(table)
    for part in left_out:
        console.print(f"Left out: {part}", markup=False)
    console.print("All steps passed." if ok else "A step failed.")
