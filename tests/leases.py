"""What specifications of leases share: subjects, leases on a store, and how they are stored."""

from __future__ import annotations

from typing import Any

from tests.worlds import World
from tollhouse.clock import MonotonicClock, monotonic_ms
from tollhouse.keys import UNNAMED
from tollhouse.limits.calls.calls import calls_on
from tollhouse.limits.calls.cleanups import CLEANUP_S
from tollhouse.limits.calls.leases import Leases
from tollhouse.limits.policy.policy import Limit, Policy
from tollhouse.limits.wire.compiled_policy import compile_policies
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.scripts import ScriptRunner

WINDOW_MS = 60_000


def subject(
    world: World, key: str = "ada", *, units: int = 2, window_ms: int = WINDOW_MS, instances: int = 1, **how: Any
) -> TakeRequest:
    """Return a subject of a policy with `units` permits."""
    limits = (Limit(units=units, window_ms=window_ms),)
    return under(world, Policy(**{"name": "jobs", "limits": limits, "algorithm": "concurrency", **how}), key, instances)


def under(world: World, policy: Policy, key: str = "ada", instances: int = 1) -> TakeRequest:
    """Return a subject of any policy."""
    prepared = compile_policies({policy.name: policy}, instances)[policy.name]
    state = UNNAMED.rate(world.keyring.digest("rate", key), policy.name)
    return TakeRequest(compiled=prepared, key=key, state_key=state, cost=1)


def leases_on(
    store: ScriptRunner,
    world: World,
    *,
    clock: MonotonicClock = monotonic_ms,
    cleanup_s: float = CLEANUP_S,
    **how: Any,
) -> Leases:
    """Return leases as a limiter makes them."""
    clearings = UNNAMED.rate_clearings
    calls = calls_on(store, world.metrics, refusals_max=0, clock=clock, clearings=clearings, cleanup_s=cleanup_s)
    return Leases(calls, **how)


async def stored(world: World, of: TakeRequest) -> dict[str, int]:
    """Return when each stored lease ends, expired ones included."""
    flat = await world.command("limits", "ZRANGE", of.state_key, "0", "-1", "WITHSCORES")
    pairs = flat if flat and isinstance(flat[0], list) else list(zip(flat[::2], flat[1::2], strict=True))
    return {lease_id.decode(): int(float(end_ms)) for lease_id, end_ms in pairs}


def counted(world: World, outcome: str) -> float:
    """Return how many leases of the policy were counted under an outcome."""
    labels = {"policy": "jobs", "outcome": outcome}
    return world.metrics.registry.get_sample_value("tollhouse_ratelimit_decisions_total", labels) or 0
