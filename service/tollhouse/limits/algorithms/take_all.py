"""Decides takes of several policies and subjects as one: all are charged, or none is (`lua/limits/take_all.lua`)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from tollhouse.limits.algorithms.counters import SubjectState
from tollhouse.limits.algorithms.evaluate import Verdict, peek, take, wait
from tollhouse.limits.policy.policy import Policy


class JointTake(Struct, frozen=True, kw_only=True):
    """One take among others: `cost` units of a policy, for a subject with this state. No two share a state."""

    policy: Policy
    state: SubjectState
    cost: int


class JointVerdict(Struct, frozen=True, kw_only=True):
    """What was decided of all: each verdict is as if it stood alone, but nothing is charged unless all are allowed.

    `retry_after_ms` is the wait after which all would be; None where they are, and where one never will be.
    """

    allowed: bool
    retry_after_ms: int | None
    verdicts: tuple[Verdict, ...]


def take_all(parts: Sequence[JointTake], now_ms: int) -> tuple[JointVerdict, tuple[SubjectState, ...]]:
    """Charge every part, or refuse and give all states back as they are."""
    verdicts = tuple(peek(part.policy, part.state, part.cost, now_ms) for part in parts)
    if not all(verdict.allowed for verdict in verdicts):
        joint = JointVerdict(allowed=False, retry_after_ms=_wait_ms(parts, verdicts, now_ms), verdicts=verdicts)
        return joint, tuple(part.state for part in parts)
    taken = [take(part.policy, part.state, part.cost, now_ms) for part in parts]
    joint = JointVerdict(allowed=True, retry_after_ms=None, verdicts=tuple(verdict for verdict, _ in taken))
    return joint, tuple(state for _, state in taken)


def _wait_ms(parts: Sequence[JointTake], verdicts: Sequence[Verdict], now_ms: int) -> int | None:
    """Give the first wait that suits all parts: each in turn lengthens it, until none does."""
    if any(not verdict.allowed and verdict.retry_after_ms is None for verdict in verdicts):
        return None
    wait_ms, before_ms = 0, -1
    while wait_ms > before_ms:
        before_ms = wait_ms
        for part in parts:
            if part.cost:
                _, wait_ms = wait(part.policy, part.state, part.cost, now_ms, wait_ms)
    return wait_ms
