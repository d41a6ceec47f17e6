"""The values that the verbs of the limiter accept and return, the same in the library and over HTTP.

A refusal is false, so `if await limits.take(...)` admits what the limit admits. An outcome that may also be None is
compared with `is None` first: both are false.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import Any, Final, Literal

from msgspec import Struct, field

from tollhouse.errors import TollhouseError

Reason = Literal[
    "within-limits",
    "limit-reached",
    "cost-above-limit",
    "all-or-nothing",
    "shadow",
    "allow-listed",
    "deny-listed",
    "outage",
    "disabled",
]
"""Why a take was allowed or refused.

`all-or-nothing`: another take of the same `take_all` was refused. `shadow`: a limit or a list refuses, but the policy
is a shadow. `outage`: the store did not answer, and the policy says open or closed; or it says local, and the cost is
above the share of this process. `disabled`: limits are off.
"""


class Take(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request for `cost` units of `policy` on behalf of `key`; a cost of None is the policy's default."""

    policy: str
    key: str
    cost: int | None = None


class LimitState(Struct, frozen=True, kw_only=True, gc=False):  # holds no containers, so it is in no reference cycle
    """How much of one limit is left; after `reset_after_ms` without takes all of it is."""

    limit: int
    window_ms: int
    remaining: int
    reset_after_ms: int


class Decision(Struct, frozen=True, kw_only=True, gc=False):
    """The outcome of a take. A refusal is a decision, not an error, and charges nothing.

    Without other takes, the same take succeeds after `retry_after_ms` and not a millisecond earlier. The wait is None
    if the take was allowed, and if no wait will help: the cost is above a limit, or the key is on the deny list.
    `refused_by` is the limit that refuses longest, in canonical notation; None if no limit refuses, for example because
    the key has too many reservations. `limits` is empty if no limit was consulted: the key is on a list, or the store
    did not answer. `degraded` is True if the store did not answer and the policy's `on_outage` rule decided; under
    `local` the limits are then the share of this process. `leased` is True if this process admitted the take from a
    lease of its own, without the store: `remaining` is then what is left of the lease and what the store had left when
    it granted that. Takes of other processes since then are not seen.
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
    leased: bool = False

    def __bool__(self) -> bool:
        """Return True if the take was allowed."""
        return self.allowed


def longest_refusal(refusals: Iterable[Decision]) -> Decision:
    """Return the refusal with the longest wait; one that no wait will help is longer than any."""
    return max(refusals, key=lambda one: math.inf if one.retry_after_ms is None else one.retry_after_ms)


class TakeAllResult(Struct, frozen=True, kw_only=True):
    """The outcome of takes that were decided as one: either all are charged, or none is.

    After `retry_after_ms` all of them would succeed; None if they did, or never will.
    """

    allowed: bool
    decisions: tuple[Decision, ...]
    retry_after_ms: int | None

    def __bool__(self) -> bool:
        """Return True if all takes were charged."""
        return self.allowed


class Reservation(Struct, frozen=True, kw_only=True):
    """Units that are set aside until `settle` says how many were needed; `id` is None if none are.

    It is true if the caller may go on: a list, a shadow or `open` in an outage allows that without setting units aside.
    """

    decision: Decision
    id: str | None

    def __bool__(self) -> bool:
        """Return True if the request was allowed, with or without units set aside."""
        return self.decision.allowed


class Settlement(Struct, frozen=True, kw_only=True):
    """The end of a reservation, and its limits afterwards.

    `settled` is False, and nothing changed, if the reservation is unknown, expired or was settled before.
    """

    settled: bool
    decision: Decision

    def __bool__(self) -> bool:
        """Return True if this call settled the reservation."""
        return self.settled


class Lease(Struct, frozen=True, kw_only=True):
    """A permit of a concurrency policy, held under the name `id` until it is released or expires.

    `id` is None if no permit is held: the request was refused, or it was allowed without one, because of a list, a
    shadow, or `open` in an outage. So it is the truth of the lease that says whether to go on, not its `id`.
    `lost_event` is set when `hold` finds that another caller may have the permit.
    """

    decision: Decision
    id: str | None = None
    lost_event: asyncio.Event = field(default_factory=asyncio.Event)

    def __bool__(self) -> bool:
        """Return True if the request was allowed, with or without a permit, also after the permit was lost."""
        return self.decision.allowed

    @property
    def is_lost(self) -> bool:
        """Whether the permit was lost before it was released."""
        return self.lost_event.is_set()


class RateLimited(TollhouseError):
    """A call of a limited function was refused; nothing was charged, and `decision` says how long to wait.

    Inside a request that our middleware or plugin serves, the exception needs no handler: the client gets the response
    that a refused request gets. A handler of the application's own renders that response by
    `tollhouse.rate_limited_response`, for which `origin` is the request that was refused.
    """

    def __init__(self, decision: Decision, origin: object = None) -> None:
        self.decision = decision
        self.origin = origin
        wait_ms = decision.retry_after_ms
        until = "no wait will change that" if wait_ms is None else f"retry in {wait_ms} ms"
        super().__init__(f"policy {decision.policy} refuses ({decision.reason}); {until}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes a copy; the request stays behind, because another process does not serve it."""
        make, args, fields = super().__reduce__()
        return make, args, {**fields, "origin": None}


REFUSAL_TYPES: Final[tuple[type[Any], ...]] = RateLimited.__mro__[: RateLimited.__mro__.index(Exception)]
"""The types for which an application may have a handler of refusals, the nearest first.

A handler for any exception reports failures, which a refusal is not.
"""
