"""Why a key is refused, or is not: from what a limiter answered to sentences and times; pure functions.

Who asks peeks at `in_force(policy)`, so that a shadow or a list does not hide where the limits stand, at every policy
that is its shadow, and at `under(policy, other)` for what another limit would decide. The names stay the same, so
all of them look at the counters that are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.limits.decision import Decision
from tollhouse.limits.policy.access_list import AccessMatch, match_access
from tollhouse.limits.policy.policy import Limit, Policy


class WindowStatus(Struct, frozen=True, kw_only=True):
    """Where one window stands; `restored_at` is local time, by which all of it can be had again."""

    limit: str
    used: int
    of: int
    remaining: int
    restored_after_ms: int
    restored_at: str


class PolicyVerdict(Struct, frozen=True, kw_only=True):
    """What the limits of one policy say, lists and shadow left out; `passes_at` is local time."""

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

    `uncounted` names the windows of `what_if` for which nothing is counted so far: they were taken as empty.
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
    sentences: tuple[str, ...]


class PeekResult(Struct, frozen=True, kw_only=True):
    """A policy, what a limiter that holds it in force answered, and the local time of the answer."""

    policy: Policy
    decision: Decision
    at: datetime


def in_force(policy: Policy) -> Policy:
    """Give the policy as its limits alone decide: no shadow, no lists."""
    return replace(policy, shadow=False, shadow_of=None, allow=(), deny=())


def under(policy: Policy, other: Policy) -> Policy:
    """Give the policy in force with the limits and the algorithm of another, over its own counters."""
    return replace(in_force(policy), limits=other.limits, algorithm=other.algorithm)


def shadows_of(policies: Mapping[str, Policy], name: str) -> tuple[Policy, ...]:
    """Return the shadows of the policy `name`."""
    return tuple(policy for policy in policies.values() if policy.shadow_of == name)


def explain(
    policy: Policy, peeked: PeekResult, shadows: tuple[PeekResult, ...], what_if: PeekResult | None
) -> Explanation:
    """Explain what a take finds; what was peeked at is in force."""
    decision = peeked.decision
    found = match_access(policy, decision.key)
    admitted = decision.allowed or policy.shadow
    told = Explanation(
        policy=policy.name,
        key=decision.key,
        cost=decision.cost,
        allowed=admitted if found is None else found.rule == "allow",
        shadow=policy.shadow,
        access=found,
        verdict=_verdict(peeked),
        shadows=tuple(_verdict(one) for one in shadows),
        what_if=None if what_if is None else _verdict(what_if),
        uncounted=() if what_if is None else _uncounted(policy, what_if.policy),
        sentences=(),
    )
    return replace(told, sentences=tuple(_sentences(told)))


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
    counted = {_counter(policy, limit) for limit in policy.limits}
    return tuple(limit.text for limit in other.limits if _counter(other, limit) not in counted)


def _counter(policy: Policy, limit: Limit) -> tuple[str, int, int]:
    """Name what counts a limit: whatever the number of units, it goes on counting."""
    return policy.algorithm, limit.window_ms, limit.resolution if policy.algorithm == "sliding-window" else 0


def _sentences(told: Explanation) -> Iterator[str]:
    yield _outcome(told)
    for one in told.shadows:
        yield f"Its shadow {one.policy} ({one.limit}): in force {_would(one, told.cost)}."
    if told.what_if is not None:
        yield f"Under {told.what_if.limit} ({told.what_if.algorithm}) {_would(told.what_if, told.cost)}."
    if told.uncounted:
        yield f"Nothing is counted so far for {', '.join(told.uncounted)}: another window or algorithm begins empty."


def _outcome(told: Explanation) -> str:
    subject, verdict = f"{told.key!r} under {told.policy}", told.verdict
    if told.access is not None:
        does = "is never counted" if told.access.rule == "allow" else "is always refused"
        return f"{subject} {does}: the entry {told.access.entry} of the {told.access.rule} list holds it."
    if verdict.admits:
        return f"{subject} is admitted: every limit has room for {_units(told.cost)}."
    if told.shadow:
        return f"{subject} is admitted, because the policy is a shadow; in force {_would(verdict, told.cost)}."
    return f"{subject} is refused: {_refusal(verdict, told.cost)}."


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
