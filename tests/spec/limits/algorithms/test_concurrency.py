"""The pure rules of `concurrency`, row by row."""

from __future__ import annotations

import pytest

from tollhouse.limits.algorithms.concurrency import LeaseEnds, LeaseVerdict, clamp, lease, peek, release, renew
from tollhouse.limits.policy.policy import Limit

NOW_MS = 1_800_000_000_000
TWO = Limit(units=2, window_ms=60_000)
FAR_MS = 120_000
"""A window and a minute: the most by which a lease may end ahead of now."""


def held(**ends_after_ms: int) -> LeaseEnds:
    return {name: NOW_MS + after_ms for name, after_ms in ends_after_ms.items()}


def verdict(retry_after_ms: int | None, remaining: int, reset_after_ms: int, far: int = 0) -> LeaseVerdict:
    return LeaseVerdict(
        retry_after_ms=retry_after_ms, remaining=remaining, reset_after_ms=reset_after_ms, too_far_ahead=far
    )


#    held, what a lease is answered, what is held afterwards
LEASED = [
    (held(), verdict(None, 1, 60_000), held(new=60_000)),
    (held(a=1), verdict(None, 0, 60_000), held(a=1, new=60_000)),
    (held(a=90_000), verdict(None, 0, 90_000), held(a=90_000, new=60_000)),
    (held(a=0, b=-5), verdict(None, 1, 60_000), held(new=60_000)),  # those that are over are dropped
    (held(a=5, b=9), verdict(5, 0, 9), held(a=5, b=9)),  # a refusal leaves all as it is
    (held(a=0, b=5, c=9), verdict(5, 0, 9), held(a=0, b=5, c=9)),
    (held(a=5, b=7, c=9), verdict(7, 0, 9), held(a=5, b=7, c=9)),  # there were more permits once: two have to end
    (held(a=FAR_MS, b=FAR_MS), verdict(FAR_MS, 0, FAR_MS), held(a=FAR_MS, b=FAR_MS)),
    (held(a=300_000, b=300_000), verdict(FAR_MS, 0, FAR_MS, 2), held(a=300_000, b=300_000)),
    (held(a=300_000, b=50), verdict(50, 0, FAR_MS, 1), held(a=300_000, b=50)),
    (held(new=40_000, a=5), verdict(None, 0, 60_000), held(new=60_000, a=5)),  # asked again, it holds what it held
]


@pytest.mark.parametrize(("before", "answered", "after"), LEASED)
def test_a_lease_is_given_where_a_permit_is_free(before: LeaseEnds, answered: LeaseVerdict, after: LeaseEnds) -> None:
    """At most `units` leases hold at a time; a refusal says when a permit is free, and changes nothing."""
    assert lease(TWO, before, "new", NOW_MS) == (answered, after)
    assert answered.allowed is (answered.retry_after_ms is None)


#    held, what a look finds
LOOKED = [
    (held(), verdict(None, 2, 0)),
    (held(a=0), verdict(None, 2, 0)),
    (held(a=40_000), verdict(None, 1, 40_000)),
    (held(a=5, b=9), verdict(5, 0, 9)),
    (held(a=5, b=7, c=9), verdict(7, 0, 9)),
    (held(a=300_000), verdict(None, 1, FAR_MS, 1)),
]


@pytest.mark.parametrize(("state", "found"), LOOKED)
def test_a_look_tells_what_a_lease_would_find(state: LeaseEnds, found: LeaseVerdict) -> None:
    """Peek tells whether a permit is free, and where the limit stands."""
    assert peek(TWO, state, NOW_MS) == found


#   the lease ends after, whether it is renewed
RENEWED = [(60_000, True), (1, True), (0, False), (-1, False), (None, False)]


@pytest.mark.parametrize(("after_ms", "renewed"), RENEWED)
def test_only_a_lease_that_goes_on_is_renewed_or_released(after_ms: int | None, renewed: bool) -> None:
    """A lease that is over or unknown is neither renewed nor released: its permit may be somebody else's."""
    before = held(b=9) if after_ms is None else held(a=after_ms, b=9)

    assert renew(TWO, before, "a", NOW_MS) == (renewed, held(a=60_000, b=9) if renewed else before)
    assert release(before, "a", NOW_MS) == (renewed, held(b=9) if renewed else before)


def test_leases_too_far_ahead_are_brought_near() -> None:
    """After a large step back leases end in a window and a minute at the latest; nearer ones keep their end."""
    before = held(a=FAR_MS + 1, b=FAR_MS, c=5, d=-1)

    assert clamp(TWO, before, NOW_MS) == held(a=FAR_MS, b=FAR_MS, c=5, d=-1)
