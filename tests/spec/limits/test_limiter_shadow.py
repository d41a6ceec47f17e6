"""Policies that never refuse: a shadow on its own, and the shadow of a policy that it may replace."""

from __future__ import annotations

import asyncio

import pytest

from tests.watched import Setup
from tests.worlds import StoreWorld
from tollhouse.errors import InvalidInput
from tollhouse.limits.calls.batcher import TAKES_MAX
from tollhouse.limits.decision import Take
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import SHADOWS_MAX
from tollhouse.limits.policy.notation import parse_policy

API = parse_policy("api", "5/minute")
TIGHTER = parse_policy("tighter", "3/minute", "fixed-window", shadow_of="api")
WIDER = parse_policy("wider", "8/minute; 9/hour", shadow_of="api", allow=("friend",), deny=("foe",))
WATCHING = parse_policy("watching", "5/minute", shadow=True, deny=("foe",))


@pytest.fixture
def setup(world: StoreWorld) -> Setup:
    return Setup(world, API, TIGHTER, WIDER, WATCHING)


async def test_a_shadow_decides_and_lets_pass(setup: Setup) -> None:
    """A shadow states which limit would refuse and its status, but it refuses nothing and states no wait."""
    decisions = [await setup.limits.take("watching", "ada", cost) for cost in (5, 1, 6)]

    assert [one.allowed for one in decisions] == [True] * 3
    assert [one.reason for one in decisions] == ["within-limits", "shadow", "shadow"]
    assert [one.refused_by for one in decisions] == [None, "5/minute", "5/minute"]
    assert [one.retry_after_ms for one in decisions] == [None] * 3
    assert [one.limits[0].remaining for one in decisions] == [0, 0, 0]
    assert setup.counted("watching", "allowed") == 1
    assert setup.counted("watching", "shadow-refused") == 2


async def test_a_shadow_counts_only_what_it_would_admit(setup: Setup) -> None:
    """What a shadow would have refused is not charged, as it would not have been."""
    for cost in (4, 2, 1):
        await setup.limits.take("watching", "ada", cost)

    assert (await setup.limits.peek("watching", "ada", 0)).limits[0].remaining == 0
    assert setup.counted("watching", "shadow-refused") == 1


async def test_a_peek_at_a_shadow_is_what_a_take_would_be(setup: Setup) -> None:
    """A peek allows as well, and states what the shadow would decide."""
    await setup.limits.take("watching", "ada", 5)

    peeked = await setup.limits.peek("watching", "ada")

    assert (peeked.allowed, peeked.reason, peeked.refused_by) == (True, "shadow", "5/minute")


async def test_other_verbs_of_a_shadow_refuse_nothing_either(setup: Setup) -> None:
    """A shadow grants all requested units, and allows a reservation that would not fit without holding it."""
    granted = [await setup.limits.take_up_to("watching", "ada", most) for most in (4, 3, 2)]
    reservation = await setup.limits.reserve("watching", "ada", 1)
    waited = await setup.limits.acquire("watching", "ada", wait_ms=1_000)

    assert [(one.allowed, one.cost, one.reason) for one in granted] == [
        (True, 4, "within-limits"),
        (True, 3, "shadow"),
        (True, 2, "shadow"),
    ]
    assert (reservation.decision.allowed, reservation.id) == (True, None)
    assert waited.allowed


async def test_a_deny_list_of_a_shadow_refuses_no_key(setup: Setup) -> None:
    """A key that a shadow would always refuse is allowed, and counted as such."""
    decision = await setup.limits.take("watching", "foe")

    assert (decision.allowed, decision.reason, decision.limits) == (True, "shadow", ())
    assert setup.counted("watching", "shadow-refused") == 1


async def test_a_shadow_is_charged_with_its_live_policy(setup: Setup) -> None:
    """Each single take is taken from the shadows too, in the same call, and does not change the decision."""
    decisions = [await setup.limits.take("api", "ada") for _ in range(10)]

    assert [one.allowed for one in decisions] == [True] * 5 + [False] * 5
    assert {one.policy for one in decisions} == {"api"}
    assert setup.store.sizes == [3] * 10
    assert (setup.counted("tighter", "allowed"), setup.counted("tighter", "shadow-refused")) == (3, 7)
    assert (setup.counted("wider", "allowed"), setup.counted("wider", "shadow-refused")) == (8, 2)
    assert (setup.counted("api", "allowed"), setup.counted("api", "refused")) == (5, 5)


async def test_a_shadow_has_the_cost_of_the_take(setup: Setup) -> None:
    """A shadow is charged as many units as the live policy, for each take of a batch alike."""
    await setup.limits.take("api", "ada", 2)
    await setup.limits.take_batch([Take(policy="api", key="ada", cost=1), Take(policy="watching", key="ada", cost=1)])

    assert (await setup.limits.peek("tighter", "ada")).limits[0].remaining == 0
    assert (await setup.limits.peek("wider", "ada")).limits[0].remaining == 5
    assert setup.store.sizes[:2] == [3, 4]


async def test_shadows_count_towards_the_size_of_a_call(setup: Setup) -> None:
    """A call has at most 256 takes, those of shadows included, and a take and its shadows are in one call."""
    decisions = await asyncio.gather(*(setup.limits.take("api", f"user-{i}") for i in range(200)))

    assert all(one.allowed for one in decisions)
    assert setup.store.sizes == [255, 255, 90]
    assert max(setup.store.sizes) <= TAKES_MAX
    assert setup.counted("wider", "allowed") == 200


async def test_a_shadow_has_its_own_access_lists(setup: Setup) -> None:
    """A key on an access list of the shadow is not taken from it."""
    await setup.limits.take("api", "friend")
    await setup.limits.take("api", "foe")

    assert setup.store.sizes == [2, 2]


async def test_a_refund_is_for_the_shadows_too(setup: Setup) -> None:
    """A refund gives units back to the shadows as well, because they were taken from them too."""
    await setup.limits.take("api", "ada", 3)

    refunded = await setup.limits.refund("api", "ada", 2)

    assert (refunded.policy, refunded.cost, refunded.limits[0].remaining) == ("api", 2, 4)
    assert (await setup.limits.peek("tighter", "ada")).limits[0].remaining == 2
    assert (await setup.limits.peek("wider", "ada")).limits[0].remaining == 7


async def test_a_shadow_that_cannot_run_is_refused(world: StoreWorld) -> None:
    """The shadow of a policy that does not exist, and one shadow too many, are refused by name, now and at a reload."""
    lost = parse_policy("lost", "3/minute", shadow_of="no-such")
    many = [parse_policy(f"c{i}", "3/minute", shadow_of="api") for i in range(SHADOWS_MAX + 1)]
    limits = Limiter(world.stores.limits, {"api": API}, world.keyring, world.metrics)

    for policies, field in (
        ({"api": API, "lost": lost}, "policies.lost.shadow_of"),
        ({"api": API, **{one.name: one for one in many}}, "policies.api"),
        ({"api": API, "other": API}, "policies.other"),
    ):
        with pytest.raises(InvalidInput) as caught:
            Limiter(world.stores.limits, policies, world.keyring, world.metrics)
        assert caught.value.field == field
        with pytest.raises(InvalidInput):
            limits.replace_policies(policies)
    assert dict(limits.policies) == {"api": API}
