"""The algorithm `concurrency`, row by row."""

from __future__ import annotations

import pytest

from tollhouse.limits.algorithms.concurrency import LeaseEnds, LeaseVerdict, clamp, lease, peek, release, renew
from tollhouse.limits.policy.policy import Limit

NOW_MS = 1_800_000_000_000
TWO = Limit(units=2, window_ms=60_000)
FAR_MS = 120_000
"""A window and a minute: the most by which a lease may end ahead of now."""


def leases(**ends_after_ms: int) -> LeaseEnds:
    return {name: NOW_MS + after_ms for name, after_ms in ends_after_ms.items()}


def verdict(retry_after_ms: int | None, remaining: int, reset_after_ms: int, far: int = 0) -> LeaseVerdict:
    return LeaseVerdict(
        retry_after_ms=retry_after_ms, remaining=remaining, reset_after_ms=reset_after_ms, too_far_ahead=far
    )


#    the leases before, the verdict on one more, the leases after
GRANTS = [
    (leases(), verdict(None, 1, 60_000), leases(new=60_000)),
    (leases(a=1), verdict(None, 0, 60_000), leases(a=1, new=60_000)),
    (leases(a=90_000), verdict(None, 0, 90_000), leases(a=90_000, new=60_000)),
    (leases(a=0, b=-5), verdict(None, 1, 60_000), leases(new=60_000)),  # expired leases are dropped
    (leases(a=5, b=9), verdict(5, 0, 9), leases(a=5, b=9)),  # a refusal changes nothing
    (leases(a=0, b=5, c=9), verdict(5, 0, 9), leases(a=0, b=5, c=9)),
    (leases(a=5, b=7, c=9), verdict(7, 0, 9), leases(a=5, b=7, c=9)),  # there were more permits once: two have to end
    (leases(a=FAR_MS, b=FAR_MS), verdict(FAR_MS, 0, FAR_MS), leases(a=FAR_MS, b=FAR_MS)),
    (leases(a=300_000, b=300_000), verdict(FAR_MS, 0, FAR_MS, 2), leases(a=300_000, b=300_000)),
    (leases(a=300_000, b=50), verdict(50, 0, FAR_MS, 1), leases(a=300_000, b=50)),
    (leases(new=40_000, a=5), verdict(None, 0, 60_000), leases(new=60_000, a=5)),  # it holds a permit already
]


@pytest.mark.parametrize(("before", "granted", "after"), GRANTS)
def test_a_lease_is_granted_if_a_permit_is_free(before: LeaseEnds, granted: LeaseVerdict, after: LeaseEnds) -> None:
    """At most `units` leases hold at a time; a refusal says when a permit is free, and changes nothing."""
    assert lease(TWO, before, "new", NOW_MS) == (granted, after)
    assert granted.allowed is (granted.retry_after_ms is None)


#    the leases, what a peek finds
PEEKS = [
    (leases(), verdict(None, 2, 0)),
    (leases(a=0), verdict(None, 2, 0)),
    (leases(a=40_000), verdict(None, 1, 40_000)),
    (leases(a=5, b=9), verdict(5, 0, 9)),
    (leases(a=5, b=7, c=9), verdict(7, 0, 9)),
    (leases(a=300_000), verdict(None, 1, FAR_MS, 1)),
]


@pytest.mark.parametrize(("state", "found"), PEEKS)
def test_a_peek_finds_what_a_lease_would_find(state: LeaseEnds, found: LeaseVerdict) -> None:
    """A peek returns whether a permit is free, and the limit as it is."""
    assert peek(TWO, state, NOW_MS) == found


#   the lease ends after, whether it is renewed
RENEWALS = [(60_000, True), (1, True), (0, False), (-1, False), (None, False)]


@pytest.mark.parametrize(("after_ms", "renewed"), RENEWALS)
def test_only_a_live_lease_is_renewed_or_released(after_ms: int | None, renewed: bool) -> None:
    """A lease that is over or unknown is neither renewed nor released: another holder may have its permit."""
    before = leases(b=9) if after_ms is None else leases(a=after_ms, b=9)

    assert renew(TWO, before, "a", NOW_MS) == (renewed, leases(a=60_000, b=9) if renewed else before)
    assert release(before, "a", NOW_MS) == (renewed, leases(b=9) if renewed else before)


def test_leases_too_far_ahead_are_clamped() -> None:
    """After a large step back leases end in a window and a minute at the latest; others are unchanged."""
    before = leases(a=FAR_MS + 1, b=FAR_MS, c=5, d=-1)

    assert clamp(TWO, before, NOW_MS) == leases(a=FAR_MS, b=FAR_MS, c=5, d=-1)
