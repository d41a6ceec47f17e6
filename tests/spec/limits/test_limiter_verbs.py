"""The verbs besides take: partial takes, refunds, reservations and leases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.watched import Setup
from tests.worlds import StoreWorld
from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import ALGORITHMS, Policy

API = parse_policy("api", "5/minute; 8/hour")
TOKENS = parse_policy("tokens", "100/hour")
LISTED = parse_policy("listed", "5/minute", allow=("friend",), deny=("foe",))
JOBS = parse_policy("jobs", "2/minute", "concurrency")
COUNTING = [parse_policy(name, "10/minute", name, cost=3) for name in ALGORITHMS if name != "concurrency"]
POLICIES: tuple[Policy, ...] = (API, TOKENS, LISTED, JOBS, *COUNTING)


@pytest.fixture
def setup(world: StoreWorld) -> Setup:
    return Setup(world, *POLICIES)


async def left(setup: Setup, policy: str, key: str = "ada") -> list[int]:
    return [state.remaining for state in (await setup.limits.peek(policy, key)).limits]


@pytest.mark.parametrize("policy", COUNTING, ids=lambda policy: policy.name)
async def test_every_algorithm_has_every_verb(setup: Setup, policy: Policy) -> None:
    """Under every algorithm units can be taken, granted in part, refunded, reserved, settled and reset."""
    name = policy.name

    taken = await setup.limits.take(name, "ada")
    granted = await setup.limits.take_up_to(name, "ada", 20)
    refused = await setup.limits.take(name, "ada")
    refunded = await setup.limits.refund(name, "ada", 6)
    reservation = await setup.limits.reserve(name, "ada", 5)
    assert reservation.id is not None
    settled = await setup.limits.settle(name, "ada", reservation.id, 2)
    forgotten = await setup.limits.reset(name, "ada")

    assert (taken.cost, granted.cost, refused.allowed) == (3, 7, False)
    assert (refunded.cost, refunded.limits[0].remaining) == (6, 6)
    assert reservation.decision.limits[0].remaining == 1
    assert (settled.settled, settled.decision.limits[0].remaining) == (True, 4)
    assert forgotten
    assert await left(setup, name) == [10]


async def test_take_up_to_takes_what_there_is(setup: Setup) -> None:
    """`take_up_to` takes what the tightest limit has, returns how many, and refuses if none is left."""
    granted = [await setup.limits.take_up_to("api", "ada", most) for most in (2, 2, 9, 1)]

    assert [(one.allowed, one.cost) for one in granted] == [(True, 2), (True, 2), (True, 1), (False, 0)]
    assert [[state.remaining for state in one.limits] for one in granted] == [[3, 6], [1, 4], [0, 3], [0, 3]]
    assert (granted[-1].reason, granted[-1].refused_by) == ("limit-reached", "5/minute")
    assert granted[-1].retry_after_ms == 63_750
    assert (setup.counted("api", "allowed"), setup.counted("api", "refused")) == (3, 1)


async def test_a_refund_gives_back_no_more_than_was_taken(setup: Setup) -> None:
    """`refund` returns how many units came back; for a subject that took nothing it writes nothing."""
    await setup.limits.take("api", "ada", 4)

    refunded = [await setup.limits.refund("api", "ada", cost) for cost in (1, None, 9, 1)]
    nothing = await setup.limits.refund("api", "bob", 2)

    assert [one.cost for one in refunded] == [1, 1, 2, 0]
    assert [one.limits[0].remaining for one in refunded] == [2, 3, 5, 5]
    assert all(one.allowed for one in (*refunded, nothing))
    assert (nothing.cost, nothing.reason, nothing.retry_after_ms) == (0, "within-limits", None)
    assert await setup.world.command("limits", "DBSIZE") <= 1


async def test_a_reservation_is_settled_once(setup: Setup) -> None:
    """A reservation holds its estimate; settling charges the actual units, and a second time nothing."""
    reservation = await setup.limits.reserve("tokens", "ada", 60)
    held = await left(setup, "tokens")
    assert reservation.id is not None

    settled = [await setup.limits.settle("tokens", "ada", reservation.id, actual) for actual in (25, 70)]

    assert (reservation.decision.allowed, reservation.decision.cost, held) == (True, 60, [40])
    assert [one.settled for one in settled] == [True, False]
    assert [one.decision.limits[0].remaining for one in settled] == [75, 75]
    assert setup.counted("tokens", "allowed") == 1


async def test_an_overrun_is_charged(setup: Setup) -> None:
    """What was needed beyond the estimate, and beyond the limit, is charged as well."""
    reservation = await setup.limits.reserve("tokens", "ada", 60)
    assert reservation.id is not None

    settled = await setup.limits.settle("tokens", "ada", reservation.id, 130)

    assert (settled.settled, settled.decision.allowed) == (True, True)
    assert await left(setup, "tokens") == [0]


async def test_a_reservation_that_is_never_settled_expires(setup: Setup) -> None:
    """The units of a holder that crashed return when its hold time is over; after that it settles nothing."""
    reservation = await setup.limits.reserve("tokens", "ada", 60, hold_ms=90_000)
    assert reservation.id is not None

    await setup.pass_ms(89_999)
    assert await left(setup, "tokens") == [40]
    await setup.pass_ms(1)

    assert await left(setup, "tokens") == [100]
    assert not (await setup.limits.settle("tokens", "ada", reservation.id, 60)).settled


async def test_a_reservation_that_does_not_fit_holds_nothing(setup: Setup) -> None:
    """It is refused as a take is, with a wait or without one."""
    await setup.limits.take("tokens", "ada", 50)

    later, never = [await setup.limits.reserve("tokens", "ada", estimate) for estimate in (60, 101)]

    assert (later.id, later.decision.retry_after_ms) == (None, 3_825_000)
    assert (never.id, never.decision.reason) == (None, "cost-above-limit")
    assert await left(setup, "tokens") == [50]


async def test_reservations_of_one_subject_are_bounded(world: StoreWorld) -> None:
    """The 129th at a time is refused by no limit, for as long as it takes the first of them to end."""
    setup = Setup(world, TOKENS, parse_policy("many", "1000/hour"), refusals_max=10)
    setup.limits.refusals.on_subscribed()
    setup.clock.advance(1)
    for _ in range(128):
        assert (await setup.limits.reserve("many", "ada", 1, hold_ms=90_000)).id is not None

    beyond = await setup.limits.reserve("many", "ada", 1)

    assert (beyond.id, beyond.decision.allowed, beyond.decision.refused_by) == (None, False, None)
    assert (beyond.decision.reason, beyond.decision.retry_after_ms) == ("limit-reached", 90_000)
    assert (await setup.limits.take("many", "ada")).allowed


async def test_lists_decide_for_every_verb(setup: Setup) -> None:
    """For an allow-listed key every verb is allowed and holds nothing; for a deny-listed one every verb is refused."""
    limits = setup.limits
    friend = [
        await limits.take("listed", "friend", 9),
        await limits.take_up_to("listed", "friend", 9),
        await limits.peek("listed", "friend", 9),
        (reserved := await limits.reserve("listed", "friend", 9)).decision,
    ]
    foe = [
        await limits.take("listed", "foe", 9),
        await limits.take_up_to("listed", "foe", 9),
        await limits.peek("listed", "foe", 9),
        (refused := await limits.reserve("listed", "foe", 9)).decision,
    ]

    assert {(one.allowed, one.reason, one.cost, one.limits) for one in friend} == {(True, "allow-listed", 9, ())}
    assert {(one.allowed, one.reason, one.retry_after_ms) for one in foe} == {(False, "deny-listed", None)}
    assert [one.cost for one in foe] == [9, 0, 9, 9]
    assert reserved.id is None
    assert refused.id is None
    assert setup.store.calls == []
    assert (setup.counted("listed", "allowed"), setup.counted("listed", "refused")) == (3, 3)


async def test_permits_are_held_and_released(setup: Setup) -> None:
    """A `concurrency` policy grants permits: held for a block, or until they are released."""
    async with setup.limits.hold("jobs", "ada") as first:
        second = await setup.limits.lease("jobs", "ada")
        third = await setup.limits.lease("jobs", "ada")
        peeked = await setup.limits.peek("jobs", "ada")
        assert first.id is not None
        assert second.id is not None
        assert [await setup.limits.renew("jobs", "ada", one) for one in (second.id, "0" * 32)] == [True, False]
        assert [await setup.limits.release("jobs", "ada", second.id) for _ in range(2)] == [True, False]

    await setup.limits.aclose()

    assert (third.decision.allowed, third.id, peeked.allowed) == (False, None, False)
    assert await left(setup, "jobs") == [2]
    await setup.limits.lease("jobs", "ada")
    assert await setup.limits.reset("jobs", "ada")
    assert await left(setup, "jobs") == [2]


async def test_permits_and_units_are_not_mixed_up(setup: Setup) -> None:
    """Units of a `concurrency` policy cannot be taken, nor permits of any other be held."""
    limits = setup.limits
    for call in (
        limits.take("jobs", "ada"),
        limits.take_up_to("jobs", "ada", 1),
        limits.refund("jobs", "ada"),
        limits.reserve("jobs", "ada", 1),
        limits.settle("jobs", "ada", "0" * 32, 1),
        limits.acquire("jobs", "ada", wait_ms=0),
        limits.lease("api", "ada"),
        limits.renew("api", "ada", "0" * 32),
        limits.release("api", "ada", "0" * 32),
    ):
        with pytest.raises(InvalidInput) as caught:
            await call
        assert caught.value.field == "policy"


async def test_a_take_is_undone_once_it_is_known_to_be_in_vain(setup: Setup) -> None:
    """`undo` gives back what a decision charged, and no more than that."""
    taken = [await setup.limits.take("api", "ada", cost) for cost in (2, 1)]

    await setup.limits.undo(taken[0])

    assert await left(setup, "api") == [4, 7]


async def test_what_charged_nothing_is_not_undone(setup: Setup) -> None:
    """A refusal, a look and a key on a list charged nothing, so undoing them sends nothing and gives nothing away."""
    await setup.limits.take("api", "ada", 5)
    decisions = [await setup.limits.take("api", "ada", cost) for cost in (1, 0)]
    decisions += [await setup.limits.take("listed", key) for key in ("friend", "foe")]
    setup.store.calls.clear()

    for decision in decisions:
        await setup.limits.undo(decision)

    assert setup.store.calls == []
    assert await left(setup, "api") == [0, 3]


async def test_a_take_of_an_outage_is_undone_in_the_process(setup: Setup) -> None:
    """What this process counted itself is given back here; the store, which counted nothing, is not called."""
    setup.store.fail()
    for _ in range(12):
        decision = await setup.limits.take("api", "ada")
        assert decision.allowed
        setup.store.calls.clear()
        await setup.limits.undo(decision)
        assert setup.store.calls == []
    setup.store.heal()

    assert await left(setup, "api") == [5, 8]
    await setup.limits.undo(decision)
    assert await left(setup, "api") == [5, 8]


@pytest.mark.parametrize(
    ("verb", "given", "field"),
    [
        ("take_up_to", (0,), "most"),
        ("take_up_to", (-1,), "most"),
        ("take_up_to", (1_000_000_001,), "most"),
        ("take_up_to", (None,), "most"),
        ("refund", (-1,), "cost"),
        ("reserve", (-1,), "estimate"),
        ("reserve", (None,), "estimate"),
        ("reserve", (1, 0), "hold_ms"),
        ("reserve", (1, 86_400_001), "hold_ms"),
        ("reserve", (1, 1.5), "hold_ms"),
        ("settle", ("0" * 32, -1), "actual"),
        ("settle", ("0" * 32, None), "actual"),
        ("settle", ("no id; of ours", 1), "id"),
    ],
)
async def test_wrong_numbers_and_ids_are_named_by_field(
    setup: Setup, verb: str, given: tuple[Any, ...], field: str
) -> None:
    """A value out of bounds is refused by the name of its parameter, before anything is sent."""
    with pytest.raises(InvalidInput) as caught:
        await getattr(setup.limits, verb)("api", "ada", *given)

    assert caught.value.field == field
    assert setup.store.calls == []


async def test_replaced_policies_are_in_force_at_once(setup: Setup) -> None:
    """`replace_policies` takes a whole set; the counters of a policy whose name stays are kept."""
    await setup.limits.take("api", "ada", 4)

    setup.limits.replace_policies({"api": parse_policy("api", "10/minute; 8/hour"), "new": parse_policy("new", "1/s")})

    assert list(setup.limits.policies) == ["api", "new"]
    assert await left(setup, "api") == [6, 4]
    assert (await setup.limits.take("new", "ada")).allowed
    with pytest.raises(InvalidInput):
        await setup.limits.take("tokens", "ada")
