"""The policies, and the steps, of the specifications of quota leases."""

from __future__ import annotations

from tests.watched import Setup
from tollhouse.limits.decision import Decision
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Limit, Policy

API = parse_policy("api", "1000/minute; 10000/hour", lease="auto")
OFF = parse_policy("off", "1000/minute; 10000/hour")
SHORT = Policy(name="short", limits=(Limit(units=10_000, window_ms=1_000),), lease="auto")
TRIED = parse_policy("tried", "1000/minute", lease="auto")
CANDIDATE = parse_policy("candidate", "1000/minute", shadow_of="tried", shadow=True)
SHADOW = parse_policy("shadow", "1000/minute", shadow=True, lease="auto")
POLICIES = (API, OFF, SHORT, TRIED, CANDIDATE, SHADOW)
FIRST = 3
"""Takes of one key at once after which the next one fetches a lease."""
SIZE = 80
"""The units of that lease: the rate that four takes at once are, for the second that a lease lasts at most."""


async def takes(setup: Setup, many: int, policy: str = "api", cost: int = 1) -> list[Decision]:
    return [await setup.limits.take(policy, "ada", cost) for _ in range(many)]


async def leased(setup: Setup, policy: str = "api") -> Decision:
    """Take until one of the takes has fetched a lease, and return its decision."""
    before = setup.store.scripts.count("limits/lease_quota")
    for _ in range(20):
        decision = await setup.limits.take(policy, "ada")
        if setup.store.scripts.count("limits/lease_quota") > before:
            return decision
    raise AssertionError("the key is not busy")


async def former(setup: Setup) -> None:
    """Lease units and use them until 20 are left, fewer than the take of 21 needs that may follow."""
    await takes(setup, FIRST)
    await leased(setup)
    await takes(setup, 60)


async def left(setup: Setup, policy: str = "api") -> int:
    """Return what the store counts as left, seen by another process."""
    return (await Setup(setup.world, *POLICIES).limits.peek(policy, "ada")).limits[0].remaining


def units(setup: Setup, way: str, policy: str = "api") -> float:
    labels = {"policy": policy, "way": way}
    return setup.world.metrics.registry.get_sample_value("tollhouse_ratelimit_lease_units_total", labels) or 0
