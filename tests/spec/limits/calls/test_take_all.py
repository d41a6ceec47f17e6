"""Takes that are charged together or not at all (P2): `take_all`, over policies, subjects and algorithms."""

from __future__ import annotations

import asyncio

import pytest

from tests.watched import Setup, WatchedStore
from tests.worlds import StoreWorld
from tollhouse.errors import InvalidInput
from tollhouse.limits.calls.take_all import TAKE_ALL_MAX
from tollhouse.limits.decision import Take, TakeAllResult
from tollhouse.limits.policy.notation import parse_policy

TENANT = parse_policy("tenant", "20/hour", "fixed-window")
USER = parse_policy("user", "5/minute; 8/hour")
TOKENS = parse_policy("tokens", "10/minute burst 30", "gcra")
WATCHING = parse_policy("watching", "2/minute", shadow=True)
LISTED = parse_policy("listed", "1/minute", allow=("friend",), deny=("foe",))
TRIED = parse_policy("tried", "5/minute", allow=("friend",))
CANDIDATE = parse_policy("candidate", "3/minute", shadow_of="tried", on_outage="closed")
JOBS = parse_policy("jobs", "3/minute", "concurrency")
POLICIES = (TENANT, USER, TOKENS, WATCHING, LISTED, TRIED, CANDIDATE, JOBS)


@pytest.fixture
def setup(world: StoreWorld) -> Setup:
    return Setup(world, *POLICIES)


@pytest.fixture
def store(setup: Setup) -> WatchedStore:
    return setup.store


async def together(setup: Setup, *takes: tuple[str, str, int]) -> TakeAllResult:
    return await setup.limits.take_all([Take(policy=policy, key=key, cost=cost) for policy, key, cost in takes])


async def left(setup: Setup, policy: str, key: str) -> int:
    return (await setup.limits.take(policy, key, 0)).limits[0].remaining


async def test_all_are_charged_in_one_call(setup: Setup, store: WatchedStore) -> None:
    """One script call decides and charges every member, whatever the algorithms."""
    found = await together(setup, ("tenant", "acme", 2), ("user", "ada", 1), ("tokens", "ada", 7))

    assert store.scripts == ["limits/take_all"]
    assert (found.allowed, found.retry_after_ms) == (True, None)
    assert [(one.policy, one.key, one.cost, one.allowed) for one in found.decisions] == [
        ("tenant", "acme", 2, True),
        ("user", "ada", 1, True),
        ("tokens", "ada", 7, True),
    ]
    assert [[state.remaining for state in one.limits] for one in found.decisions] == [[18], [4, 7], [23]]


async def test_one_that_refuses_keeps_all_from_being_charged(setup: Setup) -> None:
    """P2: a take that would be admitted alone is refused because of another, with the wait of the whole."""
    await setup.limits.take("user", "ada", 5)

    found = await together(setup, ("tenant", "acme", 2), ("user", "ada", 1), ("tokens", "ada", 7))

    assert (found.allowed, found.retry_after_ms) == (False, 63_750)
    assert [(one.allowed, one.reason, one.refused_by) for one in found.decisions] == [
        (False, "all-or-nothing", None),
        (False, "limit-reached", "5/minute"),
        (False, "all-or-nothing", None),
    ]
    assert [one.retry_after_ms for one in found.decisions] == [63_750] * 3
    assert [await left(setup, *one) for one in (("tenant", "acme"), ("user", "ada"), ("tokens", "ada"))] == [20, 0, 30]


async def test_the_whole_waits_exactly_as_long_as_it_has_to(setup: Setup) -> None:
    """P3: after the wait of the whole all succeed, and one millisecond earlier they are refused."""
    await setup.limits.take("user", "ada", 5)
    await setup.limits.take("tokens", "ada", 30)
    takes = (("user", "ada", 3), ("tokens", "ada", 20))
    first = await together(setup, *takes)
    assert first.retry_after_ms is not None

    await setup.pass_ms(first.retry_after_ms - 1)
    early = await together(setup, *takes)
    await setup.pass_ms(1)

    assert (first.retry_after_ms, early.retry_after_ms) == (120_000, 1)
    assert [one.reason for one in early.decisions] == ["all-or-nothing", "limit-reached"]
    assert (await together(setup, *takes)).allowed


async def test_a_member_that_can_never_pass_refuses_the_whole(setup: Setup) -> None:
    """A cost above a limit refuses the whole without a wait, also for the other members."""
    found = await together(setup, ("tenant", "acme", 2), ("user", "ada", 6))

    assert (found.allowed, found.retry_after_ms) == (False, None)
    assert [(one.reason, one.retry_after_ms) for one in found.decisions] == [
        ("all-or-nothing", None),
        ("cost-above-limit", None),
    ]


async def test_equal_pairs_are_summed(setup: Setup, store: WatchedStore) -> None:
    """Takes of one policy and key count as one of their sum; each keeps its own cost in its decision."""
    fits = await together(setup, ("user", "ada", 2), ("tenant", "ada", 1), ("user", "ada", 3))
    above = await together(setup, ("user", "bob", 3), ("user", "bob", 3))

    assert [(one.cost, one.limits[0].remaining) for one in fits.decisions] == [(2, 0), (1, 19), (3, 0)]
    assert [one.reason for one in above.decisions] == ["cost-above-limit"] * 2
    assert store.sizes == [2, 1]


async def test_fifty_at_once_admit_exactly_the_limit(setup: Setup) -> None:
    """P1, P2: of fifty concurrent calls of mixed algorithms as many pass as the tightest limit has, none partly."""
    takes = (("tenant", "acme", 1), ("user", "ada", 1), ("tokens", "ada", 1))

    found = await asyncio.gather(*(together(setup, *takes) for _ in range(50)))

    assert sum(one.allowed for one in found) == 5
    assert [await left(setup, *one) for one in (("tenant", "acme"), ("user", "ada"), ("tokens", "ada"))] == [15, 0, 25]


async def test_a_shadow_never_refuses_the_whole(setup: Setup) -> None:
    """A shadow among the members is charged if the whole is, states what it would decide, and is left alone if not."""
    passed = await together(setup, ("user", "ada", 5), ("watching", "ada", 2))
    seen = await together(setup, ("tenant", "acme", 1), ("watching", "ada", 1))
    refused = await together(setup, ("user", "ada", 1), ("watching", "bob", 1))
    alone = await together(setup, ("watching", "eve", 3))

    assert [one.reason for one in passed.decisions] == ["within-limits", "within-limits"]
    assert (seen.allowed, [one.reason for one in seen.decisions]) == (True, ["within-limits", "shadow"])
    assert [one.reason for one in refused.decisions] == ["limit-reached", "all-or-nothing"]
    assert (alone.allowed, alone.decisions[0].reason) == (True, "shadow")
    assert await left(setup, "watching", "bob") == 2
    assert setup.counted("watching", "shadow-refused") == 2
    assert setup.counted("watching", "refused") == 1


async def test_lists_decide_before_anything_is_sent(setup: Setup, store: WatchedStore) -> None:
    """A key on an allow list is left out of the call, one on a deny list refuses the whole without a call."""
    friends = [await together(setup, ("listed", "friend", 9), ("user", "ada", 1)) for _ in range(2)]
    only = await together(setup, ("listed", "friend", 9))
    calls = list(store.sizes)
    foe = await together(setup, ("user", "ada", 1), ("listed", "foe", 1), ("listed", "friend", 1))

    assert [[one.reason for one in found.decisions] for found in friends] == [["allow-listed", "within-limits"]] * 2
    assert (only.allowed, only.decisions[0].reason) == (True, "allow-listed")
    assert (foe.allowed, foe.retry_after_ms) == (False, None)
    assert [one.reason for one in foe.decisions] == ["all-or-nothing", "deny-listed", "all-or-nothing"]
    assert calls == store.sizes == [1, 1]
    assert await left(setup, "user", "ada") == 3


async def test_shadows_of_a_member_are_taken_from_beside_it(setup: Setup, store: WatchedStore) -> None:
    """The shadow of a member's policy is charged its sum, in a call that is in flight beside the joint one."""
    store.hold()
    task = asyncio.create_task(together(setup, ("tried", "ada", 1), ("tenant", "acme", 1), ("tried", "ada", 1)))
    await store.until_in_flight(2)
    store.release()

    found = await task

    assert [one.policy for one in found.decisions] == ["tried", "tenant", "tried"]
    assert sorted(store.scripts) == ["limits/take_all", "limits/take_one"]
    assert await left(setup, "candidate", "ada") == 1
    assert setup.counted("candidate", "allowed") == 2


async def test_a_refused_whole_is_taken_from_shadows(setup: Setup) -> None:
    """As with `take`, a shadow counts what it would admit, whether its member is refused or another one."""
    await setup.limits.take("tenant", "acme", 20)

    refused = [await together(setup, ("tenant", "acme", 1), ("tried", "ada", 1)) for _ in range(4)]

    assert {one.retry_after_ms for one in refused} == {3_600_000}
    assert [[one.reason for one in found.decisions] for found in refused] == [["limit-reached", "all-or-nothing"]] * 4
    assert (setup.counted("candidate", "allowed"), setup.counted("candidate", "shadow-refused")) == (3, 1)


async def test_a_refund_of_a_member_matches_what_its_shadows_were_charged(setup: Setup) -> None:
    """A refund gives the shadow what the `take_all` took from it, and nothing that another take did."""
    await setup.limits.take("tried", "ada", 2)
    await together(setup, ("tried", "ada", 1), ("user", "ada", 1))

    await setup.limits.refund("tried", "ada", 1)

    assert [await left(setup, policy, "ada") for policy in ("tried", "candidate")] == [3, 1]


async def test_a_member_that_a_list_decides_is_not_taken_from_shadows(setup: Setup, store: WatchedStore) -> None:
    """A member on an allow list is taken from no shadow, and no member is if another is on a deny list."""
    await together(setup, ("tried", "friend", 1))
    await together(setup, ("tried", "ada", 1), ("listed", "foe", 1))

    assert store.calls == []


async def test_no_shadow_refuses_the_whole_in_an_outage(setup: Setup, store: WatchedStore) -> None:
    """The outage rules of the members decide: a shadow refuses nothing, even if it is `closed`."""
    store.fail()

    found = [await together(setup, ("tried", "ada", 4)), await together(setup, ("tried", "ada", 1))]

    assert [one.allowed for one in found] == [True, True]
    assert setup.counted("tried", "degraded-allowed") == 2


async def test_each_member_is_counted_once(setup: Setup) -> None:
    """Every policy and key of a call is one decision in the metrics."""
    await together(setup, ("user", "ada", 2), ("user", "ada", 3), ("watching", "ada", 1))
    await together(setup, ("user", "ada", 1), ("tenant", "acme", 1))

    assert (setup.counted("user", "allowed"), setup.counted("user", "refused")) == (1, 1)
    assert (setup.counted("watching", "allowed"), setup.counted("tenant", "refused")) == (1, 1)


async def test_wrong_input_is_named_with_its_position(setup: Setup, store: WatchedStore) -> None:
    """Bad members, sums above the bound, and too few or too many members are refused before anything is sent."""
    most = 1_000_000_000
    cases = [
        ([("user", "ada", 1), ("no-such", "ada", 1)], "takes[1].policy"),
        ([("jobs", "ada", 1)], "takes[0].policy"),
        ([("user", "", 1)], "takes[0].key"),
        ([("user", "ada", most), ("user", "bob", 1), ("user", "ada", 1)], "takes[2].cost"),
        ([], "takes"),
        ([("user", "ada", 1)] * (TAKE_ALL_MAX + 1), "takes"),
    ]

    for takes, field in cases:
        with pytest.raises(InvalidInput) as caught:
            await together(setup, *takes)
        assert caught.value.field == field

    assert store.calls == []
    full = await together(setup, *(("user", f"user-{i}", 1) for i in range(TAKE_ALL_MAX)))
    assert full.allowed


async def test_values_that_cannot_be_used_are_counted(setup: Setup) -> None:
    """A foreign value under a member's key counts as nothing, and is reported."""
    await together(setup, ("user", "ada", 1))
    for key in await setup.world.command("limits", "KEYS", "*"):
        await setup.world.command("limits", "SET", key, "7")

    assert (await together(setup, ("user", "ada", 5))).allowed

    labels = {"kind": "foreign"}
    assert setup.world.metrics.registry.get_sample_value("tollhouse_state_discarded_total", labels) == 1
