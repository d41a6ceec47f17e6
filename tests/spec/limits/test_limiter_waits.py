"""When limits admit again, on a store: promises P1 and P3, through the scripts limits/take and limits/peek."""

from __future__ import annotations

import pytest

from tests.worlds import SCRIPTS, StoreWorld
from tollhouse.limits.decision import Decision
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Limit, Policy
from tollhouse.metrics import Metrics
from tollhouse.stores.opening import open_stores
from tollhouse.stores.urls import urls_by_store

POLICIES = {
    "api": parse_policy("api", "5/minute; 8/hour"),
    "hundred": parse_policy("hundred", "100/minute"),
    "ten": Policy(name="ten", limits=(Limit(units=10, window_ms=60_000, resolution=4),)),
}


@pytest.fixture
def limits(world: StoreWorld) -> Limiter:
    return Limiter(world.stores.limits, POLICIES, world.keyring, world.metrics)


async def test_takes_follow_the_table(world: StoreWorld, limits: Limiter) -> None:
    """P1: what the pure rules promise holds on the server, the step back included (S2-28)."""
    #     at_ms  cost  allowed  remaining
    steps = [
        (0, 10, True, 0),
        (0, 1, False, 0),  # a refusal takes nothing
        (74_999, 1, False, 0),  # index 0 counts whole until (0 + 4 + 1) * 15 s
        (75_000, 4, True, 6),
        (45_000, 7, False, 6),  # a clock that steps back never gives units away
    ]
    began_ms = world.now_ms

    for at_ms, cost, allowed, remaining in steps:
        world.step_back(world.now_ms - began_ms - at_ms)
        decision = await limits.take("ten", "ada", cost)
        assert (decision.allowed, decision.limits[0].remaining) == (allowed, remaining)


async def test_retry_after_is_exact(world: StoreWorld, limits: Limiter) -> None:
    """P3: the same take succeeds after `retry_after_ms`, and is refused 1 ms earlier; each limit in its turn."""
    for wanted in ("5/minute", "8/hour"):
        decision = await take_until_refused(limits, "api", "ada")
        assert decision.refused_by == wanted
        assert decision.retry_after_ms is not None

        await world.advance(decision.retry_after_ms - 1)
        early = await limits.take("api", "ada")
        assert (early.allowed, early.retry_after_ms) == (False, 1)
        await world.advance(1)
        assert (await limits.take("api", "ada")).allowed


async def test_retry_after_is_exact_for_a_cost_that_needs_several_sub_buckets(
    world: StoreWorld, limits: Limiter
) -> None:
    """P3: a larger cost waits for as many sub-buckets as it needs, and for no more."""
    for _ in range(5):
        await limits.take("ten", "ada", 2)
        await world.advance(13_000)

    waits_ms = [(await limits.take("ten", "ada", cost)).retry_after_ms for cost in (1, 2, 3, 4, 5, 8, 9, 10)]

    assert waits_ms == [10_000, 10_000, 10_000, 10_000, 25_000, 40_000, 55_000, 55_000]
    await world.advance(39_999)
    assert (await limits.take("ten", "ada", 8)).retry_after_ms == 1
    await world.advance(1)
    assert (await limits.take("ten", "ada", 8)).allowed


async def test_retry_after_is_exact_after_a_step_back(world: StoreWorld, limits: Limiter) -> None:
    """P3: a wait counts from the clock as it is, also while that is behind the newest sub-bucket."""
    await world.advance(14_000)
    await limits.take("ten", "ada", 10)
    world.step_back(50_000)

    refused = await limits.take("ten", "ada")

    assert refused.retry_after_ms == 75_000 - (14_000 - 50_000)
    world.step_back(-refused.retry_after_ms + 1)
    assert not (await limits.take("ten", "ada")).allowed
    world.step_back(-1)
    assert (await limits.take("ten", "ada")).allowed


async def test_retry_after_counts_with_an_entry_that_comes_near_again(world: StoreWorld) -> None:
    """P3: an entry that is too far ahead now still refuses if the clock has come near it when the wait is over."""
    minute = Limit(units=1, window_ms=60_000, resolution=1)
    hundred_minutes = Limit(units=2, window_ms=6_000_000, resolution=1)
    policy = Policy(name="api", limits=(minute, hundred_minutes))
    limits = Limiter(world.stores.limits, {"api": policy}, world.keyring, world.metrics)
    world.step_back(-99 * 60_000)
    await limits.take("api", "ada")
    world.step_back(-100 * 60_000)
    await limits.take("api", "ada")  # in the sub-buckets 199 of the minute and 1 of the hundred
    world.step_back(61_000)

    refused = await limits.take("api", "ada")

    assert [state.remaining for state in refused.limits] == [1, 0]
    assert (refused.refused_by, refused.retry_after_ms) == ("1/minute", 61_000 + 120_000)
    world.step_back(-181_000 + 1)
    assert not (await limits.take("api", "ada")).allowed
    world.step_back(-1)
    assert (await limits.take("api", "ada")).allowed


async def test_a_cost_above_a_limit_is_never_admitted(world: StoreWorld, limits: Limiter) -> None:
    """No wait helps a cost above a limit: it is refused without `retry_after_ms`, and nothing is written."""
    decision = await limits.take("api", "ada", 6)

    assert (decision.allowed, decision.retry_after_ms, decision.refused_by) == (False, None, "5/minute")
    assert [state.remaining for state in decision.limits] == [5, 8]
    assert await world.command("limits", "DBSIZE") == 0


async def test_time_is_the_servers_own(world: StoreWorld) -> None:
    """Outside tests the server's clock decides: a full limit is restored about a window later."""
    metrics = Metrics()
    stores = open_stores(urls_by_store(world.url, {}), SCRIPTS, metrics)
    limits = Limiter(stores.limits, POLICIES, world.keyring, metrics)

    full = await limits.take("hundred", "ada", 100)
    refused = await limits.take("hundred", "ada")
    peeked = await limits.peek("hundred", "ada")
    forgot = await limits.reset("hundred", "ada")
    await stores.aclose()

    assert (full.allowed, refused.allowed, peeked.allowed, forgot) == (True, False, False, True)
    assert refused.retry_after_ms is not None
    assert 45_000 < refused.retry_after_ms <= 63_750


async def take_until_refused(limits: Limiter, policy: str, key: str) -> Decision:
    while (decision := await limits.take(policy, key)).allowed:
        pass
    return decision
