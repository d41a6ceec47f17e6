"""Request and response bodies of the limiter's verbs, in addition to the library's `Take` and `Decision`.

A body of another shape is 400. A value outside the limiter's own bounds is 422.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

from msgspec import Meta, Struct

from tollhouse.errors import InvalidInput
from tollhouse.limits.decision import Decision, Take
from tollhouse.limits.policy.policy import Algorithm, LeaseRule, Limit, OnOutage

_Policy = Annotated[str, Meta(description="A policy by its name; GET /v1/limits lists them.", examples=["api"])]
_Key = Annotated[str, Meta(description="The subject: any text of 1 to 512 characters.", examples=["customer-7"])]
_Id = Annotated[
    str, Meta(description="The id of the reservation or the lease.", examples=["b3f1c2d4e5a6978877665544332211ff"])
]
_WaitMs = Annotated[int, Meta(description="How long to wait for room, 0 to 60000.", examples=[2000])]


class SubjectBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One subject under one policy."""

    policy: _Policy
    key: _Key


class TakeAllBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Takes that are decided together: all are charged, or none is."""

    takes: Annotated[list[Take], Meta(description="1 to 64 takes; the costs of equal subjects are summed.")]


class TakeUpToBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As many units as there is room for."""

    policy: _Policy
    key: _Key
    most: Annotated[int, Meta(description="The most units to take, at least 1.", examples=[50])]


class AcquireBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A take that may wait for room."""

    policy: _Policy
    key: _Key
    wait_ms: _WaitMs
    cost: Annotated[int | None, Meta(description="Units to take; the policy's own cost if absent.")] = None


class ReserveBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units to hold until the number that is needed is known."""

    policy: _Policy
    key: _Key
    estimate: Annotated[int, Meta(description="Units to hold.", examples=[1200])]
    hold_ms: Annotated[int, Meta(description="How long to hold them at most, 1 to 86400000.")] = 60_000


class SettleBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The units of a reservation that were needed; all of them are charged, even above the estimate."""

    policy: _Policy
    key: _Key
    id: _Id
    actual: Annotated[int, Meta(description="Units to charge.", examples=[874])]


class LeaseBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A permit of a `concurrency` policy."""

    policy: _Policy
    key: _Key
    wait_ms: _WaitMs = 0


class PermitBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A permit on lease."""

    policy: _Policy
    key: _Key
    id: _Id


class ResetAnswer(Struct, frozen=True, kw_only=True):
    """Whether anything was counted before."""

    reset: bool


class RenewedAnswer(Struct, frozen=True, kw_only=True):
    """Whether the lease was still running, and is extended."""

    renewed: bool


class ReleasedAnswer(Struct, frozen=True, kw_only=True):
    """Whether the lease was still running."""

    released: bool


class HoldAnswer(Struct, frozen=True, kw_only=True):
    """The decision, and the id of the hold; null if the policy admits without holding anything."""

    decision: Decision
    id: str | None


class PolicyAnswer(Struct, frozen=True, kw_only=True):
    """A policy in force; `text` is the canonical notation of its limits.

    Its allow and deny lists are not shown, because keys can be names or addresses.
    """

    name: str
    text: str
    algorithm: Algorithm
    limits: tuple[Limit, ...]
    on_outage: OnOutage
    shadow: bool
    shadow_of: str | None
    cost: int
    key: str | None
    lease: LeaseRule


class PoliciesAnswer(Struct, frozen=True, kw_only=True):
    """The policies in force, sorted by name."""

    policies: list[PolicyAnswer]


@contextmanager
def units_named(field: str) -> Generator[None]:
    """Report a mistake in the units under `field`, the name that the body gives them; the limiter calls them `cost`."""
    try:
        yield
    except InvalidInput as error:
        if error.field != "cost":
            raise
        raise InvalidInput(field, error.value, error.remedy, kind=error.kind) from error
