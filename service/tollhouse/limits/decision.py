"""What is asked of a limiter, and what it answers: values, the same in the library and over HTTP."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Reason = Literal[
    "within-limits", "limit-reached", "cost-above-limit", "together", "shadow", "allow-listed", "deny-listed", "outage"
]
"""Why a decision is as it is.

`together`: nothing of its own refuses, but another take of the same `take_all`. `shadow`: a limit would refuse, but
the policy only watches. `outage`: the store did not answer, and the policy says open or closed.
"""


class Take(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wish for `cost` units of `policy` for the subject `key`; a cost of None is the policy's own."""

    policy: str
    key: str
    cost: int | None = None


class LimitState(Struct, frozen=True, kw_only=True):
    """Where one limit stands; `reset_after_ms` is the time until it is wholly restored."""

    limit: int
    window_ms: int
    remaining: int
    reset_after_ms: int


class Decision(Struct, frozen=True, kw_only=True):
    """The answer to a take: a refusal is a decision, not an error, and charged nothing.

    Absent other takes, the same take succeeds after `retry_after_ms` and not a millisecond earlier. It is
    None where the take was allowed, and where no wait will help: the cost is above a limit, or the key is on
    the deny list. `refused_by` is the limit that refuses longest, as canonical text. `limits` is empty where no
    limit was asked: the key is on a list, or the store did not answer. `degraded` says that the store did not
    answer and the policy's outage rule decided.
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


class Together(Struct, frozen=True, kw_only=True):
    """The answer to takes that were decided as one: all are charged, or none is.

    `retry_after_ms` is the wait after which all would succeed, None where they did or never will.
    """

    allowed: bool
    decisions: tuple[Decision, ...]
    retry_after_ms: int | None
