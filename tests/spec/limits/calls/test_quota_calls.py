"""Quota leases: what is admitted without the store, until when, and what comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from tests.watched import Setup, ticks
from tests.worlds import StoreWorld
from tollhouse.errors import ConfigurationError, ScriptFailed, StoreRefused
from tollhouse.limits.decision import Decision, Take
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Limit, Policy
from tollhouse.limits.quota.leases import BUSY, PAUSE_MS, TERMS

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


@pytest.fixture
async def setup(world: StoreWorld) -> AsyncIterator[Setup]:
    setup = Setup(world, *POLICIES, refusals_max=100)
    yield setup
    await closed(setup)


async def closed(setup: Setup) -> None:
    setup.store.heal()
    setup.store.release()
    await setup.limits.aclose()


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
    """Have a lease of which 20 units are left, fewer than the take of 21 needs that may follow."""
    await takes(setup, FIRST)
    await leased(setup)
    await takes(setup, 60)


async def left(setup: Setup, policy: str = "api") -> int:
    """Return what the store counts as left, seen by another process."""
    return (await Setup(setup.world, *POLICIES).limits.peek(policy, "ada")).limits[0].remaining


def units(setup: Setup, way: str, policy: str = "api") -> float:
    labels = {"policy": policy, "way": way}
    return setup.world.metrics.registry.get_sample_value("tollhouse_ratelimit_lease_units_total", labels) or 0


async def test_a_take_of_a_batch_fetches_a_lease(setup: Setup) -> None:
    """A batch leases for its busy keys as single takes do."""
    await takes(setup, FIRST)

    (decision,) = await setup.limits.take_batch([Take(policy="api", key="ada")])

    assert decision.allowed
    assert setup.store.scripts[-1] == "limits/lease_quota"


async def test_a_busy_key_is_admitted_without_the_store(setup: Setup) -> None:
    """One take leases units by the rate seen, at most an eighth of what remains; those that follow make no call."""
    first = await takes(setup, FIRST)
    fetched = await leased(setup)
    calls = len(setup.store.calls)
    decisions = await takes(setup, 60)

    assert [one.leased for one in (*first, fetched)] == [False] * (FIRST + 1)
    assert all(one.allowed and one.leased for one in decisions)
    assert len(setup.store.calls) == calls
    assert setup.counted("api", "allowed") == FIRST + 1 + 60


async def test_a_leased_decision_reads_as_one_of_the_store(setup: Setup) -> None:
    """`remaining` counts the lease, and a limit is restored when the store says so, counted from the reply."""
    await takes(setup, FIRST)
    fetched = await leased(setup)
    setup.clock.advance(300)
    decision = (await takes(setup, 1))[0]

    assert [state.remaining for state in fetched.limits] == [996, 9_996]
    assert [state.remaining for state in decision.limits] == [995, 9_995]
    for then, now in zip(fetched.limits, decision.limits, strict=True):
        assert (now.limit, now.window_ms) == (then.limit, then.window_ms)
        assert now.reset_after_ms == then.reset_after_ms - 300
    assert (decision.policy, decision.key, decision.cost, decision.reason) == ("api", "ada", 1, "within-limits")
    assert (decision.retry_after_ms, decision.refused_by, decision.degraded) == (None, None, False)


async def test_what_is_leased_is_charged(setup: Setup) -> None:
    """The store counts the whole lease; what is left of it comes back when the limiter closes."""
    await takes(setup, FIRST)
    await leased(setup)
    size = 996 - await left(setup)
    await takes(setup, 10)

    assert size == SIZE
    assert await left(setup) == 996 - size
    await setup.limits.aclose()

    assert await left(setup) == 986
    assert (units(setup, "used"), units(setup, "returned"), units(setup, "lost")) == (10, size - 10, 0)
    counted = setup.world.metrics.registry.get_sample_value
    assert counted("tollhouse_ratelimit_leased_decisions_total", {"policy": "api"}) == 10


async def test_without_the_rule_every_take_asks_the_store(setup: Setup) -> None:
    """A policy leases nothing unless it says so, and neither does a shadow, nor a policy that has one."""
    for policy in ("off", "tried", "shadow"):
        decisions = await takes(setup, 30, policy)
        assert not any(one.leased for one in decisions)

    assert set(setup.store.scripts) == {"limits/take"}


async def test_a_key_that_is_not_busy_leases_nothing(setup: Setup) -> None:
    """Below BUSY takes in a second, and for a cost of which fewer are taken, each take asks the store."""
    for _ in range(40):
        await takes(setup, 1)
        await setup.pass_ms(2_000 // BUSY)
    await takes(setup, 1, cost=100)

    assert set(setup.store.scripts) == {"limits/take"}


async def test_the_last_units_are_taken_one_by_one(setup: Setup) -> None:
    """While an eighth of what remains is not worth a lease, every take asks the store, and all units are admitted."""
    await takes(setup, 1, cost=900)
    decisions = await takes(setup, 101)

    assert [one.allowed for one in decisions] == [True] * 100 + [False]
    assert not any(one.leased for one in decisions)


async def test_a_lease_ends_with_its_sub_bucket(setup: Setup) -> None:
    """What was leased late in a sub-bucket is used until the sub-bucket ends by the server's clock, and not longer."""
    await takes(setup, 100, "short")
    await setup.pass_ms(102)  # the second sub-bucket ends at 125
    await leased(setup, "short")

    setup.clock.advance(23 - 2 - 1)  # two milliseconds before it ends
    assert (await takes(setup, 1, "short"))[0].leased
    setup.clock.advance(1)
    assert not (await takes(setup, 1, "short"))[0].leased


async def test_a_lease_counts_from_sending(setup: Setup) -> None:
    """A reply that comes when the lease is over brings no lease: its units go back at once."""
    await takes(setup, FIRST)
    setup.store.hold()
    late = asyncio.create_task(setup.limits.take("api", "ada"))
    await setup.store.until_in_flight(1)
    setup.clock.advance(TERMS.longest_ms)
    setup.store.release()

    assert (await late).allowed
    await ticks()
    await setup.limits.aclose()
    assert await left(setup) == 996
    assert units(setup, "used") == 0


async def test_the_next_lease_brings_back_the_rest_of_the_former(setup: Setup) -> None:
    """A key that goes on needs one call for both; the rest goes back to the sub-bucket in which it was charged."""
    await takes(setup, FIRST)
    await leased(setup)
    await takes(setup, 20)
    await setup.pass_ms(TERMS.longest_ms)
    calls = len(setup.store.calls)
    for _ in range(6):
        await takes(setup, 1)
    lease_calls = [call for call in setup.store.calls[calls:] if call.script == "limits/lease_quota"]
    await setup.limits.aclose()

    assert lease_calls[0].args[5] == SIZE - 20
    assert await left(setup) == 1_000 - FIRST - 1 - 20 - 6


async def test_a_lease_that_comes_too_late_is_not_tried_again_at_once(setup: Setup) -> None:
    """If a lease is over when it arrives, or few of its units were used, the key leases nothing for a while."""
    await takes(setup, FIRST)
    setup.store.hold()
    late = asyncio.create_task(setup.limits.take("api", "ada"))
    await setup.store.until_in_flight(1)
    setup.clock.advance(TERMS.longest_ms)
    setup.store.release()
    await late
    setup.store.calls.clear()
    await takes(setup, 20)
    assert "limits/take" in setup.store.scripts
    assert len([call for call in setup.store.calls if call.args[0] == 1 and call.script == "limits/lease_quota"]) == 0

    await setup.pass_ms(PAUSE_MS)
    await takes(setup, 20)
    assert (await takes(setup, 1))[0].leased


async def test_nothing_is_leased_as_a_sub_bucket_ends(setup: Setup) -> None:
    """In the last milliseconds of a sub-bucket takes ask the store: a lease would be over when it arrives."""
    await takes(setup, 200, "short")
    await setup.pass_ms(123)  # the second sub-bucket ends at 125
    decisions = await takes(setup, 30, "short")
    assert not any(one.leased for one in decisions)
    assert setup.store.scripts.count("limits/lease_quota") <= 2

    await setup.pass_ms(2)
    await takes(setup, 1, "short")
    assert (await takes(setup, 1, "short"))[0].leased


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


async def test_one_lease_of_a_key_is_on_its_way_at_a_time(setup: Setup) -> None:
    """While a lease is fetched, other takes of the key go on in batches as ever."""
    await takes(setup, FIRST)
    setup.store.hold()
    tasks = [asyncio.create_task(setup.limits.take("api", "ada")) for _ in range(10)]
    await setup.store.until_in_flight(2)
    setup.store.release()
    decisions = await asyncio.gather(*tasks)

    assert all(one.allowed for one in decisions)
    assert setup.store.scripts[FIRST:] == ["limits/lease_quota", "limits/take"]
    assert setup.store.sizes[-1] == 9


async def test_a_refusal_by_the_store_is_final(setup: Setup) -> None:
    """It ends the lease, whose rest comes back for all, and it is repeated although the lease had units."""
    await takes(setup, FIRST)
    await leased(setup)
    refused = await setup.limits.take("api", "ada", 950)
    await ticks()

    assert not refused.allowed
    await setup.limits.aclose()
    assert await left(setup) == 996
    assert (await setup.limits.take("api", "ada", 950)).allowed


async def test_a_refused_key_leases_nothing_for_a_while(setup: Setup) -> None:
    """After a refusal the key leases nothing until the wait is over, or a second: it is near its limit."""
    await takes(setup, 10)
    await setup.limits.take("api", "ada", 999)
    calls = len(setup.store.calls)
    await takes(setup, 10)
    assert "limits/lease_quota" not in [call.script for call in setup.store.calls[calls:] if call.args[0] == 1]

    await setup.pass_ms(TERMS.longest_ms)
    await takes(setup, 20)
    assert any(one.leased for one in await takes(setup, 1))


async def test_other_verbs_use_no_lease(setup: Setup) -> None:
    """A reservation, as many units as there are, and several policies at once are decided by the store."""
    await takes(setup, FIRST)
    await leased(setup)
    calls = len(setup.store.calls)
    await setup.limits.reserve("api", "ada", 5)
    granted = await setup.limits.take_up_to("api", "ada", 3)
    await setup.limits.take_all([Take(policy="api", key="ada"), Take(policy="off", key="ada")])
    look = await setup.limits.take("api", "ada", 0)

    scripts = [call.script for call in setup.store.calls[calls:]]
    assert scripts == ["limits/reserve", "limits/take_up_to", "limits/take_all", "limits/take"]
    assert (granted.cost, granted.leased, look.leased) == (3, False, False)


async def test_a_peek_counts_the_lease_of_this_process(setup: Setup) -> None:
    """`peek` tells what a take here would find: units on lease remain, and admit what the store would refuse."""
    await takes(setup, FIRST)
    await leased(setup)
    assert (await setup.limits.peek("api", "ada")).limits[0].remaining == 996

    rest = await left(setup)
    await Setup(setup.world, *POLICIES).limits.take("api", "ada", rest)
    assert (await setup.limits.peek("api", "ada", 5)).allowed
    assert not (await setup.limits.peek("api", "ada", 500)).allowed
    assert (await setup.limits.take("api", "ada", 5)).leased


async def test_what_a_lease_admitted_goes_back_to_it(setup: Setup) -> None:
    """While the lease is in force an undo needs no call; without an age, and after the lease, it asks the store."""
    await takes(setup, FIRST)
    await leased(setup)
    setup.clock.advance(5)
    decision = (await takes(setup, 1))[0]
    setup.clock.advance(5)
    calls = len(setup.store.calls)
    assert setup.limits.start_refund(decision, age_ms=5) is None
    await setup.limits.undo(await setup.limits.take("api", "ada"), age_ms=1)
    assert len(setup.store.calls) == calls
    assert (await setup.limits.peek("api", "ada")).limits[0].remaining == 996

    decision = (await takes(setup, 1))[0]
    for age_ms in (0, 300):  # a caller that does not say when, and one that took before the lease began
        await setup.limits.undo(decision, age_ms=age_ms)
    assert setup.store.scripts[-2:] == ["limits/refund"] * 2


async def test_a_refund_never_gives_a_lease_more_than_it_admitted(setup: Setup) -> None:
    """What a lease did not admit is refunded by the store, also if its age says otherwise."""
    await takes(setup, FIRST)
    fetched = await leased(setup)
    await setup.limits.take("api", "ada", 10)
    setup.clock.advance(5)
    decision = await setup.limits.take("api", "ada", 3)
    setup.clock.advance(5)
    for _ in range(6):
        await setup.limits.undo(decision, age_ms=5)

    assert fetched.allowed
    assert setup.store.scripts.count("limits/refund") == 2


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
    taken = setup.limits.submit("api", "ada", 21)
    assert isinstance(taken, asyncio.Future)
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
    older = setup.limits.submit("api", "ada", 21)
    assert isinstance(older, asyncio.Future)
    setup.limits.on_cleared(b"-1800000000000 " + setup.store.calls[-1].keys[0].encode())
    newer = setup.limits.submit("api", "ada")
    older.cancel()
    setup.store.hold()
    await ticks()
    calls = len(setup.store.calls)
    later = setup.limits.submit("api", "ada")
    await ticks()
    setup.store.release()

    assert [call.script for call in setup.store.calls[calls:]] == ["limits/take"]
    assert isinstance(newer, asyncio.Future)
    assert isinstance(later, asyncio.Future)
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


async def test_limits_that_are_off_use_no_lease(setup: Setup) -> None:
    """While limits are off no lease is used; what is left of it comes back."""
    await takes(setup, FIRST)
    await leased(setup)
    setup.limits.switch(on=False)

    assert (await takes(setup, 1))[0].reason == "disabled"
    await setup.limits.aclose()
    assert await left(setup) == 996


async def test_forgetting_drops_all_leases(setup: Setup) -> None:
    """`forget` is for a store that was emptied: leases end, and nothing is given back."""
    await takes(setup, FIRST)
    await leased(setup)
    calls = len(setup.store.calls)
    setup.limits.forget()
    await setup.limits.aclose()

    assert len(setup.store.calls) == calls
    assert units(setup, "lost") == SIZE


async def test_a_lease_is_used_up_during_an_outage(setup: Setup) -> None:
    """It was charged: the outage rule decides only what is beyond it. A rest that cannot be given back is logged."""
    await takes(setup, FIRST)
    await leased(setup)
    setup.store.fail()
    decisions = await takes(setup, SIZE + 1)

    assert [one.degraded for one in decisions] == [False] * SIZE + [True]


async def test_a_fetch_that_fails_is_decided_by_the_outage_rule(setup: Setup) -> None:
    """Then the key leases nothing for a second, and takes go on as ever."""
    await takes(setup, FIRST)
    setup.store.fail()
    degraded = await takes(setup, 2)
    setup.store.heal()
    healthy = await takes(setup, 10)

    assert [one.degraded for one in degraded] == [True, True]
    assert setup.store.scripts[FIRST:] == ["limits/lease_quota", *["limits/take"] * 11]
    assert not any(one.leased or one.degraded for one in healthy)


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


@pytest.mark.parametrize(
    "error", [ScriptFailed("limits/lease_quota", "ERR"), StoreRefused("limits", "NOPERM", "x", "y")]
)
async def test_an_error_of_the_script_is_the_callers(setup: Setup, error: Exception) -> None:
    """The take that fetches raises what any take would; the key is free for another fetch."""
    await takes(setup, FIRST)
    setup.store.failure = error
    with pytest.raises(type(error)):
        await takes(setup, 1)
    setup.store.heal()

    assert (await leased(setup)).allowed


async def test_a_caller_that_is_cancelled_before_sending_charges_nothing(setup: Setup) -> None:
    """The fetch is not sent then, and what was left of a former lease comes back."""
    await former(setup)
    task = asyncio.create_task(setup.limits.take("api", "ada", 21))
    await asyncio.sleep(0)
    task.cancel()
    await ticks()

    assert setup.store.calls[-1].args[0] == 0
    assert await left(setup) == 1_000 - FIRST - 1 - 60


async def test_a_caller_that_is_cancelled_later_leaves_the_lease(setup: Setup) -> None:
    """Its take may be charged, as any that was sent; the lease is put in force for others."""
    await takes(setup, FIRST)
    setup.store.hold()
    task = asyncio.create_task(setup.limits.take("api", "ada"))
    await setup.store.until_in_flight(1)
    task.cancel()
    setup.store.release()
    await setup.store.until_in_flight(0)
    await ticks()

    assert (await takes(setup, 1))[0].leased


async def test_a_closed_limiter_leases_nothing(setup: Setup) -> None:
    """Also a lease whose reply comes while it closes is given back."""
    await takes(setup, FIRST)
    setup.store.hold()
    fetching = asyncio.create_task(setup.limits.take("api", "ada"))
    await setup.store.until_in_flight(1)
    closing = asyncio.create_task(setup.limits.aclose())
    await ticks()
    setup.store.release()
    await closing

    assert (await fetching).allowed
    assert await left(setup) == 996
    assert not any(one.leased for one in await takes(setup, 20))


async def test_another_event_loop_uses_no_lease(setup: Setup) -> None:
    """A lease belongs to the loop that fetched it: elsewhere, as in a forked child, the limiter is refused as ever."""
    await takes(setup, FIRST)
    await leased(setup)

    def elsewhere() -> Decision:
        return asyncio.run(setup.limits.take("api", "ada"))

    with pytest.raises(ConfigurationError):
        await asyncio.to_thread(elsewhere)
    assert (await takes(setup, 1))[0].leased


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
