"""The rules of `concurrency`, as pure functions; `lua/limits/lease.lua` and its neighbours are their twins.

A policy has `units` permits, and a lease holds one of them until it ends: one window after it was given or renewed
last, or when it is released. Ended leases stay in the state until the next one is given, which drops them all. So a
permit was given to somebody else only if the lease that held it is gone: what is unknown or over is never renewed.

Over-admission: none, at no moment do more than `units` leases hold. Under-admission: the permit of a holder that
crashed comes back after one window.

A clock that steps back takes no permit from a holder. Leases then end later than they should by as much, but not
later than a window and a minute from when that is noticed (`shorten`): holders renew far more often, so only those of
crashed holders end by it, and no permit stays away until the clock has caught up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from tollhouse.limits.policy.policy import Limit

AHEAD_MS_MAX: Final = 60_000

Leases = Mapping[str, int]
"""When each lease of one subject ends, by its id."""


class LeaseVerdict(Struct, frozen=True, kw_only=True):
    """Whether a permit was free, and where the limit stands afterwards.

    `retry_after_ms` is None where one was; else a permit is free then, if none is renewed or released before.
    `reset_after_ms` is when the last lease ends, likewise. `far` counts the leases that end too far ahead.
    """

    retry_after_ms: int | None
    remaining: int
    reset_after_ms: int
    too_far_ahead: int

    @property
    def allowed(self) -> bool:
        """Tell whether a permit was free."""
        return self.retry_after_ms is None


def lease(limit: Limit, held: Leases, lease_id: str, now_ms: int) -> tuple[LeaseVerdict, Leases]:
    """Give a permit to a lease, or refuse and give the state back as it is; a lease that holds one has it anew."""
    others = {one: end for one, end in held.items() if one != lease_id}
    verdict = peek(limit, others, now_ms)
    if not verdict.allowed:
        return verdict, held
    live = {one: end_ms for one, end_ms in held.items() if end_ms > now_ms}
    given = {**live, lease_id: now_ms + limit.window_ms}
    return _verdict(limit, given, now_ms, None), given


def peek(limit: Limit, held: Leases, now_ms: int) -> LeaseVerdict:
    """Tell what `lease` would decide, and where the limit stands without it."""
    ends = sorted(end_ms for end_ms in held.values() if end_ms > now_ms)
    if len(ends) < limit.units:
        return _verdict(limit, held, now_ms, None)
    return _verdict(limit, held, now_ms, min(ends[len(ends) - limit.units], _far_ms(limit, now_ms)) - now_ms)


def renew(limit: Limit, held: Leases, lease_id: str, now_ms: int) -> tuple[bool, Leases]:
    """Let a lease last one window from now; False where it is over or unknown, and nothing changes."""
    if held.get(lease_id, 0) <= now_ms:
        return False, held
    return True, {**held, lease_id: now_ms + limit.window_ms}


def release(held: Leases, lease_id: str, now_ms: int) -> tuple[bool, Leases]:
    """End a lease; False where it is over or unknown, and nothing changes."""
    if held.get(lease_id, 0) <= now_ms:
        return False, held
    return True, {one: end_ms for one, end_ms in held.items() if one != lease_id}


def clamp(limit: Limit, held: Leases, now_ms: int) -> Leases:
    """Let leases that end too far ahead end in a window and a minute."""
    return {one: min(end_ms, _far_ms(limit, now_ms)) for one, end_ms in held.items()}


def _verdict(limit: Limit, held: Leases, now_ms: int, retry_after_ms: int | None) -> LeaseVerdict:
    ends = [end_ms for end_ms in held.values() if end_ms > now_ms]
    far_ms = _far_ms(limit, now_ms)
    return LeaseVerdict(
        retry_after_ms=retry_after_ms,
        remaining=max(limit.units - len(ends), 0),
        reset_after_ms=min(max(ends, default=now_ms), far_ms) - now_ms,
        too_far_ahead=sum(end_ms > far_ms for end_ms in ends),
    )


def _far_ms(limit: Limit, now_ms: int) -> int:
    """Give the last moment at which a lease can end, if it was written by a clock that is a minute ahead at most."""
    return now_ms + limit.window_ms + AHEAD_MS_MAX
