"""The quota leases of one process, by key, and whether a key is busy enough to lease more of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tollhouse.clock import MonotonicClock
from tollhouse.limits.algorithms.quota import Terms
from tollhouse.limits.decision import Decision
from tollhouse.limits.quota.demand import Demand
from tollhouse.limits.quota.lease import QuotaLease
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.runtime.home_loop import running_loop

LEASES_MAX: Final = 1_024
"""Leases of one process at a time, those on their way included; the keys beyond ask the store for every take."""
TERMS: Final = Terms(longest_ms=1_000, parts=8, least=16)
"""A lease lasts a second at most, so that units which are not needed come back soon.

It has at most an eighth of what remains: so four processes get equal shares, and the last units are taken one by one. A
lease of few units would cost the server as much as the takes.
"""
PAUSE_MS: Final = 100
"""How long a key leases nothing after a lease that came too late, or of which little was used."""
BUSY: Final = 64
"""Takes in a second from which a key is busy, by the cost of the take that asks."""


class QuotaLeases:
    """The leases in force. `on_end` is called with each that ends while it has units, or had."""

    def __init__(self, *, clock: MonotonicClock, leases_max: int = LEASES_MAX) -> None:
        self._clock = clock
        self._leases_max = leases_max
        self._leases: dict[str, QuotaLease] = {}
        self._demand = Demand()
        self.on_end: Callable[[QuotaLease], None] = _forget

    def take(self, request: TakeRequest) -> Decision | None:
        """Admit a take from a lease, or return None if the store has to decide."""
        lease = self._leases.get(request.state_key)
        if lease is None or lease.compiled is not request.compiled:
            return None
        cost, now_ms = request.cost, self._clock()
        if now_ms >= lease.deadline_ms or not 0 < cost <= lease.left or running_loop() is not lease.loop:
            return None
        return lease.take(cost, now_ms)

    def refund(self, request: TakeRequest, age_ms: int) -> bool:
        """Return what was taken `age_ms` ago to its lease; return False if that is not in force.

        An age of 0 is that of a caller who does not state it, and who may have taken from a former lease.
        """
        lease = self._leases.get(request.state_key)
        if lease is None or lease.compiled is not request.compiled or age_ms == 0:
            return False
        now_ms = self._clock()
        return now_ms < lease.deadline_ms and lease.refund(request.cost, now_ms - age_ms)

    def left(self, request: TakeRequest) -> int:
        """Return the units that are left for takes of a key in this process."""
        lease = self._leases.get(request.state_key)
        if lease is None or lease.compiled is not request.compiled or self._clock() >= lease.deadline_ms:
            return 0
        return lease.left

    def wanted(self, request: TakeRequest, fetching: int) -> int:
        """Count a take that the store has to decide; return the units a second to lease for, 0 for none.

        `fetching` is how many leases are on their way.
        """
        lease = self._leases.get(request.state_key)
        units = request.cost + (0 if lease is None else lease.newly_used())
        if lease is not None and self._clock() >= lease.deadline_ms:
            self._rest_if_idle(lease)
        per_second = self._demand.add(request.state_key, units, self._clock())
        is_room = lease is not None or len(self._leases) + fetching < self._leases_max
        return per_second if is_room and request.cost > 0 and per_second >= BUSY * request.cost else 0

    def put(self, lease: QuotaLease) -> None:
        """Admit takes from a lease from now on; one that the key has already ends."""
        self.end(lease.request.state_key)
        self._leases[lease.request.state_key] = lease

    def rest(self, state_key: str, ms: int) -> None:
        """Lease nothing of a key for a while."""
        now_ms = self._clock()
        self._demand.rest(state_key, now_ms + min(ms, TERMS.longest_ms), now_ms)

    def on_refusal(self, request: TakeRequest, retry_after_ms: int) -> None:
        """End the lease of a key that the store refuses: what is left of it comes back for all."""
        self.rest(request.state_key, retry_after_ms)
        self.end(request.state_key)

    def end(self, state_key: str) -> None:
        """End the lease of a key, if there is one."""
        lease = self.pop(state_key)
        if lease is not None:
            self._demand.add(state_key, lease.newly_used(), self._clock())
            self._rest_if_idle(lease)
            self.on_end(lease)

    def end_overdue(self) -> int | None:
        """End the leases whose deadline is over; return the next deadline, None if there is none."""
        now_ms = self._clock()
        for state_key in [key for key, lease in self._leases.items() if now_ms >= lease.deadline_ms]:
            self.end(state_key)
        return min((lease.deadline_ms for lease in self._leases.values()), default=None)

    def pop(self, state_key: str) -> QuotaLease | None:
        """Return the lease of a key, from which nothing more is taken."""
        return self._leases.pop(state_key, None)

    def pop_all(self) -> list[QuotaLease]:
        """Return all leases, from which nothing more is taken."""
        leases = list(self._leases.values())
        self._leases.clear()
        return leases

    def forget_demand(self) -> None:
        """Count the takes of all keys anew."""
        self._demand.clear()

    def _rest_if_idle(self, lease: QuotaLease) -> None:
        """Lease nothing for a while if fewer units were used than a lease is worth: the store may be too far away."""
        if lease.used < TERMS.least:
            self.rest(lease.request.state_key, PAUSE_MS)


def _forget(_: QuotaLease) -> None:
    """Do nothing: there is no store yet that the lease is from."""
