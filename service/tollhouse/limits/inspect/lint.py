"""Checks policies before they hold: which cannot be used, how the others read, and what is worth a second look.

A warning says what is hardly meant; a note says what somebody should have chosen on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Literal

from msgspec import Struct

from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.limits.inspect.size import stored_bytes_max
from tollhouse.limits.policy.access_list import networks
from tollhouse.limits.policy.builtin import BUILT_IN
from tollhouse.limits.policy.catalog import by_name
from tollhouse.limits.policy.configured import policy_from_settings
from tollhouse.limits.policy.policy import Policy
from tollhouse.settings import PolicySettings

Level = Literal["warning", "note"]

_CLIENT_BITS = {4: 32, 6: 64}
"""How much of a client's address is in its key."""
_EXACT = frozenset({"sliding-window", "sliding-log"})
"""Never admit more than a limit in any of its windows; the others may admit up to that much again."""


class PolicyProblem(Struct, frozen=True, kw_only=True):
    """Why a policy, or the file around it, cannot be used: one sentence with the value and the remedy."""

    field: str
    remedy: str
    sentence: str


class PolicySummary(Struct, frozen=True, kw_only=True):
    """A policy that can be used, in its canonical form; `stored_bytes_max` is what one subject takes at most."""

    policy: str
    limit: str
    algorithm: str
    stored_bytes_max: int


class Finding(Struct, frozen=True, kw_only=True):
    """What is worth a second look at a policy."""

    policy: str
    level: Level
    text: str


class LintReport(Struct, frozen=True, kw_only=True):
    """What came of a check; `ok` where there is no problem, whatever the findings."""

    ok: bool
    problems: tuple[PolicyProblem, ...] = ()
    policies: tuple[PolicySummary, ...] = ()
    findings: tuple[Finding, ...] = ()


def lint(chosen: Mapping[str, PolicySettings]) -> LintReport:
    """Check every policy on its own, then all of them together with the built-in ones."""
    problems: list[PolicyProblem] = []
    policies: list[Policy] = []
    for name, settings in chosen.items():
        try:
            policies.append(policy_from_settings(name, settings))
        except InvalidInput as error:
            problems.append(problem(error))
    try:
        by_name([*BUILT_IN.values(), *policies])
    except InvalidInput as error:
        problems.append(problem(error))
        policies = [policy for policy in policies if not error.field.startswith(f"policies.{policy.name}.")]
    return LintReport(
        ok=not problems,
        problems=tuple(problems),
        policies=tuple(_read(policy) for policy in policies),
        findings=tuple(findings(policies)),
    )


def problem(error: ConfigurationError | InvalidInput) -> PolicyProblem:
    """Give a failure to read policies or settings as a value."""
    field = error.setting if isinstance(error, ConfigurationError) else error.field
    return PolicyProblem(field=field, remedy=error.remedy, sentence=str(error))


def findings(policies: Iterable[Policy]) -> Iterator[Finding]:
    """Say what is worth a second look, policy by policy."""
    for policy in policies:
        for level, text in _policy_findings(policy):
            yield Finding(policy=policy.name, level=level, text=text)


def _read(policy: Policy) -> PolicySummary:
    return PolicySummary(
        policy=policy.name,
        limit=policy.text,
        algorithm=policy.algorithm,
        stored_bytes_max=stored_bytes_max(policy),
    )


def _policy_findings(policy: Policy) -> Iterator[tuple[Level, str]]:
    if policy.shadow and policy.shadow_of is None:
        yield "warning", "shadow = true: it decides and counts, and never refuses"
    if policy.on_outage == "closed":
        yield "note", "on_outage = closed: while its store is down every take is refused, of public routes as well"
    capacity = min(policy.limits, key=lambda limit: limit.capacity)
    if policy.cost > capacity.capacity:
        yield "warning", f"cost = {policy.cost:,} is above {capacity.text}: only takes that name a lower cost can pass"
    for text in (*_bursts(policy), *_idle(policy), *_lists(policy)):
        yield "warning", text


def _bursts(policy: Policy) -> Iterator[str]:
    for limit in policy.limits:
        if limit.capacity > limit.units:
            most = limit.capacity + limit.units
            yield f"{limit.text}: the burst is above the limit, so up to {most:,} units pass in one window"


def _idle(policy: Policy) -> Iterator[str]:
    """Find limits that never decide, because another of the policy always refuses first."""
    if policy.algorithm == "gcra":
        return
    slack = 0 if policy.algorithm in _EXACT else 1
    for short, long in combinations(sorted(policy.limits, key=lambda limit: limit.window_ms), 2):
        spans = -(-long.window_ms // short.window_ms)
        if short.units >= long.units * (1 + slack):
            yield f"{short.text} never refuses: {long.text} allows no more in a longer time"
        elif long.units >= short.units * (spans + slack):
            yield f"{long.text} never refuses: {short.text} allows no more in the same time"


def _lists(policy: Policy) -> Iterator[str]:
    for name, entries in (("allow", policy.allow), ("deny", policy.deny)):
        does = "is never counted" if name == "allow" else "is always refused"
        for entry, network in networks(entries):
            if network.prefixlen == 0:
                yield f"{name}: {entry} is every address of IPv{network.version}, which {does}"
            elif network.prefixlen > _CLIENT_BITS[network.version]:
                yield f"{name}: {entry} holds no client, whose key is a whole /64; list the /64"
    for entry in sorted({*policy.allow} & {*policy.deny}):
        yield f"{entry} is on both lists, and deny wins"
