"""Quota leases: what is admitted without the store, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.spec.limits.calls.quota_steps import FIRST, POLICIES, SIZE, former, leased, left, takes, units
from tests.watched import Setup, ticks
from tests.worlds import StoreWorld
from tollhouse.errors import ConfigurationError, ScriptFailed, StoreRefused
from tollhouse.limits.decision import Decision, Take
from tollhouse.limits.quota.leases import BUSY, PAUSE_MS, TERMS


@pytest.fixture
async def setup(world: StoreWorld) -> AsyncIterator[Setup]:
    setup = Setup(world, *POLICIES, refusals_max=100)
    yield setup
    await closed(setup)


async def closed(setup: Setup) -> None:
    setup.store.heal()
    setup.store.release()
    await setup.limits.aclose()


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

    assert set(setup.store.scripts) == {"limits/take_one", "limits/take"}  # a policy with a shadow takes in batches


async def test_a_key_that_is_not_busy_leases_nothing(setup: Setup) -> None:
    """Below BUSY takes in a second, and for a cost of which fewer are taken, each take asks the store."""
    for _ in range(40):
        await takes(setup, 1)
        await setup.pass_ms(2_000 // BUSY)
    await takes(setup, 1, cost=100)

    assert set(setup.store.scripts) == {"limits/take_one"}


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
    assert "limits/take_one" in setup.store.scripts
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
    assert scripts == ["limits/reserve", "limits/take_up_to", "limits/take_all", "limits/take_one"]
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


async def test_limits_that_are_off_use_no_lease(setup: Setup) -> None:
    """While limits are off no lease is used; what is left of it comes back."""
    await takes(setup, FIRST)
    await leased(setup)
    setup.limits.switch(on=False)

    assert (await takes(setup, 1))[0].reason == "disabled"
    await setup.limits.aclose()
    assert await left(setup) == 996


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
    assert setup.store.scripts[FIRST:] == ["limits/lease_quota", *["limits/take_one"] * 11]
    assert not any(one.leased or one.degraded for one in healthy)


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


async def test_an_error_that_no_caller_waits_for_is_nobodys(setup: Setup) -> None:
    """A caller that left while its fetch was under way is told nothing; the key is free for another fetch."""
    await takes(setup, FIRST)
    setup.store.hold()
    task = asyncio.create_task(setup.limits.take("api", "ada"))
    await ticks()
    task.cancel()
    await ticks()
    setup.store.failure = ScriptFailed("limits/lease_quota", "ERR")
    setup.store.release()
    await ticks()
    setup.store.heal()

    assert (await leased(setup)).allowed


async def test_a_fetch_that_is_cancelled_leaves_no_caller_waiting(setup: Setup) -> None:
    """An event loop that ends its tasks ends the take of a fetch too."""
    await takes(setup, FIRST)
    setup.store.hold()
    caller = asyncio.create_task(setup.limits.take("api", "ada"))
    await ticks()

    for task in asyncio.all_tasks():
        if task.get_name() == "tollhouse-quota-lease":
            task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_fetch_that_is_refused_leases_nothing(setup: Setup) -> None:
    """The refusal of the store is final for a busy key too."""
    await takes(setup, FIRST)
    await Setup(setup.world, *POLICIES).limits.take("api", "ada", 1_000 - FIRST)

    decision = await leased(setup)

    assert not decision.allowed
    assert units(setup, "leased") == 0


async def test_a_lease_that_is_used_up_needs_no_return(setup: Setup) -> None:
    """Nothing is sent for a lease of which nothing is left when the limiter closes."""
    await takes(setup, FIRST)
    await leased(setup)
    await takes(setup, SIZE)
    calls = len(setup.store.calls)

    await setup.limits.aclose()

    assert len(setup.store.calls) == calls


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
