"""Decisions as HTTP fields, in the syntax of draft-ietf-httpapi-ratelimit-headers-11 or in an older dialect.

A policy of one limit goes by its name (`"api"`), one of several by its name and each window in seconds
(`"api/60"`). `r` is what remains. `t` is the time until that limit is wholly restored, in seconds, rounded
up: over the next `t` seconds at least `r` units can be had. A policy of the algorithm gcra has its burst as
its quota, and the time in which a whole burst is restored as its window; one of leases has no window.

`Retry-After` is the first whole second at which the same take succeeds, absent other takes. That may be
sooner than `t`, which the draft advises against: an exact wait serves a client better than a safe one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal, get_args

from tollhouse.limits.decision import Decision, LimitState, TakeAllResult
from tollhouse.limits.policy.policy import Policy

Dialect = Literal["draft-11", "draft-07", "draft-06", "x-ratelimit", "x-ratelimit-epoch", "off"]
DIALECTS: Final[tuple[Dialect, ...]] = get_args(Dialect)
"""`draft-07` is one field of three members, `draft-06` a field for each; `x-ratelimit` counts down, `x-ratelimit-epoch`
says when. They speak of one limit: the one that is nearest to exhaustion. `off` leaves only `Retry-After`."""

WallClock = Callable[[], float]
"""Gives the seconds since 1970; only `x-ratelimit-epoch` asks."""
Field = tuple[str, str]
Quota = tuple[int, int | None]
"""How many units a limit has, and the seconds of its window; None where it counts what is held at once."""

_REMEMBERED: Final = 1_024
_NONE: Final[Mapping[str, Policy]] = {}
_known: Final[dict[int, tuple[Policy, tuple[bytes, bytes]]]] = {}


def fields(
    outcome: Decision | TakeAllResult,
    dialect: Dialect = "draft-11",
    *,
    also: Sequence[Decision] = (),
    policies: Mapping[str, Policy] = _NONE,
    wall: WallClock = time.time,
) -> list[Field]:
    """Give the names and values of the fields that tell a client about what was decided.

    Decisions that asked no limit, because the key is on a list or the store did not answer, are told nothing of.
    `beside` are decisions about the same request that are told of too; `policies` are those that hold, by name, and
    tell bursts and leases from windows.
    """
    decisions = [*also, *(outcome.decisions if isinstance(outcome, TakeAllResult) else (outcome,))]
    return [*status_fields(decisions, dialect, policies, wall), *retry_after(outcome.retry_after_ms)]


def status_fields(
    decisions: Sequence[Decision],
    dialect: Dialect = "draft-11",
    policies: Mapping[str, Policy] = _NONE,
    wall: WallClock = time.time,
) -> list[Field]:
    """Give the fields that say where the limits stand; none where no limit was asked."""
    asked = [decision for decision in decisions if decision.limits]
    if not asked or dialect == "off":
        return []
    if dialect == "draft-11":
        quota, state = _draft_11(asked, policies)
        return [("RateLimit-Policy", quota.decode()), ("RateLimit", state.decode())]
    return _older(asked, dialect, policies, wall)


def encoded_status_fields(
    decisions: Sequence[Decision], dialect: Dialect, policies: Mapping[str, Policy]
) -> list[tuple[bytes, bytes]]:
    """Give the fields of `standing` as ASGI has them; every response that is told of a limit waits for this."""
    if dialect == "draft-11" and len(decisions) == 1 and decisions[0].limits:
        quota, state = _draft_11(decisions, policies)
        return [(b"ratelimit-policy", quota), (b"ratelimit", state)]
    return [(name.lower().encode(), value.encode()) for name, value in status_fields(decisions, dialect, policies)]


def retry_after(milliseconds: int | None) -> list[Field]:
    """Give Retry-After, in whole seconds and never too early; nothing where no wait helps."""
    return [] if milliseconds is None else [("Retry-After", str(max(_seconds(milliseconds), 1)))]


def named_limits(decision: Decision) -> Iterator[tuple[str, LimitState]]:
    """Give each limit with the name that it goes by in the fields, and wherever else clients are told of it."""
    for state in decision.limits:
        single = len(decision.limits) == 1
        yield decision.policy if single else f"{decision.policy}/{_seconds(state.window_ms)}", state


def _draft_11(decisions: Sequence[Decision], policies: Mapping[str, Policy]) -> tuple[bytes, bytes]:
    """Give the values of RateLimit-Policy and RateLimit."""
    if len(decisions) > 1:
        each = [_draft_11((decision,), policies) for decision in decisions]
        return b", ".join(quota for quota, _ in each), b", ".join(state for _, state in each)
    decision = decisions[0]
    quota, pattern = _patterns(decision, policies.get(decision.policy))
    numbers: list[int] = []
    for state in decision.limits:
        numbers += (state.remaining, -(-state.reset_after_ms // 1_000))
    return quota, pattern % tuple(numbers)


def _patterns(decision: Decision, policy: Policy | None) -> tuple[bytes, bytes]:
    """Give a policy's part of RateLimit-Policy, and the pattern of its part of RateLimit.

    Both stay until the policy changes. They are found by its identity: to compare policies takes longer than to write.
    """
    known = _known.get(id(policy))
    if known is not None and known[0] is policy and len(known[0].limits) == len(decision.limits):
        return known[1]
    written = _written(decision.policy, _quotas(decision, policy))
    if policy is not None and len(policy.limits) == len(decision.limits):
        if len(_known) >= _REMEMBERED:
            _known.clear()
        _known[id(policy)] = policy, written
    return written


@lru_cache(maxsize=_REMEMBERED)
def _written(policy: str, quotas: tuple[tuple[int, Quota], ...]) -> tuple[bytes, bytes]:
    single = len(quotas) == 1
    names = [_string(policy if single else f"{policy}/{_seconds(window_ms)}") for window_ms, _ in quotas]
    parts = (f"{name};q={units}{_window(seconds)}" for name, (_, (units, seconds)) in zip(names, quotas, strict=True))
    pattern = ", ".join(f"{name.replace('%', '%%')};r=%d;t=%d" for name in names)
    return ", ".join(parts).encode(), pattern.encode()


def _window(seconds: int | None) -> str:
    return ';qu="concurrent-requests"' if seconds is None else f";w={seconds}"


def _older(
    decisions: Sequence[Decision], dialect: Dialect, policies: Mapping[str, Policy], wall: WallClock
) -> list[Field]:
    limits = [
        (state, quota)
        for decision in decisions
        for state, (_, quota) in zip(decision.limits, _quotas(decision, policies.get(decision.policy)), strict=True)
    ]
    state, (units, _) = min(limits, key=_nearness)
    reset = _seconds(state.reset_after_ms)
    policy = ", ".join(str(units) if seconds is None else f"{units};w={seconds}" for _, (units, seconds) in limits)
    if dialect == "draft-07":
        line = f"limit={units}, remaining={state.remaining}, reset={reset}"
        return [("RateLimit-Policy", policy), ("RateLimit", line)]
    if dialect == "draft-06":
        return [("RateLimit-Policy", policy), *_three("RateLimit", units, state.remaining, reset)]
    if dialect == "x-ratelimit-epoch":
        reset = _seconds(int(wall() * 1_000) + state.reset_after_ms)
    return _three("X-RateLimit", units, state.remaining, reset)


def _nearness(limit: tuple[LimitState, Quota]) -> tuple[int, int]:
    """Order limits by the millionths that remain of them; of two alike, the one that takes longer comes first."""
    state, (units, _) = limit
    return state.remaining * 1_000_000 // units, -state.reset_after_ms


def _three(prefix: str, units: int, remaining: int, reset: int) -> list[Field]:
    return [
        (f"{prefix}-Limit", str(units)),
        (f"{prefix}-Remaining", str(remaining)),
        (f"{prefix}-Reset", str(reset)),
    ]


def _quotas(decision: Decision, policy: Policy | None) -> tuple[tuple[int, Quota], ...]:
    """Give the window of each limit, and its quota as clients shall understand it."""
    algorithm = None if policy is None else policy.algorithm
    if policy is not None and algorithm == "gcra" and len(policy.limits) == len(decision.limits):
        return tuple(
            (one.window_ms, (one.capacity, _seconds(-(-one.capacity * one.window_ms // one.units))))
            for one in policy.limits
        )
    if algorithm == "concurrency":
        return tuple((state.window_ms, (state.limit, None)) for state in decision.limits)
    return tuple((state.window_ms, (state.limit, state.window_ms // 1_000)) for state in decision.limits)


def _seconds(milliseconds: int) -> int:
    return -(-milliseconds // 1_000)


def _string(text: str) -> str:
    """Quote a String of RFC 9651, which holds printable ASCII only."""
    assert text.isascii()
    assert text.isprintable()
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
