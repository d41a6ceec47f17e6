"""The algorithm `concurrency`: permits held as leases; the twins are `lua/limits/lease.lua` and its neighbours.

A policy has `units` permits. A lease holds one of them until it is released, or until one window after it was granted
or last renewed. Expired leases stay in the state until the next lease is granted, which drops all of them. So a permit
can have gone to another caller only after its lease is gone from the state: a lease that is unknown or over is never
renewed.

Over-admission: none, at no moment are more than `units` leases live. Under-admission: the permit of a holder that
crashed comes back after one window.

When the clock steps back, no holder loses its permit. Leases then end that much later than they should, but not later
than a window and a minute after the first refusal that notices it (`clamp`). Holders renew once a minute or more often,
so `clamp` ends only the leases of crashed holders, and their permits do not stay away until the clock has caught up. It
does the same to leases that were granted for a longer window than the policy has now.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from tollhouse.limits.algorithms.counters import AHEAD_MS_MAX
from tollhouse.limits.policy.policy import Limit

LeaseEnds = Mapping[str, int]
"""When each lease of one key ends, by its id."""


class LeaseVerdict(Struct, frozen=True, kw_only=True):
    """Whether a permit was free, and the limit afterwards.

    `retry_after_ms` is None if a permit was free; otherwise one is free after that wait, if none is renewed or released
    before. `reset_after_ms` is when the last lease ends, likewise. `too_far_ahead` is the number of leases that end
    later than `clamp` allows.
    """

    retry_after_ms: int | None
    remaining: int
    reset_after_ms: int
    too_far_ahead: int

    @property
    def allowed(self) -> bool:
        """Whether a permit was free."""
        return self.retry_after_ms is None


def lease(limit: Limit, leases: LeaseEnds, lease_id: str, now_ms: int) -> tuple[LeaseVerdict, LeaseEnds]:
    """Grant a permit to a lease, which may hold one already; a refusal returns the state unchanged."""
    others = {one: end_ms for one, end_ms in leases.items() if one != lease_id}
    verdict = peek(limit, others, now_ms)
    if not verdict.allowed:
        return verdict, leases
    live = {one: end_ms for one, end_ms in leases.items() if end_ms > now_ms}
    granted = {**live, lease_id: now_ms + limit.window_ms}
    return _verdict(limit, granted, now_ms, None), granted


def peek(limit: Limit, leases: LeaseEnds, now_ms: int) -> LeaseVerdict:
    """Return what `lease` would decide, with the limit as it is without it."""
    ends = sorted(end_ms for end_ms in leases.values() if end_ms > now_ms)
    if len(ends) < limit.units:
        return _verdict(limit, leases, now_ms, None)
    return _verdict(limit, leases, now_ms, min(ends[len(ends) - limit.units], _last_end_ms(limit, now_ms)) - now_ms)


def renew(limit: Limit, leases: LeaseEnds, lease_id: str, now_ms: int) -> tuple[bool, LeaseEnds]:
    """Extend a lease to one window from now; return False, and the state unchanged, if it is over or unknown."""
    if leases.get(lease_id, 0) <= now_ms:
        return False, leases
    return True, {**leases, lease_id: now_ms + limit.window_ms}


def release(leases: LeaseEnds, lease_id: str, now_ms: int) -> tuple[bool, LeaseEnds]:
    """End a lease; return False, and the state unchanged, if it is over or unknown."""
    if leases.get(lease_id, 0) <= now_ms:
        return False, leases
    return True, {one: end_ms for one, end_ms in leases.items() if one != lease_id}


def clamp(limit: Limit, leases: LeaseEnds, now_ms: int) -> LeaseEnds:
    """Return the leases with those that end too far ahead ending in a window and a minute."""
    return {one: min(end_ms, _last_end_ms(limit, now_ms)) for one, end_ms in leases.items()}


def _verdict(limit: Limit, leases: LeaseEnds, now_ms: int, retry_after_ms: int | None) -> LeaseVerdict:
    ends = [end_ms for end_ms in leases.values() if end_ms > now_ms]
    last_end_ms = _last_end_ms(limit, now_ms)
    return LeaseVerdict(
        retry_after_ms=retry_after_ms,
        remaining=max(limit.units - len(ends), 0),
        reset_after_ms=min(max(ends, default=now_ms), last_end_ms) - now_ms,
        too_far_ahead=sum(end_ms > last_end_ms for end_ms in ends),
    )


def _last_end_ms(limit: Limit, now_ms: int) -> int:
    """Return the latest end that a clock at most a minute ahead of ours can have written."""
    return now_ms + limit.window_ms + AHEAD_MS_MAX
