"""The values of a limiter: their truth, what an exception says of a refusal, and when a lease is lost."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tollhouse.limits.decision import (
    Decision,
    Lease,
    LimitState,
    RateLimited,
    Reservation,
    Settlement,
    TakeAllResult,
)


def refusal(retry_after_ms: int | None) -> Decision:
    return Decision(
        allowed=False,
        policy="api",
        key="user:ada",
        cost=1,
        limits=(),
        retry_after_ms=retry_after_ms,
        refused_by=None,
        reason="outage" if retry_after_ms else "deny-listed",
    )


@pytest.mark.parametrize("retry_after_ms", [1_000, None])
def test_the_exception_of_a_refusal_has_the_decision_and_never_the_key(retry_after_ms: int | None) -> None:
    """A message may be logged, so it names policy and reason; the key can be a name or an address."""
    decision = refusal(retry_after_ms)

    error = RateLimited(decision)

    assert error.decision is decision
    assert decision.policy in str(error)
    assert decision.reason in str(error)
    assert ("1000 ms" in str(error)) is (retry_after_ms is not None)
    assert decision.key not in str(error)


def test_a_lease_is_lost_when_its_event_is_set() -> None:
    """A holder may wait for `lost_event` or look at `is_lost`."""
    lease = Lease(decision=refusal(None))
    assert not lease.is_lost

    lease.lost_event.set()

    assert lease.is_lost


REFUSED = refusal(None)
ALLOWED = replace(REFUSED, allowed=True)
UNUSED = (LimitState(limit=1, window_ms=1_000, remaining=1, reset_after_ms=0),)


def test_a_refused_decision_is_false() -> None:
    """`if await limits.take(...)` admits what was allowed, however it was, and nothing else."""
    allowed = [ALLOWED, replace(ALLOWED, reason="shadow"), replace(ALLOWED, degraded=True, limits=UNUSED)]

    assert [bool(one) for one in allowed] == [True] * 3
    assert [bool(one) for one in (REFUSED, replace(REFUSED, limits=UNUSED))] == [False] * 2


def test_takes_together_are_as_true_as_their_whole() -> None:
    """A refusal of one member refuses all, so it is the whole that counts."""
    assert TakeAllResult(allowed=True, decisions=(ALLOWED,), retry_after_ms=None)
    assert not TakeAllResult(allowed=False, decisions=(ALLOWED, REFUSED), retry_after_ms=1)


@pytest.mark.parametrize("grant_id", ["5f", None])
def test_a_lease_and_a_reservation_are_as_true_as_their_decision(grant_id: str | None) -> None:
    """Lists, shadows and `open` allow without an id, so it is no answer to whether the caller may go on."""
    assert Lease(decision=ALLOWED, id=grant_id)
    assert Reservation(decision=ALLOWED, id=grant_id)
    assert not Lease(decision=REFUSED)
    assert not Reservation(decision=REFUSED, id=None)


def test_a_lease_that_was_lost_was_granted() -> None:
    """The truth of a lease is how it was decided; `is_lost` says what became of it."""
    lease = Lease(decision=ALLOWED, id="5f")

    lease.lost_event.set()

    assert lease


def test_a_settlement_is_true_if_it_settled() -> None:
    """A reservation that is unknown, expired or settled before changes nothing."""
    assert Settlement(settled=True, decision=REFUSED)
    assert not Settlement(settled=False, decision=ALLOWED)
