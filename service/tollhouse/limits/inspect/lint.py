"""Validates policies before they are in force: warnings flag likely mistakes, notes choices to make deliberately."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.limits.policy.access_list import networks
from tollhouse.limits.policy.catalog import BUILT_IN, by_name
from tollhouse.limits.policy.definition import policy_from_settings
from tollhouse.limits.policy.policy import Limit, Policy
from tollhouse.limits.quota.leases import TERMS
from tollhouse.settings import named
from tollhouse.settings.model import PolicySettings
from tollhouse.settings.networks import IPV6_PREFIX_BITS

Level = Literal["warning", "note"]

_EXACT: Final = frozenset({"sliding-window", "sliding-log"})
"""Algorithms that never admit more than a limit in a trailing window; the others may admit up to that much again."""
_HEAD_BYTES: Final = len("TH2;")
_LATEST_MS: Final = 9_999_999_999_999
"""The last time with 13 digits, in the year 2286."""
_LEASE_BYTES: Final = 32 + len(str(_LATEST_MS))
"""The id of a lease and its end."""


class PolicyProblem(Struct, frozen=True, kw_only=True):
    """Why a policy, or the file with it, cannot be used: `sentence` has the value and the remedy."""

    field: str
    remedy: str
    sentence: str


class PolicySummary(Struct, frozen=True, kw_only=True):
    """A valid policy in canonical notation; `stored_bytes_max` is the size of the counters of one key."""

    policy: str
    limit: str
    algorithm: str
    stored_bytes_max: int


class Finding(Struct, frozen=True, kw_only=True):
    """A warning or a note about a policy."""

    policy: str
    level: Level
    text: str


class LintReport(Struct, frozen=True, kw_only=True):
    """The result of `lint`; `ok` is True if there is no problem, whatever the findings."""

    ok: bool
    problems: tuple[PolicyProblem, ...] = ()
    policies: tuple[PolicySummary, ...] = ()
    findings: tuple[Finding, ...] = ()


def lint(
    chosen: Mapping[str, PolicySettings],
    *,
    ipv6_prefix_bits: int = IPV6_PREFIX_BITS,
    origins: Mapping[str, str] = MappingProxyType({}),
) -> LintReport:
    """Return the report on these policies: each validated alone, then all of them with the built-in ones.

    `origins` has the variable, or the line of the file, of each setting that has one: problems name it.
    """
    problems: list[PolicyProblem] = []
    policies: list[Policy] = []
    for name, settings in chosen.items():
        try:
            policies.append(policy_from_settings(name, settings))
        except InvalidInput as error:
            problems.append(problem(error, origins))
    try:
        by_name([*BUILT_IN.values(), *policies])
    except InvalidInput as error:
        problems.append(problem(error, origins))
        policies = [policy for policy in policies if not error.field.startswith(f"policies.{policy.name}.")]
    return LintReport(
        ok=not problems,
        problems=tuple(problems),
        policies=tuple(
            PolicySummary(
                policy=one.name, limit=one.text, algorithm=one.algorithm, stored_bytes_max=stored_bytes_max(one)
            )
            for one in policies
        ),
        findings=tuple(findings(policies, ipv6_prefix_bits)),
    )


def problem(
    error: ConfigurationError | InvalidInput, origins: Mapping[str, str] = MappingProxyType({})
) -> PolicyProblem:
    """Return the error as a value, whose sentence names the origin of the setting if there is one."""
    field = error.setting if isinstance(error, ConfigurationError) else error.field
    return PolicyProblem(field=field, remedy=error.remedy, sentence=str(named(error, origins)))


def findings(policies: Iterable[Policy], ipv6_prefix_bits: int = IPV6_PREFIX_BITS) -> Iterator[Finding]:
    """Yield the warnings and notes, policy by policy."""
    for policy in policies:
        for level, text in _policy_findings(policy, ipv6_prefix_bits):
            yield Finding(policy=policy.name, level=level, text=text)


def stored_bytes_max(policy: Policy) -> int:
    """Return the most bytes that the counters of one key take under the policy, without its reservations.

    The name of the key, about 60 bytes, and the server's overhead for any key come on top.
    """
    if policy.is_concurrency:
        return policy.limits[0].units * _LEASE_BYTES
    return _HEAD_BYTES + sum(_window_bytes(policy, limit) for limit in policy.limits)


def _policy_findings(policy: Policy, ipv6_prefix_bits: int) -> Iterator[tuple[Level, str]]:
    if policy.shadow and policy.shadow_of is None:
        yield "warning", "shadow = true: it decides and counts, and never refuses"
    if policy.on_outage == "closed":
        yield "note", "on_outage = closed: while its store is down every take is refused, of public routes as well"
    capacity = min(policy.limits, key=lambda limit: limit.capacity)
    if policy.cost > capacity.capacity:
        yield "warning", f"cost = {policy.cost:,} is above {capacity.text}: only takes that name a lower cost can pass"
    for text in (*_bursts(policy), *_idle(policy), *_leases(policy), *_lists(policy, ipv6_prefix_bits)):
        yield "warning", text


def _bursts(policy: Policy) -> Iterator[str]:
    for limit in policy.limits:
        if limit.capacity > limit.units:
            most = limit.capacity + limit.units
            yield f"{limit.text}: the burst is above the limit, so up to {most:,} units pass in one window"


def _idle(policy: Policy) -> Iterator[str]:
    """Yield limits that never decide, because another limit of the policy always refuses first."""
    if policy.algorithm == "gcra":
        return
    slack = 0 if policy.algorithm in _EXACT else 1
    for short, long in combinations(sorted(policy.limits, key=lambda limit: limit.window_ms), 2):
        spans = -(-long.window_ms // short.window_ms)
        if short.units >= long.units * (1 + slack):
            yield f"{short.text} never refuses: {long.text} allows no more in a longer time"
        elif long.units >= short.units * (spans + slack):
            yield f"{long.text} never refuses: {short.text} allows no more in the same time"


def _leases(policy: Policy) -> Iterator[str]:
    """Yield why a policy leases nothing, though it says so."""
    smallest, least = min(policy.limits, key=lambda limit: limit.units), TERMS.parts * TERMS.least
    if policy.lease == "auto" and policy.shadow:
        yield "lease = auto: a shadow counts every take in the store, so nothing is leased"
    elif policy.lease == "auto" and smallest.units <= least:
        yield f"lease = auto: {smallest.text} leases nothing, because that takes more than {least} units that remain"


def _lists(policy: Policy, ipv6_prefix_bits: int) -> Iterator[str]:
    for name, entries in (("allow", policy.allow), ("deny", policy.deny)):
        does = "is never counted" if name == "allow" else "is always refused"
        for entry, network in networks(entries):
            if network.prefixlen == 0:
                yield f"{name}: {entry} is every address of IPv{network.version}, which {does}"
            elif network.version == 6 and network.prefixlen > ipv6_prefix_bits:
                key = f"/{ipv6_prefix_bits}"
                yield f"{name}: {entry} matches no client, whose key is a whole {key}; list the {key}"
    for entry in sorted({*policy.allow} & {*policy.deny}):
        yield f"{entry} is on both lists, and deny wins"


def _window_bytes(policy: Policy, limit: Limit) -> int:
    """Measure the larger form of a window; `sum,slot:units,…;` has a pair for each previous sub-bucket.

    One has `name=index;` and `total;`, the other `name=` without three zeros, 16 digits and the rest of the index.
    """
    window, units = _digits(limit.window_ms), _digits(limit.capacity)
    name, slots, rest, previous = len(policy.algorithm) + 1 + window, limit.window_ms, max(window, units), 0
    match policy.algorithm:
        case "sliding-window":
            name, slots = window + 1 + _digits(limit.resolution), limit.resolution
            previous = limit.resolution * (2 + _digits(limit.resolution) + units)
        case "sliding-window-counter":
            previous = 3 + units
        case "sliding-log":
            previous = limit.units * (3 + window)
        case _:
            pass
    index = _LATEST_MS * slots // limit.window_ms
    head = max(_digits(index) + units, 16 + _digits(index >> 22) + len("/") - len("000"))
    return name + head + rest + previous + len("=;;;")


def _digits(number: int) -> int:
    return len(str(number))
