"""What is asked of a limiter, and what it answers: values, the same in the library and over HTTP."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Reason = Literal[
    "within-limits",
    "limit-reached",
    "cost-above-limit",
    "all-or-nothing",
    "shadow",
    "allow-listed",
    "deny-listed",
    "outage",
]
"""Why a decision is as it is.

`all-or-nothing`: another take of the same `take_all` was refused. `shadow`: a limit or a list refuses, but the policy
is a shadow. `outage`: the store did not answer, and the policy says open or closed, or says
local and one process alone may not give out so much.
"""


class Take(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wish for `cost` units of `policy` for the subject `key`; a cost of None is the policy's own."""

    policy: str
    key: str
    cost: int | None = None


class LimitState(Struct, frozen=True, kw_only=True, gc=False):  # values of values form no cycles to be looked for
    """Where one limit stands; `reset_after_ms` is the time until it is wholly restored."""

    limit: int
    window_ms: int
    remaining: int
    reset_after_ms: int


class Decision(Struct, frozen=True, kw_only=True, gc=False):
    """The answer to a take: a refusal is a decision, not an error, and charged nothing.

    Absent other takes, the same take succeeds after `retry_after_ms` and not a millisecond earlier. It is
    None where the take was allowed, and where no wait will help: the cost is above a limit, or the key is on
    the deny list. `refused_by` is the limit that refuses longest, as canonical text; None where it is none of them
    that refuses, such as where one subject has too many reservations. `limits` is empty where no limit was asked:
    the key is on a list, or the store did not answer. `degraded` says that the store did not answer and the policy's
    outage rule decided; under `local` the limits are then the part that this process may give out.
    """

    allowed: bool
    policy: str
    key: str
    cost: int
    limits: tuple[LimitState, ...]
    retry_after_ms: int | None
    refused_by: str | None
    degraded: bool = False
    reason: Reason = "within-limits"


class TakeAllResult(Struct, frozen=True, kw_only=True):
    """The answer to takes that were decided as one: all are charged, or none is.

    `retry_after_ms` is the wait after which all would succeed, None where they did or never will.
    """

    allowed: bool
    decisions: tuple[Decision, ...]
    retry_after_ms: int | None


class Reservation(Struct, frozen=True, kw_only=True):
    """The answer to a wish to hold units until it is known how many are needed; None where nothing is held."""

    decision: Decision
    id: str | None


class Settlement(Struct, frozen=True, kw_only=True):
    """What became of a reservation, and where its limits stand.

    `settled` is False where the reservation is unknown, over or settled before: nothing was changed.
    """

    settled: bool
    decision: Decision
