"""`tollhouse limits`: check policies before they are used, and inspect what is counted under them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click
from msgspec import Struct
from rich_click import RichCommand, RichGroup

from tollhouse import wiring
from tollhouse.cli import limits_output as tables
from tollhouse.cli.query import CONFIG, JSON, print_result, query
from tollhouse.cli.service_file import load_for_running_service
from tollhouse.errors import ConfigurationError
from tollhouse.limits.inspect.explain import Explanation, examine
from tollhouse.limits.inspect.lint import LintReport, lint, problem
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import policies_from_settings
from tollhouse.limits.policy.policy import Policy
from tollhouse.settings import naming, read, settings_file
from tollhouse.settings.model import PolicySettings
from tollhouse.wiring import Tollhouse

_cost = click.option("--cost", type=int, help="Units to take (default: the policy's own cost).")


class ResetResult(Struct, frozen=True, kw_only=True):
    """The output of `reset --json`."""

    policy: str
    key: str
    reset: bool


@click.group(cls=RichGroup)
def limits() -> None:
    """Check policies before they are used, and inspect what is counted under them.

    Without a URL the commands use the stores of the service that `tollhouse serve` runs for this user.
    """


@limits.command("lint", cls=RichCommand)
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--limit", help="Check this instead of a file, such as `5/second; 100/minute`.")
@click.option("--algorithm", default="sliding-window", show_default=True, help="The algorithm for --limit.")
@JSON
def check_policies(*, file: Path | None, limit: str | None, algorithm: str, as_json: bool) -> None:
    """Check a settings FILE, or one limit: exit code 0 if it can be used, else 1.

    It prints each policy in canonical form, the bytes stored per subject at most, and warnings and notes. FILE is
    tollhouse.toml by default; environment variables apply too.
    """
    if limit is not None and file is not None:
        raise click.UsageError("give a FILE or --limit, not both")
    linted = _lint_file(file) if limit is None else _lint_notation(limit, algorithm)
    print_result(linted, tables.show_lint, as_json=as_json)
    sys.exit(0 if linted.ok else 1)


@limits.command("list", cls=RichCommand)
@CONFIG
@JSON
def list_policies(*, config: Path | None, as_json: bool) -> None:
    """List the policies in force, including built-in ones."""
    policies = policies_from_settings(load_for_running_service(os.environ, config))
    print_result(tables.policy_rows(policies.values()), tables.show_list, as_json=as_json)


@limits.command(cls=RichCommand)
@click.argument("policy")
@click.argument("key")
@_cost
@CONFIG
@JSON
def peek(*, policy: str, key: str, cost: int | None, config: Path | None, as_json: bool) -> None:
    """Show the decision that a take of KEY would get, and change nothing: exit code 0 if allowed, else 1."""
    decision = query(config, lambda tollhouse: tollhouse.limits.peek(policy, key, cost))
    print_result(decision, tables.show_decision, as_json=as_json)
    sys.exit(0 if decision.allowed else 1)


@limits.command(cls=RichCommand)
@click.argument("policy")
@click.argument("key")
@CONFIG
@JSON
def reset(*, policy: str, key: str, config: Path | None, as_json: bool) -> None:
    """Delete what is counted for KEY under POLICY, without confirmation."""

    def show(done: ResetResult) -> None:
        outcome = "its counters are reset" if done.reset else "nothing was counted"
        click.echo(f"{key!r} under {policy}: {outcome}")

    done = query(config, lambda tollhouse: tollhouse.limits.reset(policy, key))
    print_result(ResetResult(policy=policy, key=key, reset=done), show, as_json=as_json)


@limits.command("explain", cls=RichCommand)
@click.argument("policy")
@click.argument("key")
@_cost
@click.option("--limit", help="Explain another limit, such as `200/minute`, with the same counters.")
@click.option("--algorithm", help="Explain another algorithm.")
@CONFIG
@JSON
def explain_key(
    *, policy: str, key: str, cost: int | None, config: Path | None, as_json: bool, **other: str | None
) -> None:
    """Explain why KEY is allowed or refused under POLICY, by which limit, until when, and the state of each window.

    It changes nothing. Times are local.
    """

    async def ask(tollhouse: Tollhouse) -> Explanation:
        def limiter(policies: Mapping[str, Policy]) -> Limiter:
            store, keyring, metrics = tollhouse.stores.limits, tollhouse.keyring, tollhouse.metrics
            return Limiter(store, policies, keyring, metrics, namespace=tollhouse.namespace)

        return await examine(limiter, tollhouse.policies, policy, key, cost, clock=_local_time, **other)

    print_result(query(config, ask), tables.show_explanation, as_json=as_json)


def _lint_file(file: Path | None) -> LintReport:
    """Check all settings of a file, its policies included."""
    path = settings_file(os.environ, file)
    try:
        found = read(os.environ, path)
        with naming(found.origins):
            wiring.store_urls(found.settings)
    except ConfigurationError as error:
        return LintReport(ok=False, problems=(problem(error),))
    limits, bits = found.settings.limits, found.settings.ipv6_prefix_bits
    return lint(limits.policies, ipv6_prefix_bits=bits, origins=found.origins)


def _lint_notation(limit: str, algorithm: str) -> LintReport:
    """Check one limit, as the only one of a policy."""
    origins = {"limits.policies.limit.limit": "--limit", "limits.policies.limit.algorithm": "--algorithm"}
    return lint({"limit": PolicySettings(limit=limit, algorithm=algorithm)}, origins=origins)


def _local_time() -> datetime:
    return datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1_000, UTC).astimezone()
