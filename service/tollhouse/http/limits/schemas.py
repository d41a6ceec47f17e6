"""What the verbs of the limiter take and answer over HTTP, beside the `Take` and `Decision` of the library.

A body of another shape is 400. Bounds are the limiter's own, and a value outside of them is 422.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

from msgspec import Meta, Struct

from tollhouse.errors import InvalidInput
from tollhouse.limits.decision import Decision, Take
from tollhouse.limits.policy.policy import Algorithm, Limit, OnOutage

_Policy = Annotated[str, Meta(description="A policy by its name; GET /v1/limits lists them.", examples=["api"])]
_Key = Annotated[str, Meta(description="The subject: any text of 1 to 512 characters.", examples=["customer-7"])]
_Id = Annotated[str, Meta(description="As it was answered.", examples=["b3f1c2d4e5a6978877665544332211ff"])]
_WaitMs = Annotated[
    int, Meta(description="How long the answer may take while there is no room, 0 to 60000.", examples=[2000])
]


class SubjectBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One subject under one policy."""

    policy: _Policy
    key: _Key


class TakeAllBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Takes that are decided as one: all are charged, or none is."""

    takes: Annotated[list[Take], Meta(description="1 to 64 takes; the costs of equal subjects are summed.")]


class TakeUpToBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As many units as there is room for."""

    policy: _Policy
    key: _Key
    most: Annotated[int, Meta(description="The most units that are taken, at least 1.", examples=[50])]


class AcquireBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A take that may wait for its turn."""

    policy: _Policy
    key: _Key
    wait_ms: _WaitMs
    cost: Annotated[int | None, Meta(description="Units to take; the policy's own cost where left out.")] = None


class ReserveBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units to hold until it is known how many were needed."""

    policy: _Policy
    key: _Key
    estimate: Annotated[int, Meta(description="Units to hold.", examples=[1200])]
    hold_ms: Annotated[int, Meta(description="How long they are held at most, 1 to 86400000.")] = 60_000


class SettleBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many units of a reservation were needed; more than the estimate are charged too."""

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
    """A permit that is held."""

    policy: _Policy
    key: _Key
    id: _Id


class ResetAnswer(Struct, frozen=True, kw_only=True):
    """Whether there was anything to forget."""

    reset: bool


class RenewedAnswer(Struct, frozen=True, kw_only=True):
    """Whether the permit was still held, and is for longer now."""

    renewed: bool


class ReleasedAnswer(Struct, frozen=True, kw_only=True):
    """Whether the permit was still held."""

    released: bool


class HoldAnswer(Struct, frozen=True, kw_only=True):
    """What was decided, and the name of what is held since; null where the policy lets pass without holding."""

    decision: Decision
    id: str | None


class PolicyAnswer(Struct, frozen=True, kw_only=True):
    """A policy that can be named; `text` is the canonical notation of its limits.

    What is on its allow and deny lists is not shown: keys can be names or addresses.
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


class PoliciesAnswer(Struct, frozen=True, kw_only=True):
    """The policies that can be named, in order of their names."""

    policies: list[PolicyAnswer]


@contextmanager
def units_named(field: str) -> Generator[None]:
    """Let a mistake in the units be told under the name that the body gives them: to the limiter all are costs."""
    try:
        yield
    except InvalidInput as error:
        if error.field != "cost":
            raise
        raise InvalidInput(field, error.value, error.remedy, kind=error.kind) from error
