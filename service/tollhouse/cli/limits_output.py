"""Sentences and tables that `tollhouse limits` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct
from rich.console import Console
from rich.table import Column, Table

from tollhouse.cli.query import print_line
from tollhouse.limits.decision import Decision
from tollhouse.limits.inspect.explain import Explanation, PolicyVerdict
from tollhouse.limits.inspect.lint import LintReport
from tollhouse.limits.policy.policy import Limit, Policy


class PolicyRow(Struct, frozen=True, kw_only=True):
    """A policy in a list; only the lengths of its allow and deny lists, because entries may be names."""

    policy: str
    limit: str
    algorithm: str
    on_outage: str
    shadow: bool
    shadow_of: str | None
    cost: int
    key: str | None
    allow_entries: int
    deny_entries: int
    lease: str


class PolicyRows(Struct, frozen=True, kw_only=True):
    """The output of `list --json`."""

    policies: tuple[PolicyRow, ...]


def policy_rows(policies: Iterable[Policy]) -> PolicyRows:
    """Return a row for each policy, sorted by name."""
    return PolicyRows(
        policies=tuple(
            PolicyRow(
                policy=policy.name,
                limit=policy.text,
                algorithm=policy.algorithm,
                on_outage=policy.on_outage,
                shadow=policy.shadow,
                shadow_of=policy.shadow_of,
                cost=policy.cost,
                key=policy.key,
                allow_entries=len(policy.allow),
                deny_entries=len(policy.deny),
                lease=policy.lease,
            )
            for policy in sorted(policies, key=lambda policy: policy.name)
        )
    )


def show_list(rows: PolicyRows) -> None:
    """Print policies, each limit on its own line, and the options of a policy that are not the defaults."""
    whole = (Column(name, no_wrap=True) for name in ("policy", "limit", "algorithm", "outage"))
    table = Table(*whole, Column("and", overflow="fold"))
    for row in rows.policies:
        table.add_row(row.policy, _in_lines(row.limit), row.algorithm, row.on_outage, ", ".join(_traits(row)))
    Console().print(table)


def _traits(one: PolicyRow) -> Iterator[str]:
    if one.shadow:
        yield "shadow" if one.shadow_of is None else f"shadow of {one.shadow_of}"
    if one.cost != 1:
        yield f"cost {one.cost:,}"
    if one.key is not None:
        yield f"key {one.key}"
    if one.lease != "off":
        yield f"lease {one.lease}"
    for many, what in ((one.allow_entries, "allowed"), (one.deny_entries, "denied")):
        if many:
            yield f"{many:,} {what}"


def _in_lines(limits: str) -> str:
    return limits.replace("; ", "\n")


def show_lint(linted: LintReport) -> None:
    """Print problems first, then the policies that can be used."""
    console = Console()
    for problem in linted.problems:
        print_line(console, f"wrong: {problem.sentence}")
    if linted.policies:
        table = Table(
            "policy", Column("limit", overflow="fold"), "algorithm", Column("bytes a subject", justify="right")
        )
        for policy in linted.policies:
            table.add_row(policy.policy, _in_lines(policy.limit), policy.algorithm, f"{policy.stored_bytes_max:,}")
        console.print(table)
    elif linted.ok:
        print_line(console, "No policies are set; the built-in ones apply.")
    for finding in linted.findings:
        print_line(console, f"{finding.level}: {finding.policy}: {finding.text}")


def show_decision(decision: Decision) -> None:
    """Print the decision that a take would get."""
    console = Console()
    outcome = "would be allowed" if decision.allowed else "would be refused"
    wait = "" if decision.retry_after_ms is None else f"; it passes in {decision.retry_after_ms / 1_000:,.3f} s"
    print_line(console, f"{decision.key!r} under {decision.policy} {outcome}: {decision.reason}{wait}")
    if decision.limits:
        table = Table("limit", Column("left", justify="right"), "wholly restored")
        for state in decision.limits:
            limit = Limit(units=state.limit, window_ms=state.window_ms)
            table.add_row(limit.text, f"{state.remaining:,}", f"in {state.reset_after_ms / 1_000:,.3f} s")
        console.print(table)


def show_explanation(explanation: Explanation) -> None:
    """Print the sentences, then the state of every window."""
    console = Console()
    for sentence in explanation.sentences:
        print_line(console, sentence)
    for verdict in (explanation.verdict, *explanation.shadows, *filter(None, (explanation.what_if,))):
        console.print(_window_table(verdict))


def _window_table(verdict: PolicyVerdict) -> Table:
    title = f"{verdict.policy}: {verdict.limit} ({verdict.algorithm})"
    right = (Column(name, justify="right") for name in ("used", "left"))
    table = Table("limit", *right, "wholly restored", title=title, title_justify="left")
    for window in verdict.windows:
        restored = f"in {window.restored_after_ms / 1_000:,.3f} s, at {window.restored_at}"
        table.add_row(window.limit, f"{window.used:,}", f"{window.remaining:,}", restored if window.used else "-")
    return table
