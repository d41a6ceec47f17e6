"""One quota lease: units that the store has charged to a key, and that this process may admit until a deadline.

The deadline is what was left of the sub-bucket in which they were charged, by the server's clock, after the moment of
sending: the server read its clock later than that, so the sub-bucket has not ended by then, however slow the reply was.
"""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from tollhouse.limits.decision import Decision
from tollhouse.limits.wire.request import TakeRequest


class QuotaLease:
    """What is left of `size` units; `charged_ms` is when they were charged, by the server's clock.

    `granted` is the decision on the take that fetched the lease: what the store had left then is what it says now, and
    a limit is restored as long after it as it said.
    """

    __slots__ = (
        "_counted",
        "_granted",
        "_ready_ms",
        "charged_ms",
        "compiled",
        "deadline_ms",
        "decisions",
        "left",
        "loop",
        "request",
        "size",
    )

    def __init__(
        self,
        request: TakeRequest,
        granted: Decision,
        loop: asyncio.AbstractEventLoop,
        *,
        size: int,
        charged_ms: int,
        deadline_ms: int,
        ready_ms: int,
    ) -> None:
        self.request = request
        self.compiled = request.compiled
        self.loop = loop
        self.size = self.left = size
        self.charged_ms = charged_ms
        self.deadline_ms = deadline_ms
        self.decisions = self._counted = 0
        self._granted = replace(granted, leased=True)
        self._ready_ms = ready_ms

    @property
    def used(self) -> int:
        """The units that were admitted and not refunded."""
        return self.size - self.left

    def take(self, cost: int, now_ms: int) -> Decision:
        """Admit `cost` units, of which there must be as many left; a limit is restored later than the lease ends."""
        self.left = left = self.left - cost
        self.decisions += 1
        granted, passed_ms = self._granted, now_ms - self._ready_ms
        states = granted.limits
        if len(states) == 1:  # most policies have one limit, and a comprehension costs as much as the rest
            state = states[0]
            limits = (
                replace(state, remaining=state.remaining + left, reset_after_ms=state.reset_after_ms - passed_ms),
            )
        else:
            limits = tuple(
                [
                    replace(state, remaining=state.remaining + left, reset_after_ms=state.reset_after_ms - passed_ms)
                    for state in states
                ]
            )
        return replace(granted, cost=cost, limits=limits)

    def refund(self, cost: int, taken_ms: int) -> bool:
        """Return units that were taken at `taken_ms` to the lease; return False if that was not from this one."""
        if taken_ms < self._ready_ms or cost > self.used:
            return False
        self.left += cost
        return True

    def newly_used(self) -> int:
        """Return how many units were admitted since the last call."""
        used, self._counted = self.used - self._counted, self.used
        return max(used, 0)
