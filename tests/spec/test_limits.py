"""The limiter on a store: takes, looks and resets, through the scripts limits/take, limits/peek and limits/reset."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tests.worlds import SCRIPTS, StoreWorld
from tollhouse.errors import InvalidInput, StoreUnavailable
from tollhouse.limits.builtin import BUILT_IN
from tollhouse.limits.limiter import TAKES_MAX, Decision, Limiter, LimitState, Take
from tollhouse.limits.notation import parse_policy
from tollhouse.limits.policy import Limit, Policy
from tollhouse.metrics import Metrics
from tollhouse.stores.stores import open_stores
from tollhouse.stores.urls import plan

POLICIES = {
    "api": parse_policy("api", "5/minute; 8/hour"),
    "hundred": parse_policy("hundred", "100/minute"),
    "ten": Policy(name="ten", limits=(Limit(units=10, window_ms=60_000, resolution=4),)),
    **{name: BUILT_IN[name] for name in ("default", "login")},
}


@pytest.fixture
def limits(world: StoreWorld) -> Limiter:
    return Limiter(world.stores.limits, POLICIES, world.keyring, world.metrics)


def counted(world: StoreWorld, policy: str, outcome: str) -> float:
    labels = {"policy": policy, "outcome": outcome}
    return world.metrics.registry.get_sample_value("tollhouse_ratelimit_decisions_total", labels) or 0


async def test_a_take_is_answered_with_a_decision(limits: Limiter) -> None:
    """A decision tells what was asked, whether it was admitted, and where every limit stands (C-6, S2-26)."""
    decision = await limits.take("default", "ada", 3)

    assert decision == Decision(
        allowed=True,
        policy="default",
        key="ada",
        cost=3,
        limits=(
            LimitState(limit=60, window_ms=60_000, remaining=57, reset_after_ms=63_750),
            LimitState(limit=1_000, window_ms=3_600_000, remaining=997, reset_after_ms=3_825_000),
            LimitState(limit=10_000, window_ms=86_400_000, remaining=9_997, reset_after_ms=90_000_000),
        ),
        retry_after_ms=None,
        refused_by=None,
        degraded=False,
    )


async def test_a_decision_is_plain_json(limits: Limiter) -> None:
    """A decision encodes to exactly the members of the HTTP interface, in their order."""
    for _ in range(6):
        decision = await limits.take("api", "ada")

    assert msgspec.json.encode(decision) == (
        b'{"allowed":false,"policy":"api","key":"ada","cost":1,"limits":['
        b'{"limit":5,"window_ms":60000,"remaining":0,"reset_after_ms":63750},'
        b'{"limit":8,"window_ms":3600000,"remaining":3,"reset_after_ms":3825000}],'
        b'"retry_after_ms":63750,"refused_by":"5/minute","degraded":false}'
    )


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
    """P3: an entry too far ahead to be believed now still refuses if it is believed when the wait is over."""
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


async def test_a_cost_of_nothing_looks(world: StoreWorld, limits: Limiter) -> None:
    """A cost of 0 is always allowed, tells where the limits stand and writes nothing."""
    await limits.take("hundred", "ada", 100)

    looked = await limits.take("hundred", "ada", 0)
    fresh = await limits.take("hundred", "bob", 0)

    assert (looked.allowed, looked.limits[0].remaining) == (True, 0)
    assert (fresh.allowed, fresh.limits[0].remaining, fresh.limits[0].reset_after_ms) == (True, 100, 0)
    assert await world.command("limits", "DBSIZE") == 1


async def test_a_peek_decides_and_changes_nothing(world: StoreWorld, limits: Limiter) -> None:
    """A peek gives the decision that a take of this cost would get now, and takes nothing."""
    await limits.take("ten", "ada", 7)

    fits, above, never = [await limits.peek("ten", "ada", cost) for cost in (3, 4, 11)]
    again = await limits.take("ten", "ada", 3)

    assert (fits.allowed, fits.limits[0].remaining, fits.retry_after_ms) == (True, 3, None)
    assert (above.allowed, above.limits[0].remaining, above.retry_after_ms) == (False, 3, 75_000)
    assert (never.allowed, never.retry_after_ms, never.refused_by) == (False, None, "10/minute")
    assert again.allowed


async def test_a_reset_forgets(limits: Limiter) -> None:
    """A reset gives one subject all units of one policy back, and tells whether there was anything to forget."""
    await limits.take("api", "ada", 5)
    await limits.take("login", "ada", 5)
    await limits.take("api", "bob", 5)

    assert [await limits.reset("api", "ada"), await limits.reset("api", "ada")] == [True, False]

    assert (await limits.take("api", "ada")).allowed
    assert not (await limits.take("login", "ada")).allowed
    assert not (await limits.take("api", "bob")).allowed


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

    with pytest.raises(InvalidInput, match="at most 256") as caught:
        await limits.take_batch([Take(policy="hundred", key="ada")] * (TAKES_MAX + 1))
    assert caught.value.field == "takes"
    assert await world.command("limits", "DBSIZE") == TAKES_MAX


@pytest.mark.parametrize(
    ("policy", "key", "cost", "field", "remedy"),
    [
        ("ap", "ada", 1, "policy", "did you mean 'api'? Known are api, default, hundred, login, ten"),
        ("zzz", "ada", 1, "policy", "known are api, default, hundred, login, ten"),
        ("x" * 1_000_000, "ada", 1, "policy", "known are api, default, hundred, login, ten"),
        ("api", "", 1, "key", "give 1 to 512 characters"),
        ("api", "x" * 513, 1, "key", "give 1 to 512 characters"),
        ("api", "\ud800", 1, "key", "send text that UTF-8 can encode"),
        ("api", "{\ud800}", 1, "key", "send text that UTF-8 can encode"),
        ("api", "ada", -1, "cost", "give a whole number from 0 to 1,000,000,000"),
        ("api", "ada", 1_000_000_001, "cost", "give a whole number from 0 to 1,000,000,000"),
        ("api", "ada", True, "cost", "give a whole number from 0 to 1,000,000,000"),
        ("api", "ada", 1.0, "cost", "give a whole number from 0 to 1,000,000,000"),
    ],
)
async def test_wrong_input_is_told_its_remedy(
    world: StoreWorld, limits: Limiter, policy: str, key: str, cost: Any, field: str, remedy: str
) -> None:
    """An unknown policy and a key or cost out of bounds are refused by name, before anything is sent."""
    with pytest.raises(InvalidInput) as caught:
        await limits.take(policy, key, cost)
    assert (caught.value.field, caught.value.remedy) == (field, remedy)
    assert caught.value.kind == ("unknown-policy" if field == "policy" else "invalid-input")

    with pytest.raises(InvalidInput) as caught:
        await limits.take_batch([Take(policy="api", key="ada"), Take(policy=policy, key=key, cost=cost)])
    assert caught.value.field == f"takes[1].{field}"
    with pytest.raises(InvalidInput):
        await limits.peek(policy, key, cost)
    assert await world.command("limits", "DBSIZE") == 0


async def test_any_printable_or_other_key_will_do(limits: Limiter) -> None:
    """A key is any text of 1 to 512 characters: spaces, colons, control characters and braces included."""
    texts = ["a", "x" * 512, "a b\n\0", "{", "}", "{}", "{a}", "a{b}c", "a:b", "ä", "€"]

    for text in texts:
        assert (await limits.take("ten", text)).limits[0].remaining == 9, text


async def test_decisions_are_counted(world: StoreWorld, limits: Limiter) -> None:
    """Every take is counted under its policy and outcome; a peek is not a take."""
    await limits.take("api", "ada", 5)
    await limits.take_batch([Take(policy="api", key="ada"), Take(policy="api", key="bob"), Take(policy="ten", key="x")])
    await limits.peek("api", "ada")

    assert counted(world, "api", "allowed") == 2
    assert counted(world, "api", "refused") == 1
    assert counted(world, "ten", "allowed") == 1


async def test_policies_can_be_listed(limits: Limiter) -> None:
    """The limiter tells its policies, and nobody can change them through what it tells."""
    assert dict(limits.policies) == POLICIES

    with pytest.raises(TypeError):
        limits.policies["more"] = POLICIES["api"]  # type: ignore[index]


class SilentStore:
    """A store that never answers."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> list[Any]:
        raise StoreUnavailable("limits", "ambiguous", "it is down")


async def test_an_outage_is_the_callers_to_handle(world: StoreWorld) -> None:
    """While the store is down a take raises StoreUnavailable, and is counted as unavailable."""
    limits = Limiter(SilentStore(), POLICIES, world.keyring, world.metrics)

    for call in (
        limits.take("api", "ada"),
        limits.take_batch([Take(policy="api", key="ada"), Take(policy="ten", key="ada")]),
        limits.peek("api", "ada"),
        limits.reset("api", "ada"),
    ):
        with pytest.raises(StoreUnavailable):
            await call

    assert counted(world, "api", "unavailable") == 2
    assert counted(world, "ten", "unavailable") == 1


async def test_many_concurrent_takes_admit_exactly_the_limit(world: StoreWorld) -> None:
    """P1: 200 takes at once over two sets of connections on a limit of 100 admit exactly 100."""
    other = world.open_stores()
    both = [Limiter(store, POLICIES, world.keyring, world.metrics) for store in (world.stores.limits, other.limits)]

    decisions = await asyncio.gather(*(both[i % 2].take("hundred", "ada") for i in range(200)))
    await other.aclose()

    assert sum(one.allowed for one in decisions) == 100
    assert sorted(one.limits[0].remaining for one in decisions if one.allowed) == list(range(100))


async def test_time_is_the_servers_own(world: StoreWorld) -> None:
    """Outside tests the server's clock decides: a full limit is restored about a window later."""
    metrics = Metrics()
    stores = open_stores(plan(world.url, {}), SCRIPTS, metrics)
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
