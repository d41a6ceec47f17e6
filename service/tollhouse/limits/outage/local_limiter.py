"""Counts in this process while the store does not answer: each policy's limits, divided by the number of processes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from tollhouse.clock import MonotonicClock, monotonic_ms
from tollhouse.limits.algorithms import evaluate as windows
from tollhouse.limits.algorithms import holds
from tollhouse.limits.algorithms.counters import Hold, SubjectState
from tollhouse.limits.algorithms.evaluate import LimitStatus, Verdict
from tollhouse.limits.wire.request import TakeRequest

SUBJECTS_MAX: Final = 10_000
"""How many subjects are counted; beyond, those are forgotten that were taken from longest ago."""

_NOTHING: Final = SubjectState()


class LocalLimiter:
    """The same rules as on the server, over counts that end with the outage."""

    def __init__(self, *, clock: MonotonicClock = monotonic_ms, most: int = SUBJECTS_MAX) -> None:
        self._clock = clock
        self._most = most
        self._states: OrderedDict[str, SubjectState] = OrderedDict()

    def take(self, asked: TakeRequest) -> Verdict:
        """Charge the subject, or refuse."""
        verdict, state = windows.take(asked.compiled.local_share, self._state(asked), asked.cost, self._clock())
        self._keep(asked, state)
        return verdict

    def take_up_to(self, asked: TakeRequest) -> tuple[int, Verdict]:
        """Charge as many units as there are, and say how many."""
        units, verdict, state = windows.take_up_to(
            asked.compiled.local_share, self._state(asked), asked.cost, self._clock()
        )
        self._keep(asked, state)
        return units, verdict

    def peek(self, asked: TakeRequest) -> Verdict:
        """Tell what `take` would decide."""
        return windows.peek(asked.compiled.local_share, self._state(asked), asked.cost, self._clock())

    def reserve(self, asked: TakeRequest, name: str, held_ms: int) -> Verdict:
        """Set units aside under a name, or refuse."""
        now_ms = self._clock()
        hold = Hold(name=name, units=asked.cost, made_ms=now_ms, held_ms=held_ms)
        verdict, state = holds.reserve(asked.compiled.local_share, self._state(asked), hold, now_ms)
        self._keep(asked, state)
        return verdict

    def settle(self, asked: TakeRequest, name: str) -> tuple[bool, tuple[LimitStatus, ...]]:
        """Charge the cost in place of what was set aside; tell whether it was, and where the limits stand."""
        now_ms, share = self._clock(), asked.compiled.local_share
        settled, state = holds.settle(share, self._state(asked), name, asked.cost, now_ms)
        self._keep(asked, state)
        return settled, windows.limit_statuses(share, state, now_ms)

    def clear(self) -> None:
        """Forget all counts."""
        self._states.clear()

    def _state(self, asked: TakeRequest) -> SubjectState:
        return self._states.get(asked.state_key, _NOTHING)

    def _keep(self, asked: TakeRequest, state: SubjectState) -> None:
        if state is self._state(asked):
            return
        self._states[asked.state_key] = state
        self._states.move_to_end(asked.state_key)
        if len(self._states) > self._most:
            self._states.popitem(last=False)
