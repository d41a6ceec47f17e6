"""Evaluates takes of several policies and keys as one: all are charged, or none (`lua/limits/take_all.lua`)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from tollhouse.limits.algorithms.counters import SubjectState
from tollhouse.limits.algorithms.evaluate import Verdict, peek, take, wait
from tollhouse.limits.policy.policy import Policy


class JointTake(Struct, frozen=True, kw_only=True):
    """One of the takes: `cost` units of a policy, for a key with this state. No two share a state."""

    policy: Policy
    state: SubjectState
    cost: int


class JointVerdict(Struct, frozen=True, kw_only=True):
    """The verdict on all takes; each of `verdicts` is the one that the take would get alone.

    After `retry_after_ms` all would be allowed; None if they are, or if one of them never will be.
    """

    allowed: bool
    retry_after_ms: int | None
    verdicts: tuple[Verdict, ...]


def take_all(takes: Sequence[JointTake], now_ms: int) -> tuple[JointVerdict, tuple[SubjectState, ...]]:
    """Charge every take; a refusal returns all states unchanged."""
    verdicts = tuple(peek(one.policy, one.state, one.cost, now_ms) for one in takes)
    if not all(verdict.allowed for verdict in verdicts):
        wait_ms = _wait_ms(takes, verdicts, now_ms)
        return JointVerdict(allowed=False, retry_after_ms=wait_ms, verdicts=verdicts), tuple(one.state for one in takes)
    taken = [take(one.policy, one.state, one.cost, now_ms) for one in takes]
    verdicts = tuple(verdict for verdict, _ in taken)
    return JointVerdict(allowed=True, retry_after_ms=None, verdicts=verdicts), tuple(state for _, state in taken)


def _wait_ms(takes: Sequence[JointTake], verdicts: Sequence[Verdict], now_ms: int) -> int | None:
    """Return the first wait that suits all takes: each in turn extends it, until none does."""
    if any(not verdict.allowed and verdict.retry_after_ms is None for verdict in verdicts):
        return None
    wait_ms, before_ms = 0, -1
    while wait_ms > before_ms:
        before_ms = wait_ms
        for one in takes:
            if one.cost:
                _, wait_ms = wait(one.policy, one.state, one.cost, now_ms, wait_ms)
    return wait_ms
