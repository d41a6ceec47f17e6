"""What Hypothesis draws for limits: policies of every algorithm, and moves of the clock around what matters to them."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec import Struct

from tollhouse.limits.policy.policy import (
    ALGORITHMS,
    LOG_UNITS_MAX,
    RESOLUTION_MAX,
    UNITS_MAX,
    WINDOW_MS_MAX,
    Algorithm,
    Limit,
    Policy,
)


class Step(Struct, frozen=True, kw_only=True):
    """Move the clock, then take: `cost_percent` of what the smallest limit can give, rounded up."""

    move_ms: int
    cost_percent: int


COUNTING = tuple(one for one in ALGORITHMS if one != "concurrency")


@st.composite
def policies(draw: st.DrawFn, *algorithms: Algorithm, most: int = 3, units_max: int = UNITS_MAX) -> Policy:
    """One policy of any size, of one of the algorithms; windows need not divide into their sub-buckets."""
    algorithm = draw(st.sampled_from(algorithms or COUNTING))
    windows = draw(st.lists(windows_ms(), min_size=1, max_size=most, unique=True))
    units_max = min(units_max, LOG_UNITS_MAX) if algorithm == "sliding-log" else units_max
    return Policy(
        name="api",
        algorithm=algorithm,
        limits=tuple(draw(_limits(algorithm, window_ms, units_max)) for window_ms in windows),
    )


def windows_ms() -> st.SearchStrategy[int]:
    """Windows of whole seconds: the usual ones, and any."""
    seconds = st.sampled_from([1, 7, 60, 61, 3_600, 86_400]) | st.integers(1, WINDOW_MS_MAX // 1_000)
    return seconds.map(lambda number: number * 1_000)


@st.composite
def moves(draw: st.DrawFn, policy: Policy, *, farthest_back_ms: int = 180_000) -> int:
    """A move of the clock: none, around a sub-bucket, a window or one unit's share of it, or back."""
    one = draw(st.sampled_from(policy.limits))
    bucket_ms = one.window_ms // one.resolution
    unit_ms = one.window_ms // one.units
    forward = st.sampled_from([0, 0, 1, unit_ms, unit_ms + 1, bucket_ms, bucket_ms + 1, one.window_ms - 1])
    forward |= st.integers(0, 4 * bucket_ms) | st.integers(0, 2 * one.window_ms) | st.just(one.window_ms)
    back = st.integers(-farthest_back_ms, -1) | st.integers(-bucket_ms, -1)
    return draw(back if draw(st.integers(0, 3)) == 3 else forward)


@st.composite
def histories(draw: st.DrawFn, *algorithms: Algorithm, farthest_back_ms: int = 180_000) -> tuple[Policy, list[Step]]:
    """A policy, and up to 25 steps."""
    policy = draw(policies(*algorithms))
    step = st.builds(Step, move_ms=moves(policy, farthest_back_ms=farthest_back_ms), cost_percent=st.integers(0, 110))
    return policy, draw(st.lists(step, min_size=1, max_size=25))


def cost_of(step: Step, policy: Policy) -> int:
    """Return the units that a step takes."""
    smallest = min(limit.capacity for limit in policy.limits)
    return min(-(-smallest * step.cost_percent // 100), UNITS_MAX)


@st.composite
def _limits(draw: st.DrawFn, algorithm: Algorithm, window_ms: int, units_max: int) -> Limit:
    units = draw(st.integers(1, 20) | st.integers(1, units_max))
    resolution = st.sampled_from([1, 2, 3, 16, RESOLUTION_MAX]) | st.integers(1, RESOLUTION_MAX)
    if algorithm == "sliding-window":
        return Limit(units=units, window_ms=window_ms, resolution=draw(resolution))
    burst_max = min(units_max, units * WINDOW_MS_MAX // window_ms)
    burst = st.none() | st.integers(1, min(burst_max, 40)) | st.integers(1, burst_max)
    return Limit(units=units, window_ms=window_ms, burst=draw(burst) if algorithm == "gcra" else None)
