"""`tollhouse limits`: check policies before they hold, and look at what is counted under them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from msgspec import Struct
from rich_click import RichCommand, RichGroup

from tollhouse import wiring
from tollhouse.cli import limits_output as tables
from tollhouse.cli.service_file import load_for_running_service
from tollhouse.errors import ConfigurationError
from tollhouse.limits.decision import Decision
from tollhouse.limits.inspect.explain import Explanation, examine
from tollhouse.limits.inspect.lint import LintReport, lint, problem
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import policies_from_settings
from tollhouse.limits.policy.policy import Policy
from tollhouse.settings import PolicySettings, load, settings_file
from tollhouse.wiring import Tollhouse

T = TypeVar("T")

_config = click.option(
    "--config", type=click.Path(path_type=Path), help="Settings file; tollhouse.toml, else that of a running service."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_cost = click.option("--cost", type=int, help="Units that the take wants; the policy's own unless given.")


class ResetResult(Struct, frozen=True, kw_only=True):
    """What `reset --json` prints."""

    policy: str
    key: str
    reset: bool


@click.group(cls=RichGroup)
def limits() -> None:
    """Check policies before they hold, and look at what is counted under them.

    Without a URL the commands join the service that `tollhouse serve` runs for this user.
    """


@limits.command("lint", cls=RichCommand)
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--limit", help="Check this instead of a file, such as `5/second; 100/minute`.")
@click.option("--algorithm", default="sliding-window", show_default=True, help="The algorithm for --limit.")
@_json
def check_policies(*, file: Path | None, limit: str | None, algorithm: str, as_json: bool) -> None:
    """Check a settings FILE, or one limit: exit code 0 if it can be used, else 1.

    It prints each policy in its canonical form, how much is stored of one subject at most, and what is worth a second
    look. FILE is tollhouse.toml unless given; variables are read too.
    """
    if limit is not None and file is not None:
        raise click.UsageError("give a FILE or --limit, not both")
    linted = _lint_file(file) if limit is None else lint({"limit": PolicySettings(limit=limit, algorithm=algorithm)})
    _print(linted, tables.show_lint, as_json=as_json)
    sys.exit(0 if linted.ok else 1)


@limits.command("list", cls=RichCommand)
@_config
@_json
def list_policies(*, config: Path | None, as_json: bool) -> None:
    """List the policies that hold, the built-in ones among them."""
    policies = policies_from_settings(load_for_running_service(os.environ, config))
    _print(tables.policy_rows(policies.values()), tables.show_list, as_json=as_json)


@limits.command(cls=RichCommand)
@click.argument("policy")
@click.argument("key")
@_cost
@_config
@_json
def peek(*, policy: str, key: str, cost: int | None, config: Path | None, as_json: bool) -> None:
    """Tell what a take of KEY would find, and change nothing: exit code 0 if it would be admitted, else 1."""

    async def ask(tollhouse: Tollhouse) -> Decision:
        return await tollhouse.limits.peek(policy, key, cost)

    decision = _query(config, ask)
    _print(decision, tables.show_decision, as_json=as_json)
    sys.exit(0 if decision.allowed else 1)


@limits.command(cls=RichCommand)
@click.argument("policy")
@click.argument("key")
@_config
@_json
def reset(*, policy: str, key: str, config: Path | None, as_json: bool) -> None:
    """Forget what KEY took under POLICY, at once and without asking; it says whether there was anything."""

    async def ask(tollhouse: Tollhouse) -> ResetResult:
        return ResetResult(policy=policy, key=key, reset=await tollhouse.limits.reset(policy, key))

    def show(done: ResetResult) -> None:
        forgotten = "what was counted is forgotten" if done.reset else "nothing was counted"
        click.echo(f"{key!r} under {policy}: {forgotten}")

    _print(_query(config, ask), show, as_json=as_json)


@limits.command("explain", cls=RichCommand)
@click.argument("policy")
@click.argument("key")
@_cost
@click.option("--limit", help="What if this were the limit? Such as `200/minute`; what is counted stays.")
@click.option("--algorithm", help="What if takes were counted so?")
@_config
@_json
def explain_key(
    *, policy: str, key: str, cost: int | None, config: Path | None, as_json: bool, **other: str | None
) -> None:
    """Tell why KEY is admitted or refused under POLICY, by which limit, until when, and how each window stands.

    It changes nothing. Times are local ones.
    """

    async def ask(tollhouse: Tollhouse) -> Explanation:
        def limiter(policies: Mapping[str, Policy]) -> Limiter:
            return Limiter(tollhouse.stores.limits, policies, tollhouse.keyring, tollhouse.metrics)

        return await examine(limiter, tollhouse.policies, policy, key, cost, clock=_local_time, **other)

    _print(_query(config, ask), tables.show_explanation, as_json=as_json)


def _lint_file(file: Path | None) -> LintReport:
    """Check the policies of a file, and whatever else is in it."""
    found = settings_file(os.environ, file)
    try:
        settings = load(os.environ, found)
    except ConfigurationError as error:
        return LintReport(ok=False, problems=(problem(error),))
    return lint(settings.limits.policies)


def _query(config: Path | None, ask: Callable[[Tollhouse], Awaitable[T]]) -> T:
    """Ask the stores of the settings, or of the running service."""

    async def asked() -> T:
        async with wiring.open(load_for_running_service(os.environ, config)) as tollhouse:
            if not tollhouse.keyring.keyed:
                click.echo("warning: no secret is set; a service that has one counts under other names", err=True)
            return await ask(tollhouse)

    return asyncio.run(asked())


def _local_time() -> datetime:
    return datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1_000, UTC).astimezone()


def _print(value: T, show: Callable[[T], Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(value))
    else:
        show(value)
