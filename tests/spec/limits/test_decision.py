"""The values of a limiter: what an exception says of a refusal, and when a lease is lost."""

from __future__ import annotations

import pytest

from tollhouse.limits.decision import Decision, Lease, RateLimited


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
