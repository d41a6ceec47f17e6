"""Many takes at once: in one batch, and from many tasks (limits/take)."""

from __future__ import annotations

import asyncio

import pytest

from tests.worlds import StoreWorld
from tollhouse.errors import InvalidInput
from tollhouse.limits.decision import Take
from tollhouse.limits.limiter import TAKES_MAX, Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Limit, Policy

POLICIES = {
    "api": parse_policy("api", "5/minute; 8/hour"),
    "hundred": parse_policy("hundred", "100/minute"),
    "ten": Policy(name="ten", limits=(Limit(units=10, window_ms=60_000, resolution=4),)),
}


@pytest.fixture
def limits(world: StoreWorld) -> Limiter:
    return Limiter(world.stores.limits, POLICIES, world.keyring, world.metrics)


async def test_a_batch_decides_each_take_on_its_own(limits: Limiter) -> None:
    """A batch mixes policies, subjects and costs: a refusal of one leaves the others as they are."""
    takes = [
        Take(policy="api", key="ada", cost=5),
        Take(policy="ten", key="ada", cost=11),
        Take(policy="ten", key="ada", cost=4),
        Take(policy="api", key="bob", cost=0),
        Take(policy="api", key="ada", cost=1),
    ]

    decisions = await limits.take_batch(takes)

    assert [(one.policy, one.key, one.cost) for one in decisions] == [(one.policy, one.key, one.cost) for one in takes]
    assert [one.allowed for one in decisions] == [True, False, True, True, False]
    assert [one.refused_by for one in decisions] == [None, "10/minute", None, None, "5/minute"]
    assert [[state.remaining for state in one.limits] for one in decisions] == [[0, 3], [10], [6], [5, 8], [0, 3]]


async def test_equal_takes_of_a_batch_see_one_another(world: StoreWorld, limits: Limiter) -> None:
    """Takes of one subject in one batch are decided in order, as if they had come one by one."""
    decisions = await limits.take_batch([Take(policy="ten", key="ada", cost=3)] * 4)

    assert [one.allowed for one in decisions] == [True, True, True, False]
    assert [one.limits[0].remaining for one in decisions] == [7, 4, 1, 1]
    assert (await limits.peek("ten", "ada")).limits[0].remaining == 1
    assert await world.command("limits", "DBSIZE") == 1


async def test_a_batch_is_bounded(world: StoreWorld, limits: Limiter) -> None:
    """A batch of 256 is served, one of none is free, and a larger one is refused before anything is sent."""
    full = await limits.take_batch([Take(policy="hundred", key=f"user-{i}") for i in range(TAKES_MAX)])
    assert all(one.allowed for one in full)
    assert await limits.take_batch([]) == []

    with pytest.raises(InvalidInput) as caught:
        await limits.take_batch([Take(policy="hundred", key="ada")] * (TAKES_MAX + 1))
    assert (caught.value.field, caught.value.value) == ("takes", TAKES_MAX + 1)
    assert await world.command("limits", "DBSIZE") == TAKES_MAX


async def test_many_concurrent_takes_admit_exactly_the_limit(world: StoreWorld) -> None:
    """P1: 200 takes at once over two sets of connections on a limit of 100 admit exactly 100."""
    other = world.open_stores()
    both = [Limiter(store, POLICIES, world.keyring, world.metrics) for store in (world.stores.limits, other.limits)]

    decisions = await asyncio.gather(*(both[i % 2].take("hundred", "ada") for i in range(200)))

    assert sum(one.allowed for one in decisions) == 100
    assert sorted(one.limits[0].remaining for one in decisions if one.allowed) == list(range(100))
