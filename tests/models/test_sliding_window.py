"""The pure rules of `sliding-window`, held against an exact log of what was admitted."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import Struct

from tollhouse.limits.policy import RESOLUTION_MAX, UNITS_MAX, WINDOW_MS_MAX, Limit
from tollhouse.limits.windows import AHEAD_MS_MAX, State, Verdict, peek, take

START_MS = 1_800_000_000_000


class Step(Struct, frozen=True):
    """Move the clock, then take: `cost` in percent of the smallest limit, rounded up."""

    move_ms: int
    cost_percent: int


class ExactLog:
    """Every admission of one limit with its time; a clock that steps back a little stands still here.

    Further back than a minute nothing is believed: the next admission begins a new log.
    """

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.admitted: list[tuple[int, int]] = []

    def admit(self, cost: int, now_ms: int) -> None:
        if not self.believed(now_ms):
            self.admitted.clear()
        self.admitted.append((max([now_ms, *(ms for ms, _ in self.admitted)]), cost))

    def believed(self, now_ms: int) -> bool:
        if not self.admitted:
            return True
        index = self.admitted[-1][0] * self.limit.resolution // self.limit.window_ms
        return index * self.limit.window_ms <= (now_ms + AHEAD_MS_MAX) * self.limit.resolution

    def units_until(self, moment_ms: int) -> int:
        """Count what was admitted in the window that ends at the moment."""
        return sum(cost for ms, cost in self.admitted if moment_ms - self.limit.window_ms < ms <= moment_ms)

    def wait_ms(self, cost: int, now_ms: int) -> int:
        """Tell how long an exact limiter would make this cost wait."""
        ends = (ms + self.limit.window_ms for ms, _ in self.admitted)
        return min((end - now_ms for end in [now_ms, *ends] if end >= now_ms and self._fits(cost, end)), default=0)

    def _fits(self, cost: int, moment_ms: int) -> bool:
        held = sum(units for ms, units in self.admitted if ms > moment_ms - self.limit.window_ms)
        return held + cost <= self.limit.units


@st.composite
def limits_of_any_size(draw: st.DrawFn, most: int = 3) -> tuple[Limit, ...]:
    """One to three limits whose windows need not divide into their sub-buckets."""
    windows_ms = st.sampled_from([1_000, 1_001, 60_000, 3_600_000]) | st.integers(1_000, WINDOW_MS_MAX)
    units = st.integers(1, 20) | st.integers(1, UNITS_MAX)
    resolutions = st.sampled_from([1, 2, 3, 16, RESOLUTION_MAX]) | st.integers(1, RESOLUTION_MAX)
    limit = st.builds(Limit, units=units, window_ms=windows_ms, resolution=resolutions)
    return tuple(draw(st.lists(limit, min_size=1, max_size=most, unique_by=lambda one: one.window_ms)))


@st.composite
def histories(draw: st.DrawFn, *, farthest_back_ms: int = 3 * AHEAD_MS_MAX) -> tuple[tuple[Limit, ...], list[Step]]:
    """Limits, and steps whose moves lie around what matters: a sub-bucket, a window, a minute back."""
    limits = draw(limits_of_any_size())
    one = draw(st.sampled_from(limits))
    bucket_ms = one.window_ms // one.resolution
    forward = st.sampled_from([0, 1, bucket_ms, bucket_ms + 1, one.window_ms - 1, one.window_ms])
    forward |= st.integers(0, bucket_ms) | st.integers(0, 2 * one.window_ms)
    back = st.integers(1, farthest_back_ms).map(lambda ms: -ms)
    moves = st.one_of(forward, forward, forward, back)
    step = st.builds(Step, move_ms=moves, cost_percent=st.integers(0, 110))
    return limits, draw(st.lists(step, min_size=1, max_size=25))


def cost_of(step: Step, limits: Sequence[Limit]) -> int:
    smallest = min(limit.units for limit in limits)
    return -(-smallest * step.cost_percent // 100)


@given(histories())
def test_a_limit_is_a_bound(history: tuple[tuple[Limit, ...], list[Step]]) -> None:
    """P1, C-6: no trailing window ever holds more than the limit, whatever the clock does."""
    limits, steps = history
    state: State = {}
    logs = [ExactLog(limit) for limit in limits]
    now_ms = START_MS

    for step in steps:
        now_ms += step.move_ms
        cost = cost_of(step, limits)
        verdict, state = take(limits, state, cost, now_ms)
        if verdict.allowed and cost:
            for log in logs:
                log.admit(cost, now_ms)
                assert log.units_until(log.admitted[-1][0]) <= log.limit.units


@given(histories())
def test_a_refusal_changes_nothing(history: tuple[tuple[Limit, ...], list[Step]]) -> None:
    """P2: a refused take leaves the state as it was; an allowed one charges every window alike."""
    limits, steps = history
    state: State = {}
    now_ms = START_MS

    for step in steps:
        now_ms += step.move_ms
        cost = cost_of(step, limits)
        before, looked = state, peek(limits, state, 0, now_ms)
        verdict, state = take(limits, state, cost, now_ms)
        charged = cost if verdict.allowed else 0
        assert state is before if charged == 0 else state is not before
        assert [one.remaining for one in verdict.standings] == [one.remaining - charged for one in looked.standings]


@given(histories())
def test_retry_after_is_exact(history: tuple[tuple[Limit, ...], list[Step]]) -> None:
    """P3: the same take succeeds after `retry_after_ms` and not 1 ms earlier, also after a step back."""
    limits, steps = history
    state: State = {}
    now_ms = START_MS

    for step in steps:
        now_ms += step.move_ms
        cost = cost_of(step, limits)
        verdict, state = take(limits, state, cost, now_ms)
        if any(cost > limit.units for limit in limits):
            assert (verdict.allowed, verdict.retry_after_ms) == (False, None)
        elif verdict.allowed:
            assert verdict.retry_after_ms is None
        else:
            _assert_exact(limits, state, cost, now_ms, verdict)


@given(histories())
def test_remaining_and_reset_are_exact(history: tuple[tuple[Limit, ...], list[Step]]) -> None:
    """What remains can be taken and one unit more cannot; a limit is whole at its reset and not before."""
    limits, steps = history
    state: State = {}
    now_ms = START_MS

    for step in steps:
        now_ms += step.move_ms
        verdict, state = take(limits, state, cost_of(step, limits), now_ms)
        least = min(standing.remaining for standing in verdict.standings)
        assert least >= 0
        assert peek(limits, state, least, now_ms).allowed
        assert not peek(limits, state, least + 1, now_ms).allowed
        for limit, standing in zip(limits, verdict.standings, strict=True):
            whole_ms = now_ms + standing.reset_after_ms
            alone = peek([limit], state, 0, whole_ms)
            if standing.reset_after_ms:
                assert alone.standings[0].remaining == limit.units
                assert peek([limit], state, 0, whole_ms - 1).standings[0].remaining < limit.units


@given(histories(farthest_back_ms=AHEAD_MS_MAX // 8))
def test_a_refusal_lasts_at_most_a_sub_bucket_too_long(history: tuple[tuple[Limit, ...], list[Step]]) -> None:
    """A wait is at most ceil(window_ms / n) longer than an exact log would ask for."""
    limits, steps = history
    state: State = {}
    logs = [ExactLog(limit) for limit in limits]
    now_ms = START_MS

    for step in steps:
        now_ms += step.move_ms
        cost = cost_of(step, limits)
        assume(all(log.believed(now_ms) for log in logs))
        verdict, state = take(limits, state, cost, now_ms)
        if verdict.allowed and cost:
            for log in logs:
                log.admit(cost, now_ms)
        if verdict.retry_after_ms is not None:
            assert verdict.retry_after_ms <= max(
                log.wait_ms(cost, now_ms) - (-log.limit.window_ms // log.limit.resolution) for log in logs
            )


def _assert_exact(limits: Sequence[Limit], state: State, cost: int, now_ms: int, verdict: Verdict) -> None:
    assert verdict.retry_after_ms is not None
    assert verdict.refused_by is not None
    retry_ms = now_ms + verdict.retry_after_ms
    assert take(limits, state, cost, retry_ms)[0].allowed
    assert not take(limits, state, cost, retry_ms - 1)[0].allowed
    assert not peek([limits[verdict.refused_by]], state, cost, retry_ms - 1).allowed
