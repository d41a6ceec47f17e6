"""Decisions as HTTP fields, in the syntax of draft-ietf-httpapi-ratelimit-headers-11.

A policy of one limit goes by its name (`"api"`), one of several by its name and each window in seconds
(`"api/60"`). `r` is what remains. `t` is the time until that limit is wholly restored, in seconds, rounded
up: over the next `t` seconds at least `r` units can be had.

`Retry-After` is the first whole second at which the same take succeeds, absent other takes. That may be
sooner than `t`, which the draft advises against: an exact wait serves a client better than a safe one.
"""

from __future__ import annotations

from collections.abc import Iterator

from tollhouse.limits.decision import Decision, LimitState


def fields(decision: Decision) -> list[tuple[str, str]]:
    """Give the names and values of the fields that tell a client about a decision."""
    named = list(named_limits(decision))
    found = [
        ("RateLimit-Policy", ", ".join(_policy(name, state) for name, state in named)),
        ("RateLimit", ", ".join(_standing(name, state) for name, state in named)),
    ]
    if decision.retry_after_ms is not None:
        found.append(("Retry-After", str(max(_seconds(decision.retry_after_ms), 1))))
    return found


def named_limits(decision: Decision) -> Iterator[tuple[str, LimitState]]:
    """Give each limit with the name that it goes by in the fields, and wherever else clients are told of it."""
    for state in decision.limits:
        single = len(decision.limits) == 1
        yield decision.policy if single else f"{decision.policy}/{_seconds(state.window_ms)}", state


def _policy(name: str, state: LimitState) -> str:
    return f"{_string(name)};q={state.limit};w={_seconds(state.window_ms)}"


def _standing(name: str, state: LimitState) -> str:
    return f"{_string(name)};r={state.remaining};t={_seconds(state.reset_after_ms)}"


def _seconds(milliseconds: int) -> int:
    return -(-milliseconds // 1_000)


def _string(text: str) -> str:
    """Quote a String of RFC 9651, which holds printable ASCII only."""
    assert text.isascii()
    assert text.isprintable()
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
