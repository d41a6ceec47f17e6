"""RateLimit fields: decisions in the syntax of draft-ietf-httpapi-ratelimit-headers-11, or in an older dialect.

A policy with one limit goes by its name (`"api"`), one with several by its name and each window in seconds
(`"api/60"`). `r` is what remains. `t` is the time until that limit is wholly restored, in seconds, rounded
up: over the next `t` seconds at least `r` units can be taken. A gcra policy has its burst as its quota, and as
its window the time in which a whole burst is restored; a concurrency policy has no window.

Each policy is named once, and `RateLimit-Policy` and `RateLimit` have at most 2,048 bytes together: clients refuse a
response whose head is longer than they expect (Node 16 kB, proxies 4 or 8 kB). One policy always fits. Of several,
those that refuse come first, then those of which least remains: what is left out is never the tightest. Of two
decisions by one policy the same order chooses.

`Retry-After` is the first whole second at which the same take succeeds, absent other takes. That may be
sooner than `t`, which the draft advises against: an exact wait serves a client better than a safe one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, get_args

from msgspec import Struct

from tollhouse.asgi.response import header_lines
from tollhouse.asgi.types import Headers
from tollhouse.errors import ConfigurationError
from tollhouse.limits.decision import Decision, LimitState, TakeAllResult
from tollhouse.limits.policy.policy import LIMITS_MAX, Policy
from tollhouse.settings.model import Dialect
from tollhouse.suggest import one_of

DIALECTS: Final[tuple[Dialect, ...]] = get_args(Dialect)
"""`draft-07` is one field of three members, `draft-06` a field for each; `x-ratelimit` counts down to the reset,
`x-ratelimit-epoch` has its time. All but `draft-11` describe only the limit nearest to exhaustion. `off` leaves only
`Retry-After`."""

FIELDS_BYTES_MAX: Final = 2_048
"""The most bytes of RateLimit-Policy and RateLimit together, without their names, in every dialect."""

WallClock = Callable[[], float]
"""Returns the seconds since 1970; only `x-ratelimit-epoch` reads it."""
Quota = tuple[int, int | None]
"""The units of a limit and the seconds of its window; the window is None if the limit counts what is held at once."""

_UNLIMITED: Final = 1_000_001
"""Comes after every nearness, which is in millionths."""
_SEPARATOR: Final = b", "
_NONE: Final[Mapping[str, Policy]] = {}


class SingleLimit(Struct, frozen=True, kw_only=True, eq=False):
    """The fields of decisions by a policy that has one limit, in draft-11.

    `quota` is the field RateLimit-Policy. `state` is a template of the value of RateLimit, and `lines` one of the lines
    of both fields: each lacks what remains and the seconds until all is restored.
    """

    policy: Policy
    units: int
    window_ms: int
    quota: tuple[bytes, bytes]
    state: bytes
    lines: bytes

    def fields(self, left: LimitState) -> Headers:
        """Return both fields, for what is left of the limit."""
        return [self.quota, (b"ratelimit", self.state % (left.remaining, -(-left.reset_after_ms // 1_000)))]


class RateLimitFields:
    """Encodes decisions as response headers, in one dialect and as ASGI has them.

    The text of a policy is kept until the policy changes. Policies are compared by identity: to compare their values
    takes longer than to write the text. A decision by other limits than those of its policy, which were replaced since
    or are the share of this process in an outage, is written with the numbers that it has itself.
    """

    def __init__(self, dialect: Dialect = "draft-11", wall: WallClock = time.time) -> None:
        if dialect not in DIALECTS:
            raise ConfigurationError("headers", dialect, one_of(dialect, DIALECTS))
        self.dialect: Dialect = dialect
        self._wall = wall
        self._templates: dict[str, tuple[Policy, tuple[bytes, bytes]]] = {}
        self._singles: dict[str, SingleLimit] = {}

    def of(
        self, outcome: Decision | TakeAllResult, policies: Mapping[str, Policy] = _NONE, also: Sequence[Decision] = ()
    ) -> Headers:
        """Return the fields of an outcome, Retry-After included; `also` are earlier decisions about the same request.

        Decisions made without consulting a limit (access list, outage) produce no fields. `policies` are those in
        force, by name; they tell bursts and leases from windows.
        """
        decisions = outcome.decisions if isinstance(outcome, TakeAllResult) else (outcome,)
        fields = self.status((*also, *decisions) if also else decisions, policies)
        return fields if outcome.retry_after_ms is None else [*fields, *retry_after(outcome.retry_after_ms)]

    def status(self, decisions: Sequence[Decision], policies: Mapping[str, Policy] = _NONE) -> Headers:
        """Return the fields that say how much is left, without Retry-After. Every limited response waits for this."""
        if len(decisions) == 1 and (single := self.single(decisions[0], policies)) is not None:
            return single.fields(decisions[0].limits[0])
        limited = [decision for decision in decisions if decision.limits]
        if not limited or self.dialect == "off":
            return []
        if len(limited) > 1 and not _surely_fit(limited):
            limited = self._bounded(limited, policies)
        if self.dialect == "draft-11":
            each = [self._draft_11(decision, policies) for decision in limited]
            quotas, states = (_SEPARATOR.join(values) for values in zip(*each, strict=True))
            return [(b"ratelimit-policy", quotas), (b"ratelimit", states)]
        return self._older(limited, policies)

    def single(self, decision: Decision, policies: Mapping[str, Policy]) -> SingleLimit | None:
        """Return how a decision by the only limit of a policy in force is written in draft-11; None for any other."""
        limits, name = decision.limits, decision.policy
        if len(limits) != 1:
            return None
        kept, state = self._singles.get(name), limits[0]
        if kept is None or kept.policy is not policies.get(name):
            kept = self._keep_single(policies.get(name))
        return kept if kept and state.limit == kept.units and state.window_ms == kept.window_ms else None

    def _keep_single(self, policy: Policy | None) -> SingleLimit | None:
        if policy is None or len(policy.limits) != 1 or self.dialect != "draft-11":
            return None
        kept = self._singles[policy.name] = _single_limit(policy)
        return kept

    def _bounded(self, decisions: Sequence[Decision], policies: Mapping[str, Policy]) -> list[Decision]:
        """Return one decision for each policy, as many as fit, in the order in which they were made.

        The size is that of draft-11, which writes the most bytes.
        """
        room, kept = FIELDS_BYTES_MAX, dict[str, int]()
        for _, position in sorted((_tightness(one, policies), at) for at, one in enumerate(decisions)):
            decision = decisions[position]
            if decision.policy in kept:
                continue
            room -= sum(len(_SEPARATOR) + len(field) for field in self._draft_11(decision, policies))
            if room < 0:
                break
            kept[decision.policy] = position
        return [decisions[position] for position in sorted(kept.values())]

    def _draft_11(self, decision: Decision, policies: Mapping[str, Policy]) -> tuple[bytes, bytes]:
        """Return one policy's part of RateLimit-Policy and of RateLimit."""
        quota, template = self._template(decision, policies.get(decision.policy))
        if len(decision.limits) == 1:
            state = decision.limits[0]
            return quota, template % (state.remaining, -(-state.reset_after_ms // 1_000))
        numbers: list[int] = []
        for state in decision.limits:
            numbers += (state.remaining, -(-state.reset_after_ms // 1_000))
        return quota, template % tuple(numbers)

    def _template(self, decision: Decision, policy: Policy | None) -> tuple[bytes, bytes]:
        """Return a policy's part of RateLimit-Policy, and the template of its part of RateLimit."""
        if policy is None or not _is_by(decision, policy):
            return _written(decision.policy, _quotas(decision.limits, policy))
        kept = self._templates.get(decision.policy)
        if kept is None or kept[0] is not policy:
            written = _written(decision.policy, _quotas(decision.limits, policy))
            kept = self._templates[decision.policy] = policy, written
        return kept[1]

    def _older(self, decisions: Sequence[Decision], policies: Mapping[str, Policy]) -> Headers:
        limits = [
            (state, quota)
            for decision in decisions
            for state, (_, quota) in zip(
                decision.limits, _quotas(decision.limits, policies.get(decision.policy)), strict=True
            )
        ]
        state, (units, _) = min(limits, key=_nearness)
        reset = _seconds(state.reset_after_ms)
        quotas = ", ".join(str(units) if seconds is None else f"{units};w={seconds}" for _, (units, seconds) in limits)
        policy = (b"ratelimit-policy", quotas.encode())
        if self.dialect == "draft-07":
            line = b"limit=%d, remaining=%d, reset=%d" % (units, state.remaining, reset)
            return [policy, (b"ratelimit", line)]
        if self.dialect == "draft-06":
            return [policy, *_three(b"ratelimit", units, state.remaining, reset)]
        if self.dialect == "x-ratelimit-epoch":
            reset = _seconds(int(self._wall() * 1_000) + state.reset_after_ms)
        return _three(b"x-ratelimit", units, state.remaining, reset)


def tightest(decisions: Sequence[Decision], policies: Mapping[str, Policy] = _NONE) -> Decision:
    """Return the decision nearest to a refusal: one that refuses, else that of which least remains.

    A decision that no limit was consulted for comes last if it allows.
    """
    if len(decisions) == 1:
        return decisions[0]
    return min(decisions, key=lambda one: _tightness(one, policies) if one.limits else (one.allowed, _UNLIMITED, 0))


def retry_after(milliseconds: int | None) -> Headers:
    """Return Retry-After, in whole seconds and never too early; nothing if no wait helps."""
    return [] if milliseconds is None else [(b"retry-after", b"%d" % max(_seconds(milliseconds), 1))]


def named_limits(decision: Decision) -> Iterator[tuple[str, LimitState]]:
    """Return each limit with its name in the fields and in problem details."""
    for state in decision.limits:
        single = len(decision.limits) == 1
        yield decision.policy if single else f"{decision.policy}/{_seconds(state.window_ms)}", state


def _written(policy: str, quotas: Sequence[tuple[int, Quota]]) -> tuple[bytes, bytes]:
    single = len(quotas) == 1
    names = [_string(policy if single else f"{policy}/{_seconds(window_ms)}") for window_ms, _ in quotas]
    parts = (f"{name};q={units}{_window(seconds)}" for name, (_, (units, seconds)) in zip(names, quotas, strict=True))
    template = ", ".join(f"{name.replace('%', '%%')};r=%d;t=%d" for name in names)
    return ", ".join(parts).encode(), template.encode()


def _window(seconds: int | None) -> str:
    return ';qu="concurrent-requests"' if seconds is None else f";w={seconds}"


def _nearness(limit: tuple[LimitState, Quota]) -> tuple[int, int]:
    """Order limits by the millionths that remain of them; of two alike, the one that takes longer comes first."""
    state, (units, _) = limit
    return state.remaining * 1_000_000 // units, -state.reset_after_ms


def _surely_fit(decisions: Sequence[Decision]) -> bool:
    """Return True if each policy is there once, and all have no more limits than one may have: one always fits."""
    count = sum(len(decision.limits) for decision in decisions)
    return count <= LIMITS_MAX and len({decision.policy for decision in decisions}) == len(decisions)


def _tightness(decision: Decision, policies: Mapping[str, Policy]) -> tuple[bool, int, int]:
    """Order decisions: one that refuses by itself comes first, then the one whose nearest limit is nearest."""
    decides = not decision.allowed and decision.reason != "all-or-nothing"
    quotas = _quotas(decision.limits, policies.get(decision.policy))
    limits = ((state, quota) for state, (_, quota) in zip(decision.limits, quotas, strict=True))
    return not decides, *min(map(_nearness, limits))


def _three(prefix: bytes, units: int, remaining: int, reset: int) -> Headers:
    return [
        (prefix + b"-limit", b"%d" % units),
        (prefix + b"-remaining", b"%d" % remaining),
        (prefix + b"-reset", b"%d" % reset),
    ]


def _quotas(states: Sequence[LimitState], policy: Policy | None) -> tuple[tuple[int, Quota], ...]:
    """Return the window of each limit, and its quota as clients are meant to read it."""
    if policy is not None and policy.algorithm == "gcra" and len(policy.limits) == len(states):
        return tuple(
            (one.window_ms, (one.capacity, _seconds(-(-one.capacity * one.window_ms // one.units))))
            for one in policy.limits
        )
    if policy is not None and policy.is_concurrency:
        return tuple((state.window_ms, (state.limit, None)) for state in states)
    return tuple((state.window_ms, (state.limit, state.window_ms // 1_000)) for state in states)


def _is_by(decision: Decision, policy: Policy) -> bool:
    """Return True if the decision is by the limits of the policy, not by replaced ones or the share of a process."""
    limits, states = policy.limits, decision.limits
    return len(limits) == len(states) and all(
        state.limit == limit.units and state.window_ms == limit.window_ms
        for state, limit in zip(states, limits, strict=True)
    )


def _single_limit(policy: Policy) -> SingleLimit:
    (limit,) = policy.limits
    state = LimitState(limit=limit.units, window_ms=limit.window_ms, remaining=0, reset_after_ms=0)
    written, template = _written(policy.name, _quotas([state], policy))
    assert b"%" not in written  # no name of a policy has one
    quota = b"ratelimit-policy", written
    return SingleLimit(
        policy=policy,
        units=limit.units,
        window_ms=limit.window_ms,
        quota=quota,
        state=template,
        lines=header_lines([quota, (b"ratelimit", template)]),
    )


def _seconds(milliseconds: int) -> int:
    return -(-milliseconds // 1_000)


def _string(text: str) -> str:
    """Quote a String of RFC 9651, which holds printable ASCII only."""
    assert text.isascii()
    assert text.isprintable()
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
