"""Counters and leases in the memory of one process, by the same rules as in the store, for use during an outage.

Each process admits its share: the limits divided by the number of processes. No other process sees what is kept here.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from tollhouse.clock import MonotonicClock, monotonic_ms
from tollhouse.limits.algorithms import concurrency, evaluate
from tollhouse.limits.algorithms.concurrency import LeaseEnds, LeaseVerdict
from tollhouse.limits.algorithms.counters import Hold, SubjectState
from tollhouse.limits.algorithms.evaluate import LimitStatus, Verdict
from tollhouse.limits.wire.request import TakeRequest

SUBJECTS_MAX: Final = 10_000
"""Bound of the subjects with counters, and of those with leases.

Beyond it the counters that were changed longest ago are evicted, but no lease is: it would admit a second holder.
"""

_NOTHING: Final = SubjectState()


class LocalLimiter:
    """Decides by the policy's local share; counters end with the outage, leases when they expire."""

    def __init__(self, *, clock: MonotonicClock = monotonic_ms, subjects_max: int = SUBJECTS_MAX) -> None:
        self._clock = clock
        self._subjects_max = subjects_max
        self._states: OrderedDict[str, SubjectState] = OrderedDict()
        self._leases: dict[str, LeaseEnds] = {}

    def take(self, request: TakeRequest) -> Verdict:
        """Charge the subject, or refuse."""
        share, state = request.compiled.local_share, self._state(request)
        verdict, state = evaluate.take(share, state, request.cost, self._clock())
        self._store(request, state)
        return verdict

    def take_up_to(self, request: TakeRequest) -> tuple[int, Verdict]:
        """Charge as many units as there are, and return how many."""
        share, state = request.compiled.local_share, self._state(request)
        units, verdict, state = evaluate.take_up_to(share, state, request.cost, self._clock())
        self._store(request, state)
        return units, verdict

    def peek(self, request: TakeRequest) -> Verdict:
        """Return what `take` would decide."""
        return evaluate.peek(request.compiled.local_share, self._state(request), request.cost, self._clock())

    def reserve(self, request: TakeRequest, reservation_id: str, hold_ms: int) -> Verdict:
        """Set units aside under an id, or refuse."""
        now_ms = self._clock()
        hold = Hold(name=reservation_id, units=request.cost, made_ms=now_ms, held_ms=hold_ms)
        verdict, state = evaluate.reserve(request.compiled.local_share, self._state(request), hold, now_ms)
        self._store(request, state)
        return verdict

    def settle(self, request: TakeRequest, reservation_id: str) -> tuple[bool, tuple[LimitStatus, ...]]:
        """Charge the cost in place of what was set aside; return whether it was, and the status of each limit."""
        now_ms, share = self._clock(), request.compiled.local_share
        settled, state = evaluate.settle(share, self._state(request), reservation_id, request.cost, now_ms)
        self._store(request, state)
        return settled, evaluate.limit_statuses(share, state, now_ms)

    def refund(self, request: TakeRequest, age_ms: int) -> None:
        """Uncount up to the cost, which was taken `age_ms` ago, as far as it was counted here."""
        share, state = request.compiled.local_share, self._state(request)
        _, state = evaluate.refund(share, state, request.cost, self._clock(), age_ms)
        self._store(request, state)

    def clear(self) -> None:
        """Drop all counters; leases stay, because their holders go on."""
        self._states.clear()

    def forget(self) -> None:
        """Drop all counters and all leases."""
        self._states.clear()
        self._leases.clear()

    def lease(self, request: TakeRequest, lease_id: str) -> LeaseVerdict:
        """Grant a permit to a lease, or refuse."""
        limit, now_ms = request.compiled.local_share.limits[0], self._clock()
        self._evict_expired(now_ms)
        leases, window_ms = self._leases.get(request.state_key), limit.window_ms
        if leases is None and len(self._leases) >= self._subjects_max:
            return LeaseVerdict(retry_after_ms=window_ms, remaining=0, reset_after_ms=window_ms, too_far_ahead=0)
        verdict, leases = concurrency.lease(limit, leases or {}, lease_id, now_ms)
        if verdict.allowed:
            self._store_leases(request, leases)
        return verdict

    def renew(self, request: TakeRequest, lease_id: str) -> bool:
        """Extend a lease to one window from now; return False if it expired or is unknown."""
        limit, leases = request.compiled.local_share.limits[0], self._leases.get(request.state_key, {})
        renewed, leases = concurrency.renew(limit, leases, lease_id, self._clock())
        if renewed:
            self._store_leases(request, leases)
        return renewed

    def release(self, request: TakeRequest, lease_id: str) -> bool:
        """End a lease; return False if it expired or is unknown."""
        leases = self._leases.get(request.state_key, {})
        released, leases = concurrency.release(leases, lease_id, self._clock())
        if released:
            self._leases[request.state_key] = leases
        return released

    def _state(self, request: TakeRequest) -> SubjectState:
        return self._states.get(request.state_key, _NOTHING)

    def _store(self, request: TakeRequest, state: SubjectState) -> None:
        if state is self._state(request):
            return
        self._states[request.state_key] = state
        self._states.move_to_end(request.state_key)
        if len(self._states) > self._subjects_max:
            self._states.popitem(last=False)

    def _store_leases(self, request: TakeRequest, leases: LeaseEnds) -> None:
        """Store a subject's leases as the newest, so that those that are not renewed come to the front."""
        self._leases.pop(request.state_key, None)
        self._leases[request.state_key] = leases

    def _evict_expired(self, now_ms: int) -> None:
        """Drop subjects from the front whose leases have all expired."""
        while self._leases:
            state_key, leases = next(iter(self._leases.items()))
            if any(end_ms > now_ms for end_ms in leases.values()):
                return
            del self._leases[state_key]
