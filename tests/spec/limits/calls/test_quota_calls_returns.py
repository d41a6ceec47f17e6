"""Quota leases: what is left of them comes back once, unless its counters are gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from tests.spec.limits.calls.quota_steps import API, FIRST, POLICIES, SIZE, former, leased, left, takes, units
from tests.watched import Setup, ticks
from tests.worlds import StoreWorld
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.quota.leases import TERMS


@pytest.fixture
async def setup(world: StoreWorld) -> AsyncIterator[Setup]:
    setup = Setup(world, *POLICIES, refusals_max=100)
    yield setup
    await closed(setup)


async def closed(setup: Setup) -> None:
    setup.store.heal()
    setup.store.release()
    await setup.limits.aclose()


async def test_an_idle_lease_is_given_back(setup: Setup) -> None:
    """Soon after the deadline what is left comes back, also if no take comes; then nothing runs any more."""
    await takes(setup, FIRST)
    await leased(setup)
    await setup.clock.until_asleep()
    await setup.pass_ms(TERMS.longest_ms)
    setup.clock.advance(100)
    await ticks()
    await setup.limits.aclose()

    assert await left(setup) == 996
    assert setup.store.scripts[-1] == "limits/lease_quota"
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("tollhouse-quota")]


async def test_each_lease_is_given_back_after_its_own_deadline(setup: Setup) -> None:
    """A lease that is over earlier than those before does not wait for them; there is one sweeper."""
    await takes(setup, 100, "short")
    await setup.pass_ms(102)  # the second sub-bucket ends at 125
    await takes(setup, FIRST)
    await leased(setup)
    await setup.clock.until_asleep()
    await leased(setup, "short")
    await ticks()
    sweepers = [task for task in asyncio.all_tasks() if task.get_name() == "tollhouse-quota-sweep"]
    await setup.pass_ms(23 + 20)
    await ticks()
    await setup.store.until_in_flight(0)
    await ticks()

    assert len(sweepers) == 1
    assert setup.store.calls[-1].args[0] == 0
    assert units(setup, "returned", "short") > 0
    assert (await takes(setup, 1))[0].leased


async def test_a_refund_finds_no_lease_of_its_process(setup: Setup) -> None:
    """What is left of the lease comes back before the refund, which gives back no more than was taken."""
    await former(setup)
    refunded = await setup.limits.refund("api", "ada", 500)

    assert refunded.cost == FIRST + 1 + 60
    assert refunded.limits[0].remaining == 1_000
    assert not (await takes(setup, 1))[0].leased
    assert (await setup.limits.refund("api", "ada", 2)).cost == 1


async def test_a_reset_drops_the_lease(setup: Setup) -> None:
    """Here at once, and in another process by the announcement; nothing of it is given back to the new counters."""
    other = Setup(setup.world, *POLICIES)
    for one in (setup, other):
        await takes(one, FIRST)
        await leased(one)
    await setup.limits.reset("api", "ada")
    other.limits.on_cleared(b"-1800000000000 " + other.store.calls[-1].keys[0].encode())
    for one in (setup, other):
        one.store.calls.clear()
        assert not (await takes(one, 1))[0].leased
        await one.limits.aclose()
    assert await left(setup) >= 998 - 125
    assert units(setup, "lost") > 100


async def test_units_that_come_back_elsewhere_leave_the_lease(setup: Setup) -> None:
    """Only the announcement of a reset ends a lease: one of a refund does not."""
    await takes(setup, FIRST)
    await leased(setup)
    setup.limits.on_cleared(b"1800000000000 " + setup.store.calls[-1].keys[0].encode())

    assert (await takes(setup, 1))[0].leased


async def test_a_lease_that_is_on_its_way_does_not_outlive_a_reset(setup: Setup) -> None:
    """The reply comes after the reset: the take is decided, and the lease is dropped."""
    await takes(setup, FIRST)
    setup.store.hold()
    fetching = asyncio.create_task(setup.limits.take("api", "ada"))
    await setup.store.until_in_flight(1)
    resetting = asyncio.create_task(setup.limits.reset("api", "ada"))
    await setup.store.until_in_flight(2)
    setup.store.release()

    assert (await fetching).allowed
    await resetting
    await setup.limits.aclose()
    assert setup.store.scripts.count("limits/lease_quota") == 1
    assert units(setup, "lost") == SIZE


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_rest_that_was_not_sent_before_a_reset_is_lost(setup: Setup, cancelled: bool) -> None:
    """A take that was about to bring it along, or to give it back because its caller left, does not do so any more."""
    await former(setup)
    taken = setup.submit("api", "ada", 21)
    if cancelled:
        taken.cancel()
    await setup.limits.reset("api", "ada")
    await ticks()

    assert units(setup, "lost") >= SIZE - 60
    lease_calls = [call for call in setup.store.calls if call.script == "limits/lease_quota"]
    assert [call.args[5] for call in lease_calls] == [0] * (1 if cancelled else 2)


async def test_a_fetch_that_is_cancelled_leaves_a_newer_one(setup: Setup) -> None:
    """One lease of a key is on its way at a time, also if another fetch was dropped and cancelled before."""
    await former(setup)
    older = setup.submit("api", "ada", 21)
    setup.limits.on_cleared(b"-1800000000000 " + setup.store.calls[-1].keys[0].encode())
    newer = setup.submit("api", "ada")
    older.cancel()
    setup.store.hold()
    await ticks()
    calls = len(setup.store.calls)
    later = setup.submit("api", "ada")
    await ticks()
    setup.store.release()

    assert [call.script for call in setup.store.calls[calls:]] == ["limits/take_one"]
    assert (await newer).allowed
    assert (await later).allowed


@pytest.mark.parametrize("sent", [False, True])
async def test_a_reset_recalls_a_return(setup: Setup, sent: bool) -> None:
    """What waits to be given back when a reset is heard of would be taken from units that were charged since."""
    await former(setup)
    setup.store.hold()
    setup.limits.replace_policies(setup.limits.policies)
    if sent:
        await setup.store.until_in_flight(1)
    other = Setup(setup.world, *POLICIES)
    await other.limits.reset("api", "ada")
    await other.limits.take("api", "ada", 100)
    setup.limits.on_cleared(b"-1800000000000 " + setup.store.calls[-1].keys[0].encode())
    setup.store.release()
    await ticks()

    assert await left(setup) == 900
    assert (units(setup, "returned"), units(setup, "lost")) == (0, SIZE - 60)


async def test_forgetting_recalls_a_return(setup: Setup) -> None:
    """After `forget` nothing is given back to a store that was emptied."""
    await former(setup)
    setup.store.calls.clear()
    setup.limits.replace_policies(setup.limits.policies)
    setup.limits.forget()
    await ticks()

    assert setup.store.calls == []


async def test_other_policies_end_all_leases(setup: Setup) -> None:
    """What is left comes back, unless the policy counts in other windows now or is gone; no old lease is used."""
    same = {policy.name: policy for policy in (*POLICIES, parse_policy("api", "900/minute; 900/hour", lease="auto"))}
    wider = {**same, "api": parse_policy("api", "1000/2m", lease="auto")}
    gone = {name: policy for name, policy in same.items() if name != "api"}
    for policies, returns in ((same, 1), (wider, 0), (gone, 0)):
        one = Setup(setup.world, *POLICIES)
        await one.limits.reset("api", "ada")
        await takes(one, FIRST)
        await leased(one)
        one.store.calls.clear()
        one.limits.replace_policies(policies)
        await one.limits.aclose()
        assert one.store.scripts == ["limits/lease_quota"] * returns


async def test_a_lease_of_former_policies_is_not_put_in_force(setup: Setup) -> None:
    """A lease that was on its way when policies changed is given back at once, if the counters are the same."""
    await takes(setup, FIRST)
    setup.store.hold()
    fetching = asyncio.create_task(setup.limits.take("api", "ada"))
    await setup.store.until_in_flight(1)
    setup.limits.replace_policies(setup.limits.policies)
    setup.store.release()

    assert (await fetching).allowed
    await ticks()
    await setup.store.until_in_flight(0)
    assert await left(setup) == 996
    assert not (await takes(setup, 1))[0].leased
    assert (units(setup, "returned"), units(setup, "lost")) == (SIZE, 0)


async def test_a_lease_of_other_counters_is_lost(setup: Setup) -> None:
    """On its way here or back when the policy begins to count in other windows, it would delete the new counters."""
    await takes(setup, FIRST)
    setup.store.hold()
    fetching = asyncio.create_task(setup.limits.take("api", "ada"))
    await setup.store.until_in_flight(1)
    wider = parse_policy("api", "1000/2m", lease="auto")
    setup.limits.replace_policies({**setup.limits.policies, "api": wider})
    setup.store.release()
    await fetching
    assert units(setup, "lost") == SIZE

    await setup.limits.reset("api", "ada")
    await leased(setup)
    setup.store.calls.clear()
    setup.limits.replace_policies(setup.limits.policies)
    setup.limits.replace_policies({**setup.limits.policies, "api": API})
    await ticks()
    assert setup.store.calls == []


async def test_forgetting_drops_all_leases(setup: Setup) -> None:
    """`forget` is for a store that was emptied: leases end, and nothing is given back."""
    await takes(setup, FIRST)
    await leased(setup)
    calls = len(setup.store.calls)
    setup.limits.forget()
    await setup.limits.aclose()

    assert len(setup.store.calls) == calls
    assert units(setup, "lost") == SIZE


async def test_a_return_that_fails_is_logged(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    """Units that could not be given back are lost, which wastes room; the log and a metric have their number."""
    await takes(setup, FIRST)
    await leased(setup)
    setup.store.fail()
    with caplog.at_level(logging.WARNING):
        await setup.limits.aclose()

    (record,) = caplog.records
    assert record.msg.startswith("quota lease lost")
    assert (record.__dict__["policy"], record.__dict__["units"]) == ("api", SIZE)
    assert units(setup, "lost") == SIZE


async def test_what_is_left_goes_back_to_its_own_sub_bucket(setup: Setup) -> None:
    """Not to the oldest, nor to the newest: units taken before and after the lease stay counted in theirs."""
    await takes(setup, 1, cost=300)
    await setup.pass_ms(3_750)
    assert (await takes(setup, FIRST + 1))[-1].leased
    await setup.pass_ms(3_750)
    await Setup(setup.world, *POLICIES).limits.take("api", "ada", 200)
    await setup.limits.aclose()

    for released_ms, remaining in ((63_750 - 7_500, 796), (3_750, 800), (3_750, 1_000)):
        await setup.pass_ms(released_ms)
        assert await left(setup) == remaining
