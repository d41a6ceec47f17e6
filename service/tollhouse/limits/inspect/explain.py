"""Explains why a key is refused or admitted, and what another limit would decide; changes nothing.

A shadow or a list would hide the limits, so `examine` peeks at the policy `in_force`, and likewise at each of its
shadows and at the policy with other limits. The names stay the same, so all peeks read the counters that exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.limits.decision import Decision
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.access_list import AccessMatch, compile_access_lists
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import LeaseRule, Policy

LimiterFactory = Callable[[Mapping[str, Policy]], Limiter]
"""Makes a limiter with other policies over the same store and keys."""


class WindowStatus(Struct, frozen=True, kw_only=True):
    """One window of a policy; `restored_at` is local time, when all of it is available again."""

    limit: str
    used: int
    of: int
    remaining: int
    restored_after_ms: int
    restored_at: str


class PolicyVerdict(Struct, frozen=True, kw_only=True):
    """What the limits of one policy decide without its lists and its shadow flag; `passes_at` is local time."""

    policy: str
    limit: str
    algorithm: str
    admits: bool
    refused_by: str | None
    retry_after_ms: int | None
    passes_at: str | None
    windows: tuple[WindowStatus, ...]


class Explanation(Struct, frozen=True, kw_only=True):
    """Everything that decides about one take, and the same in sentences.

    `uncounted` names the windows of `what_if` that have no counter so far: they were evaluated as empty.
    """

    policy: str
    key: str
    cost: int
    allowed: bool
    shadow: bool
    access: AccessMatch | None
    verdict: PolicyVerdict
    shadows: tuple[PolicyVerdict, ...]
    what_if: PolicyVerdict | None
    uncounted: tuple[str, ...]
    lease: LeaseRule
    sentences: tuple[str, ...]


class PeekResult(Struct, frozen=True, kw_only=True):
    """A policy in force, the decision of a limiter that has it, and the local time of the decision."""

    policy: Policy
    decision: Decision
    at: datetime


async def examine(
    make: LimiterFactory,
    policies: Mapping[str, Policy],
    name: str,
    key: str,
    cost: int | None,
    *,
    clock: Callable[[], datetime],
    limit: str | None = None,
    algorithm: str | None = None,
) -> Explanation:
    """Return what a take of `key` would find, and what it would find under `limit` or `algorithm`, if one is given.

    `clock` returns the local time. The peeks run one after the other. Raises InvalidInput for an invalid argument, and
    StoreUnavailable if the store does not answer.
    """
    await make(policies).peek(name, key, cost)  # raises for invalid arguments, such as a policy that does not exist
    policy = policies[name]

    async def peek(one: Policy) -> PeekResult:
        decision = await make({one.name: one}).peek(one.name, key, cost)
        return PeekResult(policy=one, decision=decision, at=clock())

    what_if = None
    if limit is not None or algorithm is not None:
        other = parse_policy(name, limit or policy.text, algorithm or policy.algorithm)
        what_if = await peek(replace(in_force(policy), limits=other.limits, algorithm=other.algorithm))
    shadows = [await peek(in_force(one)) for one in policies.values() if one.shadow_of == name]
    return explain(policy, await peek(in_force(policy)), tuple(shadows), what_if)


def in_force(policy: Policy) -> Policy:
    """Return the policy without lists and leases, and never as a shadow, so that its limits alone decide."""
    return replace(policy, shadow=False, shadow_of=None, allow=(), deny=(), lease="off")


def explain(
    policy: Policy, peeked: PeekResult, shadows: tuple[PeekResult, ...], what_if: PeekResult | None
) -> Explanation:
    """Return the explanation of what was peeked at in force."""
    decision = peeked.decision
    lists = compile_access_lists(policy)
    access = None if lists is None else lists.match(decision.key)
    admitted = decision.allowed or policy.shadow
    explanation = Explanation(
        policy=policy.name,
        key=decision.key,
        cost=decision.cost,
        allowed=admitted if access is None else access.rule == "allow",
        shadow=policy.shadow,
        access=access,
        verdict=_verdict(peeked),
        shadows=tuple(_verdict(one) for one in shadows),
        what_if=None if what_if is None else _verdict(what_if),
        uncounted=() if what_if is None else _uncounted(policy, what_if.policy),
        lease=policy.lease,
        sentences=(),
    )
    return replace(explanation, sentences=tuple(_sentences(explanation)))


def _verdict(peeked: PeekResult) -> PolicyVerdict:
    policy, decision = peeked.policy, peeked.decision
    wait_ms = decision.retry_after_ms
    return PolicyVerdict(
        policy=policy.name,
        limit=policy.text,
        algorithm=policy.algorithm,
        admits=decision.allowed,
        refused_by=decision.refused_by,
        retry_after_ms=wait_ms,
        passes_at=None if wait_ms is None else _after(peeked.at, wait_ms),
        windows=tuple(
            WindowStatus(
                limit=limit.text,
                used=limit.capacity - state.remaining,
                of=limit.capacity,
                remaining=state.remaining,
                restored_after_ms=state.reset_after_ms,
                restored_at=_after(peeked.at, state.reset_after_ms),
            )
            for limit, state in zip(policy.limits, decision.limits, strict=True)
        ),
    )


def _uncounted(policy: Policy, other: Policy) -> tuple[str, ...]:
    counted = {limit.counter_id(policy.algorithm) for limit in policy.limits}
    return tuple(limit.text for limit in other.limits if limit.counter_id(other.algorithm) not in counted)


def _sentences(one: Explanation) -> Iterator[str]:
    yield _outcome(one)
    for shadow in one.shadows:
        yield f"Its shadow {shadow.policy} ({shadow.limit}): in force {_would(shadow, one.cost)}."
    if one.what_if is not None:
        yield f"Under {one.what_if.limit} ({one.what_if.algorithm}) {_would(one.what_if, one.cost)}."
    if one.lease == "auto":
        yield "Processes lease units of busy keys (lease = auto): what they hold counts as used until it comes back."
    if one.uncounted:
        yield f"Nothing is counted so far for {', '.join(one.uncounted)}: another window or algorithm begins empty."


def _outcome(one: Explanation) -> str:
    subject, verdict, access = f"{one.key!r} under {one.policy}", one.verdict, one.access
    if access is not None:
        effect = "is never counted" if access.rule == "allow" else "is always refused"
        return f"{subject} {effect}: the entry {access.entry} of the {access.rule} list matches it."
    if verdict.admits:
        return f"{subject} is admitted: every limit has room for {_units(one.cost)}."
    if one.shadow:
        return f"{subject} is admitted, because the policy is a shadow; in force {_would(verdict, one.cost)}."
    return f"{subject} is refused: {_refusal(verdict, one.cost)}."


def _would(verdict: PolicyVerdict, cost: int) -> str:
    return "it would be admitted" if verdict.admits else f"it would be refused: {_refusal(verdict, cost)}"


def _refusal(verdict: PolicyVerdict, cost: int) -> str:
    if verdict.retry_after_ms is None:
        return f"a cost of {cost:,} is above the limit {verdict.refused_by}, and no wait will change that"
    wait_s = f"{verdict.retry_after_ms / 1_000:,.3f} s"
    return f"the limit {verdict.refused_by} is reached; the same take passes in {wait_s}, at {verdict.passes_at}"


def _units(cost: int) -> str:
    return "1 unit" if cost == 1 else f"{cost:,} units"


def _after(at: datetime, wait_ms: int) -> str:
    return (at + timedelta(milliseconds=wait_ms)).isoformat(sep=" ", timespec="milliseconds")
